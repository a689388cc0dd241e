"""Settle submits whose answer was lost, by readings of the balance. Pure: no store, no clock.

The balance proves something only if nothing else can have changed it. The rules stand in
:func:`judge`, and in ``docs/ledger.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from airflow_provider_flux.account.readings import Reading
from airflow_provider_flux.accounting.charges import Charge
from airflow_provider_flux.accounting.reconcile.balance import (
    DEFAULT_TOLERANCES,
    MILLION,
    Reconciliation,
    TakenCredits,
    Tolerances,
    to_millionths,
)
from airflow_provider_flux.accounting.submit_cost import NOT_CHARGED

#: What is known of a submit whose answer was lost.
#:
#: - ``charged``: BFL took its credits. Its request id is not known, so its image is lost.
#: - ``not charged``: BFL took nothing. It may be submitted again.
#: - ``uncertain``: nothing is proven.
Verdict = Literal["charged", "not charged", "uncertain"]

#: Time before a lost submit in which nobody else may have used the key.
_ALONE_BEFORE = timedelta(days=1)


@dataclass(frozen=True)
class Evidence:
    """The facts about lost submits between two readings.

    :param change: credits by which the balance fell, without those of submits whose answer is
        known.
    :param amounts: estimated credits of each lost submit; ``None`` if its price is not known.
    :param is_settled: whether each reading is free of submits in flight, and BFL had its time to
        take the credits of the lost ones before the second one.
    :param has_refunds: whether a request of the time between ended without an image, so that BFL
        gave its credits back.
    :param has_estimates: whether the cost of a known submit of that time is from the price list.
    :param has_others: whether credits in or shortly before that time are unexplained, or came in.
    """

    change: float
    amounts: tuple[float | None, ...]
    is_settled: bool = True
    has_refunds: bool = False
    has_estimates: bool = False
    has_others: bool = False


def judge(evidence: Evidence) -> Verdict:
    """Return the one verdict for all lost submits between two readings.

    :param evidence: the facts about them.
    """
    amounts = evidence.amounts
    is_clear = evidence.is_settled and not (
        evidence.has_refunds or evidence.has_estimates or evidence.has_others
    )
    if not is_clear or not amounts or 0.0 in amounts:
        return "uncertain"
    change = to_millionths(evidence.change)
    if change == 0:
        return "not charged"
    if None not in amounts and change == sum(to_millionths(amount or 0.0) for amount in amounts):
        return "charged"
    return "uncertain"


def judge_lost(
    readings: Sequence[Reading],
    charges: Sequence[Charge],
    reconciliation: Reconciliation,
    tolerances: Tolerances = DEFAULT_TOLERANCES,
) -> dict[str, Verdict]:
    """Return the verdict for each submit whose answer was lost.

    :param readings: readings of the account, in their order.
    :param charges: all charges that may have changed the balance.
    :param reconciliation: how these charges explain these readings.
    :param tolerances: the times within which a charge may be on either side of a reading.
    :return: the verdict by the ``claim`` of the submit. One that is not between two readings is
        left out.
    """
    verdicts: dict[str, Verdict] = {}
    taken = TakenCredits(charges, tolerances)
    for before, after, lost in _group(readings, charges, tolerances):
        evidence = _collect(before, after, lost, charges, taken, reconciliation, tolerances)
        verdict = judge(evidence)
        verdicts |= {charge.claim: verdict for charge in lost if charge.claim}
    return verdicts


def _group(
    readings: Sequence[Reading], charges: Sequence[Charge], tolerances: Tolerances
) -> Iterator[tuple[Reading, Reading, list[Charge]]]:
    """Yield lost submits with the readings around them. Those of the same time are one group."""
    clocks, answer = (
        timedelta(seconds=seconds) for seconds in (tolerances.clocks, tolerances.answer)
    )
    group: tuple[Reading, Reading, list[Charge]] | None = None
    lost = [charge for charge in charges if charge.is_uncertain]
    for charge in sorted(lost, key=lambda charge: charge.opened_at):
        opened = charge.opened_at
        before = [reading for reading in readings if reading.answered_at < opened - clocks]
        after = [reading for reading in readings if reading.asked_at > opened + answer + clocks]
        if not (before and after):
            continue
        if group and before[-1].asked_at < group[1].asked_at:
            group = (group[0], after[0], [*group[2], charge])
            continue
        if group:
            yield group
        group = (before[-1], after[0], [charge])
    if group:
        yield group


def _collect(
    before: Reading,
    after: Reading,
    lost: Sequence[Charge],
    charges: Sequence[Charge],
    taken: TakenCredits,
    reconciliation: Reconciliation,
    tolerances: Tolerances,
) -> Evidence:
    spent = to_millionths(before.credits) - to_millionths(after.credits)
    clocks = timedelta(seconds=tolerances.clocks)
    others = [
        charge
        for charge in charges
        if not charge.is_uncertain
        and charge.opened_at - clocks <= after.answered_at
        and charge.updated_at + clocks >= before.asked_at
    ]
    expected = sum(to_millionths(charge.held or 0.0) for charge in lost)
    return Evidence(
        change=(spent - taken.known(after) + taken.known(before)) / MILLION,
        amounts=tuple(charge.held for charge in lost),
        is_settled=not taken.in_flight(before)
        and not taken.in_flight(after)
        and taken.uncertain(before, after) == expected,
        has_refunds=any(charge.outcome in NOT_CHARGED for charge in others),
        has_estimates=any(not charge.is_reported for charge in others),
        has_others=any(
            interval.unexplained or interval.added
            for interval in reconciliation.intervals
            if interval.end > before.asked_at - _ALONE_BEFORE
        ),
    )
