"""Filters of the templates: texts without control characters, sizes, credits, safe links."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from airflow_provider_flux.bfl.pricing import format_usd
from airflow_provider_flux.bfl.redaction import escape_control, hide_userinfo
from airflow_provider_flux.gallery.card import Card, CardOrigin

_LINK = re.compile(r"(?:/(?![/\\])|\./|\?|\#|https://)[^\s\\]*\Z")
_IMAGE_DATA = re.compile(r"data:image/(?:webp|jpeg|png);base64,[A-Za-z0-9+/=]+\Z")
_UNITS = ("B", "kB", "MB", "GB", "TB")
#: No true count or cost has so many digits. Records of strangers may.
_HUGE = 1e15


def show(value: Any) -> Any:
    """Return what a template prints for a value: nothing for ``None``, no control characters.

    :param value: value of an expression of a template.
    """
    if value is None:
        return ""
    if type(value) is str:  # not markup, which the templates themselves made
        return escape_control(value)
    return value


def safe_link(url: str | None) -> str | None:
    """Return a URL if a page may link to it: one of the same server, or https.

    :param url: any text.
    :return: ``None`` for any other, for example ``javascript:``.
    """
    return url if url and _LINK.match(url) else None


def safe_image(url: str | None) -> str | None:
    """Return a URL if a page may show it as an image: a safe link, or an image as a data URI.

    :param url: any text.
    :return: ``None`` for any other.
    """
    return url if url and (_LINK.match(url) or _IMAGE_DATA.match(url)) else None


def show_bytes(count: int) -> str:
    """Return a size for people, for example ``1.4 MB``.

    :param count: number of bytes.
    """
    size = float(count)
    for unit in _UNITS:
        if abs(size) < 1000 or unit == _UNITS[-1]:
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"


def show_number(number: float) -> str:
    """Return a number with thousands separated, and at most two decimals; a huge one as ``1e+308``.

    :param number: the number.
    """
    if abs(number) >= _HUGE:
        return f"{number:.3g}"
    text = f"{number:,.2f}"
    return text.rstrip("0").rstrip(".")


def show_count(number: int, noun: str) -> str:
    """Return a number with its noun, for example ``1 row`` or ``2,000 rows``.

    :param number: the number.
    :param noun: the noun in the singular, whose plural ends in *s*.
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def show_cost(credits_: float | None) -> str | None:
    """Return a cost for people, for example ``4 credits ($0.04)``.

    :param credits_: credits; ``None`` for an unknown cost.
    """
    if credits_ is None:
        return None
    return f"{show_number(credits_)} credits ({format_usd(credits_)})"


def show_size(card: Card) -> str | None:
    """Return width and height of a card.

    :param card: the card.
    """
    return f"{card.width} \u00d7 {card.height}" if card.width and card.height else None


def show_file(card: Card) -> str | None:
    """Return type and size of the file of a card.

    :param card: the card.
    """
    size = None if card.bytes is None else show_bytes(card.bytes)
    return ", ".join(filter(None, (card.content_type, size))) or None


def show_seconds(seconds: float | None) -> str | None:
    """Return a duration.

    :param seconds: the seconds; ``None`` if they are not known.
    """
    if seconds is None:
        return None
    return f"{seconds:.3g} s" if abs(seconds) >= _HUGE else f"{seconds:.1f} s"


def show_time(moment: str | None) -> str | None:
    """Return a time to the second, in UTC; any other text as it is.

    :param moment: time in ISO 8601.
    """
    try:
        time = datetime.fromisoformat(moment or "")
        return f"{time.astimezone(UTC) if time.tzinfo else time:%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError):  # overflow: in UTC it is before year 1 or after year 9999
        return moment


def show_task(origin: CardOrigin) -> str:
    """Return task id and map index.

    :param origin: the task instance.
    """
    index = "" if origin.map_index < 0 else f" [{origin.map_index}]"
    return f"{origin.task_id}{index}" if origin.task_id else ""


def show_uri(uri: str | None) -> str | None:
    """Return a URI without user and password.

    :param uri: the URI.
    """
    return None if uri is None else hide_userinfo(uri)


def show_outcome(outcome: str) -> str:
    """Return an outcome as a label, for example ``Landed`` or ``Awaiting input``.

    :param outcome: outcome of a card.
    """
    label = outcome.replace("_", " ")
    return label[:1].upper() + label[1:] if label else "Unknown"


def outcome_kind(outcome: str) -> str:
    """Return an outcome that the style sheet has a color for; ``other`` for any other.

    :param outcome: outcome of a card.
    """
    return outcome if outcome in _EXPLANATIONS else "other"


def explain_outcome(outcome: str, has_media: bool) -> str:
    """Return why a card has no picture, if its record does not say so.

    :param outcome: outcome of a card.
    :param has_media: whether there is an image or a video, so that only its thumbnail is missing.
    """
    if has_media:
        return "It has no thumbnail."
    return _EXPLANATIONS.get(outcome, "It has no image.")


_EXPLANATIONS = {
    "landed": "The record does not name the image.",
    "reused": "The record does not name the image.",
    "moderated": "BFL moderated the request or the image.",
    "rejected": "A check rejected the image.",
    "invalid": "The row is not valid.",
    "failed": "The generation failed.",
    "uncertain": "The answer to the submit was lost.",
    "lost": "BFL no longer has the result.",
    "submitted": "BFL accepted the request. The image has not landed yet.",
    "pending": "The row was not submitted yet.",
}

FILTERS: dict[str, Callable[..., Any]] = {
    "safe_link": safe_link,
    "safe_image": safe_image,
    "show_bytes": show_bytes,
    "show_number": show_number,
    "show_usd": format_usd,
    "show_cost": show_cost,
    "show_size": show_size,
    "show_file": show_file,
    "show_seconds": show_seconds,
    "show_time": show_time,
    "show_task": show_task,
    "show_uri": show_uri,
    "show_outcome": show_outcome,
    "outcome_kind": outcome_kind,
    "explain_outcome": explain_outcome,
}
