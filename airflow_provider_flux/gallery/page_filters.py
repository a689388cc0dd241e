"""Filters of the templates: texts without control characters, sizes, credits, safe links."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from airflow_provider_flux.bfl.pricing import USD_PER_CREDIT
from airflow_provider_flux.bfl.redaction import escape_control

_LINK = re.compile(r"(?:/(?![/\\])|\?|\#|https://)[^\s\\]*\Z")
_IMAGE_DATA = re.compile(r"data:image/(?:webp|jpeg|png);base64,[A-Za-z0-9+/=]+\Z")
_UNITS = ("B", "kB", "MB", "GB", "TB")


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
    """Return a number with thousands separated, and at most two decimals.

    :param number: the number.
    """
    return f"{number:,.2f}".rstrip("0").rstrip(".")


def show_usd(credits_: float) -> str:
    """Return credits in US dollars, for example ``$0.04``.

    :param credits_: credits (1 credit = 0.01 USD).
    """
    return f"${credits_ * USD_PER_CREDIT:,.2f}"


FILTERS: dict[str, Callable[..., Any]] = {
    "safe_link": safe_link,
    "safe_image": safe_image,
    "show_bytes": show_bytes,
    "show_number": show_number,
    "show_usd": show_usd,
}
