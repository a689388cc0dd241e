"""Compare the balance of an account with the charges that ledgers know. Pure: no store, no clock.

BFL takes the credits of a request at its submit, and gives them back if it ends without an image
(source: BFL's help centre, "failed generations", 2026-06-12). So at the time of a reading a charge
is *known* to be taken, *in flight*, or *uncertain*.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, pairwise

from airflow_provider_flux.account.readings import Reading
from airflow_provider_flux.accounting.charges import Charge
from airflow_provider_flux.accounting.submit_cost import NOT_CHARGED

#: Amounts are counted in millionths of a credit, so that no sum has an error of binary fractions.
MILLION = 1_000_000


@dataclass(frozen=True)
class Tolerances:
    """The times within which a charge may be on either side of a reading.

    :param clocks: seconds by which the clocks of two machines may differ, 5 by default.
    :param answer: seconds after the intent in which BFL may still take the credits of a submit
        whose answer was lost, 600 by default.
    """

    clocks: float = 5.0
    answer: float = 600.0


#: The tolerances of everybody who names no others.
DEFAULT_TOLERANCES = Tolerances()


@dataclass(frozen=True)
class Interval:
    """The change of the balance between two readings, in credits (1 credit = 0.01 USD).

    ``spent`` is always ``explained + uncertain + unexplained - added``.

    :param start: time of the first reading.
    :param end: time of the second reading.
    :param spent: credits by which the balance fell; negative if it rose.
    :param explained: the part that the ledgers explain.
    :param uncertain: the part that submits whose answer was lost can explain.
    :param unexplained: the part that no ledger explains.
    :param added: credits that came in beyond what the ledgers explain: a top-up, or a refund.
    :param in_flight: credits of submits around the second reading, which may be on either side.
    """

    start: datetime
    end: datetime
    spent: float
    explained: float
    uncertain: float
    unexplained: float
    added: float
    in_flight: float


@dataclass(frozen=True)
class Reconciliation:
    """The intervals between the readings of a period, in their order.

    :param intervals: the intervals.
    :param possible: credits of all submits of the period whose answer was lost.
    """

    intervals: tuple[Interval, ...]
    possible: float

    def sum_up(self) -> Interval:
        """Return all intervals as one. There must be at least one."""
        first, last = self.intervals[0], self.intervals[-1]
        return Interval(
            start=first.start,
            end=last.end,
            spent=self.total("spent"),
            explained=self.total("explained"),
            uncertain=self.total("uncertain"),
            unexplained=self.total("unexplained"),
            added=self.total("added"),
            in_flight=last.in_flight,
        )

    def total(self, name: str) -> float:
        """Return the sum of one amount over all intervals.

        :param name: name of a field of :class:`Interval`.
        """
        amounts: list[float] = [getattr(interval, name) for interval in self.intervals]
        return round(sum(amounts), 6)


class TakenCredits:
    """The credits that BFL has taken at the time of a reading, as far as ledgers know.

    :param charges: the charges.
    :param tolerances: the times within which a charge may be on either side of a reading.
    """

    def __init__(self, charges: Iterable[Charge], tolerances: Tolerances) -> None:
        clocks = timedelta(seconds=tolerances.clocks)
        answer = timedelta(seconds=tolerances.answer)
        opened, taken, ended, lost, lost_before = [], [], [], [], []
        for charge in charges:
            amount = to_millionths(charge.held or 0.0)
            begin = charge.opened_at - clocks
            if charge.is_uncertain:
                lost.append((begin, amount))
                lost_before.append((begin + answer + 2 * clocks, amount))
                continue
            opened.append((begin, amount))
            if charge.outcome in NOT_CHARGED:
                ended.append((charge.updated_at + clocks, amount))
            else:
                has_time = charge.request_id is not None
                answered_at = charge.submitted_at if has_time else charge.updated_at
                taken.append((answered_at + clocks, amount))
        self._opened, self._taken, self._ended = map(_Sums, (opened, taken, ended))
        self._lost, self._lost_before = _Sums(lost), _Sums(lost_before)

    def known(self, reading: Reading) -> int:
        """Return the millionths that BFL has taken for good before a reading.

        :param reading: the reading.
        """
        return self._taken.before(reading.asked_at)

    def in_flight(self, reading: Reading) -> int:
        """Return the millionths of submits that may be on either side of a reading.

        :param reading: the reading.
        """
        ended = self._ended.before(reading.asked_at)
        return self._opened.until(reading.answered_at) - self.known(reading) - ended

    def uncertain(self, first: Reading, reading: Reading) -> int:
        """Return the millionths of lost submits that may be taken between two readings.

        :param first: the first reading. What BFL did long before it does not count.
        :param reading: the second reading.
        """
        return self._lost.until(reading.answered_at) - self._lost_before.before(first.asked_at)


def reconcile_balance(
    readings: Sequence[Reading],
    charges: Iterable[Charge],
    tolerances: Tolerances = DEFAULT_TOLERANCES,
) -> Reconciliation:
    """Explain the changes of a balance by charges.

    A charge in flight at a reading counts on the side that explains the balance, and stays there
    in the next interval. So it hides no credit of somebody else but for one interval.

    :param readings: readings of one account. With less than two, there is no interval.
    :param charges: all charges that may have changed the balance, those of the day before the
        first reading included.
    :param tolerances: the times within which a charge may be on either side of a reading.
    """
    ordered = sorted(readings, key=lambda reading: (reading.asked_at, reading.answered_at))
    if len(ordered) < 2:
        return Reconciliation((), 0.0)
    taken = TakenCredits(charges, tolerances)
    books = _Books(ordered[0], taken)
    intervals = tuple(books.explain(before, after) for before, after in pairwise(ordered))
    return Reconciliation(intervals, taken.uncertain(ordered[0], ordered[-1]) / MILLION)


class _Books:
    """Explains one reading after the other. All amounts are millionths, since the first reading.

    :ivar early: amount in flight at the first reading that BFL had taken before it.
    :ivar in_flight: amount in flight at the last reading that BFL had taken before it.
    :ivar uncertain: amount of lost submits that BFL has taken.
    """

    def __init__(self, first: Reading, taken: TakenCredits) -> None:
        self._first = first
        self._taken = taken
        self._known_at_first = taken.known(first)
        self._max_early = taken.in_flight(first)
        self.early = self.in_flight = self.uncertain = self.unexplained = self.added = 0
        self._explained = 0

    def explain(self, before: Reading, after: Reading) -> Interval:
        """Explain the change between the last reading and the next one."""
        earlier = (self._explained, self.uncertain, self.unexplained, self.added)
        known = self._taken.known(after) - self._known_at_first
        spent = to_millionths(self._first.credits) - to_millionths(after.credits)
        rest = spent - known + self.early - self.unexplained + self.added
        in_flight = self._taken.in_flight(after)
        if rest < 0:
            self._explain_rise(-rest)
        else:
            now_possible = self.uncertain + self._taken.uncertain(before, after)
            possible = min(now_possible, self._taken.uncertain(self._first, after))
            self._explain_fall(rest, in_flight, possible)
        self._explained = known + self.in_flight - self.early
        now = (self._explained, self.uncertain, self.unexplained, self.added)
        explained, uncertain, unexplained, added = (
            (value - old) / MILLION for value, old in zip(now, earlier, strict=True)
        )
        return Interval(
            start=before.asked_at,
            end=after.asked_at,
            spent=(to_millionths(before.credits) - to_millionths(after.credits)) / MILLION,
            explained=explained,
            uncertain=uncertain,
            unexplained=unexplained,
            added=added,
            in_flight=in_flight / MILLION,
        )

    def _explain_rise(self, more: int) -> None:
        """Explain a balance that is higher than the known charges leave."""
        self.in_flight = 0
        if more <= self._max_early - self.early:
            self.early += more
            self.uncertain = 0
        else:
            self.added += more + self.uncertain

    def _explain_fall(self, rest: int, in_flight: int, uncertain: int) -> None:
        """Explain what the known charges leave open: by lost submits, by those in flight."""
        self.uncertain = min(self.uncertain, rest)
        self.in_flight = min(in_flight, rest - self.uncertain)
        rest -= self.uncertain + self.in_flight
        more = min(uncertain - self.uncertain, rest)
        self.uncertain += more
        self.unexplained += rest - more


class _Sums:
    """Sums of amounts by time."""

    def __init__(self, amounts: list[tuple[datetime, int]]) -> None:
        amounts.sort(key=lambda item: item[0])
        self._times = [moment for moment, _ in amounts]
        self._sums = [0, *accumulate(amount for _, amount in amounts)]

    def before(self, moment: datetime) -> int:
        return self._sums[bisect_left(self._times, moment)]

    def until(self, moment: datetime) -> int:
        return self._sums[bisect_right(self._times, moment)]


def to_millionths(credits_: float) -> int:
    """Return an amount of credits in millionths.

    :param credits_: the amount, a finite number.
    """
    return round(credits_ * MILLION)
