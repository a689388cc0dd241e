"""The report of costs: which submits it counts, and how it groups them."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Literal, get_args

from airflow_provider_flux.accounting.costs.period import Period
from airflow_provider_flux.accounting.submit_cost import OUTCOMES, WITH_IMAGE
from airflow_provider_flux.bfl.pricing import USD_PER_CREDIT

Grouping = Literal["dag", "task", "model", "day", "outcome"]
GROUPINGS: tuple[Grouping, ...] = get_args(Grouping)
#: The columns that name a group.
KEYS: Mapping[Grouping, tuple[str, ...]] = {
    "dag": ("dag",),
    "task": ("dag", "task"),
    "model": ("model",),
    "day": ("day",),
    "outcome": ("outcome",),
}
#: Days begin at a multiple of this in every time zone of today.
_SLICE_SECONDS = 900
_DECIMALS = 4
#: Days of a report whose empty days are shown, too.
_MAX_DAYS = 400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Scope:
    """The submits that a report counts.

    :param ledgers: the DAGs whose records count in the folder of each ledger; ``None`` for all
        that are found there. A folder without an entry does not count.
    :param folders: folders, with a slash at their ends, below which the records of all ledgers and
        DAGs count.
    :param dag_ids: DAGs that count at all; ``None`` for all.
    :param flux_conn_id: connection to BFL that counts; ``None`` for all.
    """

    ledgers: Mapping[str, Collection[str] | None] = field(default_factory=dict)
    folders: Sequence[str] = ()
    dag_ids: Collection[str] | None = None
    flux_conn_id: str | None = None

    def counts(self, ledger: str, dag_id: str | None) -> bool:
        """Whether the records of a DAG in a ledger count.

        :param ledger: folder of the ledger, without a slash at its end.
        :param dag_id: id of the DAG.
        """
        if self.dag_ids is not None and dag_id not in self.dag_ids:
            return False
        if any(f"{ledger}/".startswith(folder) for folder in self.folders):
            return True
        dags = self.ledgers.get(ledger, ())
        return dags is None or dag_id in dags


@dataclass
class CostRow:
    """The costs of one group.

    :ivar key: values of the columns that name the group.
    :ivar submits: submits that BFL accepted.
    :ivar images: images and videos that landed, or that a task returned.
    :ivar credits: credits that BFL charged, reported and estimated.
    :ivar estimated: part of them that is estimated, because BFL did not report it.
    :ivar uncertain: submits whose answer is not known. They are not among ``submits``.
    :ivar possible: credits that BFL may have charged for them, beside ``credits``.
    :ivar refused: submits that BFL refused, or that were never sent. They are not charged.
    :ivar unpriced: submits of unknown cost, which count as 0 credits.
    """

    key: tuple[str, ...]
    submits: int = 0
    images: int = 0
    credits: float = 0.0
    estimated: float = 0.0
    uncertain: int = 0
    possible: float = 0.0
    refused: int = 0
    unpriced: int = 0

    def add(self, other: CostRow) -> None:
        """Add the costs of another group.

        :param other: the other group.
        """
        for name in ("submits", "images", "credits", "estimated"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("uncertain", "possible", "refused", "unpriced"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def estimated_share(self) -> float:
        """The share of the credits that is estimated, from 0 to 1."""
        return self.estimated / self.credits if self.credits else 0.0

    @property
    def usd(self) -> float:
        """The credits in US dollars."""
        return self.credits * USD_PER_CREDIT

    @property
    def possible_usd(self) -> float:
        """The possible credits in US dollars."""
        return self.possible * USD_PER_CREDIT

    def as_values(self) -> dict[str, int | float]:
        """Return the numbers as columns of a table."""
        return {
            "submits": self.submits,
            "images": self.images,
            "credits": round(self.credits, _DECIMALS),
            "usd": round(self.usd, _DECIMALS),
            "estimated_credits": round(self.estimated, _DECIMALS),
            "uncertain": self.uncertain,
            "possible_credits": round(self.possible, _DECIMALS),
            "possible_usd": round(self.possible_usd, _DECIMALS),
            "refused": self.refused,
            "unpriced": self.unpriced,
        }


@dataclass(frozen=True)
class CostReport:
    """The costs of a period.

    :param by: how they are grouped.
    :param rows: the groups: days in their order, others from the dearest on.
    :param total: the sum of all groups.
    """

    by: Grouping
    rows: Sequence[CostRow]
    total: CostRow

    def as_table(self) -> list[dict[str, Any]]:
        """Return the groups as dicts of the same columns."""
        names = KEYS[self.by]
        return [{**dict(zip(names, row.key, strict=True)), **row.as_values()} for row in self.rows]


def read_report(
    connection: sqlite3.Connection, scope: Scope, by: Grouping, period: Period
) -> CostReport:
    """Return the costs of a period by the index.

    Each submit counts once, however many records and journals name it.

    :param connection: connection of the index.
    :param scope: the submits that count.
    :param by: how to group them.
    :param period: the period.
    """
    _choose_places(connection, scope)
    conn_id = scope.flux_conn_id
    bounds = {
        "start": period.start_seconds,
        "end": period.end_seconds,
        "conn": conn_id,
        "slice": _SLICE_SECONDS,
    }
    groups: dict[tuple[str, ...], CostRow] = {}
    for row in connection.execute(_query_of(by), bounds):
        key = _key_of(by, row, period.zone)
        group = groups.setdefault(key, CostRow(key))
        group.add(_read_row(key, row))
    total = CostRow(("all",) * len(KEYS[by]))
    for group in groups.values():
        total.add(group)
    order = _by_key if by == "day" else _by_cost
    return CostReport(by, sorted(groups.values(), key=order), total)


def dags_in(connection: sqlite3.Connection) -> list[str]:
    """Return the ids of the DAGs that the index knows.

    :param connection: connection of the index.
    """
    rows = connection.execute("SELECT DISTINCT dag FROM owners WHERE dag IS NOT NULL ORDER BY dag")
    return [dag for (dag,) in rows]


def fill_days(report: CostReport, period: Period) -> CostReport:
    """Return a report by day with the days between the first and the last that had no submit.

    :param report: a report by day.
    :param period: its period. The days of a bounded one are all there.
    """
    days = [row.key[0] for row in report.rows]
    start = period.start.date() if period.start else None
    end = (period.end - timedelta(microseconds=1)).date() if period.end else None
    first = start or (datetime.fromisoformat(days[0]).date() if days else None)
    last = end or (datetime.fromisoformat(days[-1]).date() if days else None)
    if first is None or last is None or (last - first).days > _MAX_DAYS:
        return report
    known = {row.key[0]: row for row in report.rows}
    names = [
        (first + timedelta(days=number)).isoformat() for number in range((last - first).days + 1)
    ]
    rows = [known.get(name) or CostRow((name,)) for name in names]
    return CostReport(report.by, rows, report.total)


def _choose_places(connection: sqlite3.Connection, scope: Scope) -> None:
    connection.execute(
        "CREATE TEMP TABLE IF NOT EXISTS chosen(place INTEGER PRIMARY KEY, owner INTEGER)"
    )
    connection.execute("DELETE FROM chosen")
    rows = connection.execute(
        "SELECT p.id, p.owner, p.ledger, o.dag FROM places p JOIN owners o ON o.id = p.owner"
    )
    chosen = [(place, owner) for place, owner, ledger, dag in rows if scope.counts(ledger, dag)]
    connection.executemany("INSERT INTO chosen VALUES (?, ?)", chosen)


_KEY_COLUMNS: Mapping[Grouping, str] = {
    "dag": "o.dag",
    "task": "o.dag, o.task",
    "model": "t.text",
    "day": "CAST(s.opened / :slice AS INTEGER)",
    "outcome": "s.outcome",
}


def _query_of(by: Grouping) -> str:
    """Return the query. Of several copies of a submit, that of the latest phase counts.

    SQLite takes the other columns of a group from the row with the ``max``.
    """
    keys = _KEY_COLUMNS[by]
    return f"""
    WITH once AS (
      SELECT c.owner, h.claim, h.request, h.opened, h.model, h.conn, h.outcome, h.credits,
             h.possible, h.estimated, h.unpriced,
             max(h.phase * 1e13 + h.credits) AS knows
      FROM chosen c JOIN charges h ON h.place = c.place
      WHERE h.opened >= :start AND h.opened < :end
        AND (:conn IS NULL OR h.conn = (SELECT id FROM texts WHERE text = :conn))
      GROUP BY c.owner, h.claim
    ), single AS (
      SELECT *, max(knows) FROM once GROUP BY owner, request
    )
    SELECT {keys}, s.outcome, count(*), sum(s.credits), sum(s.credits * s.estimated),
           sum(s.possible), sum(s.unpriced)
    FROM single s JOIN owners o ON o.id = s.owner JOIN texts t ON t.id = s.model
    GROUP BY {keys}, s.outcome
    """  # noqa: S608 - all parts are constants of this module


def _key_of(by: Grouping, row: Sequence[Any], zone: tzinfo) -> tuple[str, ...]:
    if by == "day":
        moment = _EPOCH + timedelta(seconds=row[0] * _SLICE_SECONDS)
        return (moment.astimezone(zone).date().isoformat(),)
    if by == "outcome":
        return (OUTCOMES[row[0]],)
    return tuple("" if value is None else str(value) for value in row[: len(KEYS[by])])


def _read_row(key: tuple[str, ...], row: Sequence[Any]) -> CostRow:
    number, count, credits_, estimated, possible, unpriced = row[-6:]
    outcome = OUTCOMES[number]
    read = CostRow(key, credits=credits_, estimated=estimated, possible=possible, unpriced=unpriced)
    match outcome:
        case "uncertain":
            read.uncertain = count
        case "refused":
            read.refused = count
        case _:
            read.submits = count
            read.images = count if outcome in WITH_IMAGE else 0
    return read


def _by_key(row: CostRow) -> Any:
    return row.key


def _by_cost(row: CostRow) -> Any:
    return (-row.credits, -row.possible, -row.submits, row.key)
