"""The period of a report: half-open, so that neighboring periods share no submit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow_provider_flux.bfl.errors import FluxRequestError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Seconds before and after every time that a record can hold.
_FOREVER = 1e13


@dataclass(frozen=True)
class Period:
    """A period, from ``start`` on, until before ``end``.

    :param zone: the time zone of dates and days.
    :param start: its begin; ``None`` for all earlier submits.
    :param end: its end, which is not part of it; ``None`` for all later submits.
    """

    zone: tzinfo
    start: datetime | None = None
    end: datetime | None = None

    @property
    def start_seconds(self) -> float:
        """The begin in seconds since 1970."""
        return -_FOREVER if self.start is None else (self.start - _EPOCH).total_seconds()

    @property
    def end_seconds(self) -> float:
        """The end in seconds since 1970."""
        return _FOREVER if self.end is None else (self.end - _EPOCH).total_seconds()

    def __str__(self) -> str:
        """Return the period in words."""
        start = f"from {_show(self.start)} " if self.start else ""
        end = f"until before {_show(self.end)} " if self.end else ""
        return f"{start}{end}({self.zone})" if start or end else f"all submits ({self.zone})"


def parse_period(
    start: str | None,
    end: str | None,
    zone: str = "UTC",
    *,
    names: tuple[str, str, str] = ("--from", "--to", "--timezone"),
) -> Period:
    """Return the period that two texts name.

    :param start: date or time in ISO 8601 at which it begins; ``None`` for all earlier submits.
    :param end: date or time at which it ends, which is not part of it; ``None`` for all later ones.
    :param zone: time zone of dates, and of times without one; UTC by default.
    :param names: names of the three options, for errors.
    :raises FluxRequestError: if a text is no date, the zone is not known, or the end is not after
        the begin.
    """
    known = _parse_zone(zone, names[2])
    first = _parse_moment(start, known, names[0])
    last = _parse_moment(end, known, names[1])
    if first and last and first >= last:
        raise FluxRequestError(
            f"{names[1]}={end!r} must be after {names[0]}={start!r}: the period ends before it, so "
            "that of one day ends with the next day."
        )
    return Period(known, first, last)


def latest_days(days: int, today: date) -> tuple[str, str]:
    """Return begin and end of the last days, today included.

    :param days: number of days.
    :param today: the date of today.
    """
    return (
        (today - timedelta(days=days - 1)).isoformat(),
        (today + timedelta(days=1)).isoformat(),
    )


def _parse_zone(name: str, option: str) -> tzinfo:
    try:
        return UTC if name.upper() == "UTC" else ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise FluxRequestError(
            f"{option}={name!r} is no time zone. Name one as in the IANA database, for example "
            "Europe/Berlin."
        ) from None


def _parse_moment(text: str | None, zone: tzinfo, option: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        known = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        return known.astimezone(UTC).astimezone(zone)
    except (ValueError, OverflowError):
        raise FluxRequestError(
            f"{option}={text!r} is no date. Write it as 2026-12-24 or 2026-12-24T18:00, with a "
            "year from 2 to 9998."
        ) from None


def _show(moment: datetime | None) -> str:
    if moment is None:
        return ""
    is_day = moment.timetz().replace(tzinfo=None) == datetime.min.time()
    return moment.date().isoformat() if is_day else moment.isoformat(timespec="minutes")
