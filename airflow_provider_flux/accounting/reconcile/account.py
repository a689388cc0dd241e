"""Reconcile an account: its readings, its ledgers, and the submits whose answer was lost."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from airflow_provider_flux.account.folder import account_folder
from airflow_provider_flux.account.readings import Reading, ReadingStore, read_balance
from airflow_provider_flux.accounting.charges import Charge, read_charged_records
from airflow_provider_flux.accounting.reconcile.balance import (
    DEFAULT_TOLERANCES,
    Reconciliation,
    Tolerances,
    reconcile_balance,
)
from airflow_provider_flux.accounting.reconcile.settle import Verdict, judge_lost
from airflow_provider_flux.accounting.reconcile.write_verdict import write_verdict
from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxError
from airflow_provider_flux.bfl.redaction import escape_control
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.recovery.find import FoundRecord, Unreadable

log = logging.getLogger(__name__)

#: The period without a first moment.
_PERIOD = timedelta(days=1)
#: BFL may give credits back so long after a submit: the longest video takes less.
_LONGEST_GENERATION = timedelta(days=1)


@dataclass
class LostSubmit:
    """A submit whose answer was lost, and what is known of it.

    :param charge: its charge.
    :param verdict: what the balance proves; ``accepted`` if a webhook named its request.
    :param is_written: whether the verdict is in its record now.
    """

    charge: Charge
    verdict: Verdict | Literal["accepted"]
    is_written: bool = False

    def describe(self) -> str:
        """Return the submit as a line of text."""
        charge = self.charge
        task = "/".join(filter(None, (charge.dag_id, charge.run_id, charge.task_id)))
        row = f" row {charge.key}" if charge.key else ""
        cost = "price not known" if charge.held is None else f"{charge.held:g} credits"
        end = ", settled" if self.is_written else ""
        when = charge.opened_at.isoformat(timespec="seconds")
        return f"{self.verdict}{end}: {task}{row}, {charge.model}, {cost}, {when}"


@dataclass(frozen=True)
class AccountReport:
    """The credits of an account in a period, and what explains them.

    :param reconciliation: the intervals between the readings.
    :param readings: number of readings.
    :param submits: number of submits of the period that BFL accepted.
    :param estimated: credits of those whose cost is from the price list.
    :param unpriced: number of those whose cost nobody knows.
    :param lost: the submits whose answer was lost.
    :param problems: the records and folders that could not be read.
    """

    reconciliation: Reconciliation
    readings: int
    submits: int = 0
    estimated: float = 0.0
    unpriced: int = 0
    lost: tuple[LostSubmit, ...] = ()
    problems: tuple[Unreadable, ...] = field(default=())

    @property
    def unexplained(self) -> float:
        """Credits that no ledger explains."""
        return self.reconciliation.total("unexplained")

    @property
    def has_alert(self) -> bool:
        """Whether somebody should look: credits are unexplained, or a ledger is not readable."""
        return self.unexplained > 0 or bool(self.problems)

    def as_dict(self) -> dict[str, Any]:
        """Return the sums of the period as JSON values, for an XCom."""
        names = ("spent", "explained", "uncertain", "unexplained", "added")
        intervals = self.reconciliation.intervals
        return {
            "from": intervals[0].start.isoformat() if intervals else None,
            "to": intervals[-1].end.isoformat() if intervals else None,
            **{name: self.reconciliation.total(name) for name in names},
            "readings": self.readings,
            "submits": self.submits,
            "lost_answers": len(self.lost),
            "unreadable": len(self.problems),
        }

    def describe_alert(self) -> str:
        """Return the reason of the alert: unexplained credits, and records that are not read."""
        reasons = [self.describe_unexplained()] if self.unexplained else []
        if self.problems:
            first = escape_control(str(self.problems[0].error))
            reasons.append(f"{len(self.problems)} records or folders cannot be read: {first}")
        return " ".join(reasons)

    def describe_unexplained(self) -> str:
        """Return what may have taken credits that no ledger explains."""
        hints = [
            "Somebody else used the key: another Airflow, a script, or BFL's playground. If it is "
            "an Airflow, name the folders of its ledgers, too."
        ]
        if self.estimated:
            hints.append(
                f"{self.estimated:g} of the explained credits are from the price list: a price "
                "that changed shows here."
            )
        if self.unpriced:
            hints.append(f"{self.unpriced} submits have no known price and count as 0.")
        return f"{self.unexplained:g} credits are unexplained. {' '.join(hints)}"


def reconcile_account(
    hook: FluxHook,
    folders: Sequence[str] = (),
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    settle: bool = False,
    tolerances: Tolerances = DEFAULT_TOLERANCES,
) -> AccountReport:
    """Read the balance, and explain its changes by ledgers and journals. It submits nothing.

    The period begins at the last reading before ``since``, so that periods meet.

    :param hook: hook of the connection, which needs an ``account_path``.
    :param folders: folders of ledgers. If there is none, Airflow's database names them.
    :param since: the first moment; a day before ``until`` by default.
    :param until: the moment after the last one; by default now, with a new reading.
    :param settle: whether to write what is proven into the records of lost submits. A record or
        folder that cannot be read forbids it: it may explain the balance.
    :param tolerances: the times within which a charge may be on either side of a reading.
    :raises FluxConfigurationError: if the connection has no ``account_path``.
    :raises FluxError: if BFL does not return the balance, or the store does not answer.
    """
    readings = _read_readings(hook, since, until)
    if len(readings) < 2:
        return AccountReport(Reconciliation((), 0.0), len(readings))
    first, last = readings[0], readings[-1]
    problems: list[Unreadable] = []
    begin, end = first.asked_at - _LONGEST_GENERATION, last.answered_at + _LONGEST_GENERATION
    records = list(
        read_charged_records(
            folders,
            problems.append,
            lambda charge: charge.updated_at >= begin and charge.opened_at <= end,
        )
    )
    charges = [charge for _, charge in records]
    reconciliation = reconcile_balance(readings, charges, tolerances)
    verdicts = judge_lost(readings, charges, reconciliation, tolerances)
    earliest = first.asked_at - timedelta(seconds=tolerances.answer)
    lost = [
        _settle(
            found,
            charge,
            verdicts.get(charge.claim or "", "uncertain"),
            is_on=settle and not problems,
        )
        for found, charge in records
        if charge.is_uncertain and charge.opened_at >= earliest
    ]
    known = [c for c in charges if not c.is_uncertain and c.submitted_at >= first.asked_at]
    return AccountReport(
        reconciliation,
        len(readings),
        submits=len(known),
        estimated=round(sum(c.credits for c in known if not c.is_reported), 6),
        unpriced=sum(charge.held is None for charge in known),
        lost=tuple(lost),
        problems=tuple(problems),
    )


def _read_readings(hook: FluxHook, since: datetime | None, until: datetime | None) -> list[Reading]:
    folder = account_folder(hook.settings)
    if folder is None:
        raise FluxConfigurationError(
            f"The connection {hook.flux_conn_id!r} has no account_path, so there are no readings "
            "of its balance. Set account_path in its extra to a folder that all workers share."
        )
    store = ReadingStore(folder)
    now = datetime.now(UTC)
    if until is None or until > now:
        store.add(read_balance(hook, "command"))
        until = datetime.now(UTC) + timedelta(seconds=1)
    since = since or until - _PERIOD
    readings = store.read_with_last_before(since, until)
    store.prune(now)
    return readings


def _settle(found: FoundRecord, charge: Charge, verdict: Verdict, *, is_on: bool) -> LostSubmit:
    submit = LostSubmit(charge, verdict)
    if found.stored.resolve_lost_answer(is_written=is_on):
        return LostSubmit(charge, "accepted", is_on)
    if not is_on:
        return submit
    try:
        submit.is_written = write_verdict(found.stored, verdict)
    except FluxError as error:
        log.warning("The verdict %r could not be recorded. %s", verdict, error)
    return submit
