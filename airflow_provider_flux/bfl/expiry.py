"""The expiry of a signed URL, as the URL names it.

BFL's documentation says 10 minutes for an image, and public clients measured an hour or more for
newer models. The signature covers the expiry, so the URL is the best source. It is never an
instruction: a download is tried whatever the URL says, and nothing waits for a URL to expire.
Sources: published answers of the service, and the documentation of Azure, S3 and Google Cloud
Storage.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qsl, urlsplit

#: A URL that names a later expiry counts as one without: no result is served for so long.
_MAX_LIFETIME_SECONDS = 7 * 24 * 3600.0
_MAX_MEMBERS = 100
_COMPACT_TIME = "%Y%m%dT%H%M%SZ"


def read_expiry(url: str, now: float) -> float | None:
    """Return when a signed URL expires, in epoch seconds.

    :param url: a URL with ``se`` (Azure), with ``X-Amz-Date`` and ``X-Amz-Expires`` (S3), with
        ``X-Goog-Date`` and ``X-Goog-Expires``, or with ``Expires``.
    :param now: epoch seconds.
    :return: the time, or ``None`` if the URL names none, or none within seven days.
    """
    try:
        members = parse_qsl(urlsplit(url).query, max_num_fields=_MAX_MEMBERS)
        expiry = _expiry_of({name.lower(): value for name, value in members})
    except (ValueError, OverflowError):
        return None
    if expiry is None or not 0 < expiry < now + _MAX_LIFETIME_SECONDS:
        return None
    return expiry


def answered_at(headers: Mapping[str, str], now: float) -> float:
    """Return the time at the host that answered: the clock of this machine may be wrong.

    :param headers: the headers of the answer, a case-insensitive mapping.
    :param now: epoch seconds by this machine, which count if the answer has no ``Date``.
    """
    try:
        moment = parsedate_to_datetime(headers.get("Date") or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return now


def describe_time(moment: float) -> str:
    """Return a time for a message.

    :param moment: epoch seconds.
    """
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _expiry_of(query: Mapping[str, str]) -> float | None:
    if azure := query.get("se"):
        return _epoch(datetime.fromisoformat(azure))
    for vendor in ("amz", "goog"):
        start, seconds = query.get(f"x-{vendor}-date"), query.get(f"x-{vendor}-expires")
        if start and seconds:
            signed_at = datetime.strptime(start, _COMPACT_TIME)
            return _epoch(signed_at + timedelta(seconds=int(seconds)))
    return float(query["expires"]) if query.get("expires") else None


def _epoch(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
