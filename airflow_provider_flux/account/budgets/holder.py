"""The credits that one try has reserved, and the submits that use them. Pure: no clock, no store.

Between two writes of the shared object a holder knows its *limit*: what its submits may cost in
total, answered or not. A submit is taken if it fits below the limit. While a write is on its way
the old limit stays in force, or is lowered before it to give credits back, so no order of answers
allows more than the object has reserved.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

from airflow_provider_flux.account.budgets.parts import Answer, Order
from airflow_provider_flux.account.budgets.state import BLOCK_SECONDS, EPSILON

#: Seconds after which a live holder renews its block.
RENEW_SECONDS = 60.0
#: Seconds after its last renewal for which a block is used. It lapses later, and clocks differ.
_USABLE_SECONDS = BLOCK_SECONDS - 60.0


@dataclass(frozen=True)
class Reservation:
    """The credits of one submit.

    :param model: name of the model.
    :param estimate: expected credits by the price list, or the dearest price.
    :param credits: credits that are reserved, which count what BFL billed for others.
    """

    model: str
    estimate: float
    credits: float


class BlockHolder:
    """The account of one try. It belongs to one thread or event loop.

    :param ledger: id of the ledger that records the submits; empty if there is none.
    :param spender: name of the task.
    :param block: submits of the current price for which a block should suffice, 1 for a task that
        submits one request.
    :param holder: id of the holder; random by default. The ledger knows it, too.
    """

    def __init__(self, ledger: str, spender: str, block: int, holder: str | None = None) -> None:
        self.id = holder or uuid4().hex
        self._ledger = ledger
        self._spender = spender
        self._block = block
        self._factors: dict[str, float] = {}
        self._news: dict[str, float] = {}
        self._settled = 0.0
        self._adjusted = 0.0
        self._limit = 0.0
        self._in_flight = 0.0
        self._probe: str | None = None
        self._probing = 0
        self._renewed_at = float("-inf")
        #: Seconds from the begin of the latest period to the last renewal.
        self._period_age = 0.0
        self._has_block = False
        self._taken = 0

    @property
    def free(self) -> float:
        """Credits for which submits may still be taken."""
        return self._limit - self._settled - self._in_flight

    @property
    def settled(self) -> float:
        """Credits of all submits that were answered, or whose answer was lost."""
        return self._settled

    @property
    def in_flight(self) -> float:
        """Credits of the submits without an answer."""
        return self._in_flight

    @property
    def was_used(self) -> bool:
        """Whether a submit was taken since the last write."""
        return self._taken > 0

    @property
    def has_corrections(self) -> bool:
        """Whether the cost of an earlier submit was corrected."""
        return bool(self._adjusted)

    @property
    def has_block(self) -> bool:
        """Whether the shared object may have a block of this holder."""
        return self._has_block

    def price(self, model: str, estimate: float) -> float:
        """Return the credits to reserve for a submit.

        :param model: name of the model.
        :param estimate: its expected price.
        """
        return estimate * self._factors.get(model, 1.0)

    def take(self, model: str, estimate: float, now: float) -> Reservation | None:
        """Take the credits of one submit out of the block.

        :param model: name of the model.
        :param estimate: its expected price.
        :param now: monotonic seconds.
        :return: ``None`` if the block has to be renewed first, or if the first cost of the model is
            awaited.
        """
        if not self.can_take(model, estimate, now):
            return None
        price = self.price(model, estimate)
        if model not in self._factors:
            self._probing += 1
        self._in_flight += price
        self._taken += 1
        return Reservation(model, estimate, price)

    def can_take(self, model: str, estimate: float, now: float) -> bool:
        """Return whether :meth:`take` would take a submit.

        :param model: name of the model.
        :param estimate: its expected price.
        :param now: monotonic seconds.
        """
        if now - self._renewed_at > _USABLE_SECONDS:
            return False
        if self.price(model, estimate) > self.free + EPSILON:
            return False
        return model in self._factors or (self._probe == model and not self._probing)

    def release(self, reservation: Reservation) -> None:
        """Give back the credits of a submit that BFL does not bill.

        :param reservation: what :meth:`take` returned.
        """
        self._end(reservation)

    def settle(self, reservation: Reservation, cost: float | None) -> None:
        """Count the cost of a submit.

        :param reservation: what :meth:`take` returned.
        :param cost: credits that BFL bills; ``None`` if the answer was lost.
        """
        self._end(reservation)
        self._settled += reservation.credits if cost is None else cost
        if cost is None:
            return
        factor = cost / reservation.estimate if reservation.estimate > 0 else 1.0
        factor = min(max(factor, 1.0), 1000.0)
        if factor > self._factors.get(reservation.model, 0.0):
            self._factors[reservation.model] = self._news[reservation.model] = factor

    def adjust(self, credits_: float, age: float, now: float) -> None:
        """Correct the cost of a submit that was settled before.

        A refund of an earlier period gives the current one no credits.

        :param credits_: the difference, negative for a refund.
        :param age: seconds since BFL accepted the submit.
        :param now: monotonic seconds.
        """
        if credits_ > 0 or self._has_begun_before(age, now):
            self._adjusted += credits_

    def _has_begun_before(self, age: float, now: float) -> bool:
        """Whether the current periods had begun when a submit was made."""
        if not self._has_block:
            return False
        return self._period_age + now - self._renewed_at > age

    def _end(self, reservation: Reservation) -> None:
        self._in_flight = max(0.0, self._in_flight - reservation.credits)
        if self._probing and reservation.model == self._probe:
            self._probing = 0

    def must_wait_for_probe(self, model: str) -> bool:
        """Whether a model has to wait for a first cost that this holder awaits.

        A block awaits one first cost at a time, so that of another model holds it back, too.

        :param model: name of the model.
        """
        return model not in self._factors and self._probing > 0

    def is_renewal_due(self, now: float, price: float = 0.0) -> bool:
        """Return whether to write, before a submit has to wait for it.

        :param now: monotonic seconds.
        :param price: credits of a usual submit.
        """
        if not self._has_block:
            return False
        is_low = self._taken > 0 and self.free < self._block * price / 6
        return bool(self._news) or is_low or now - self._renewed_at >= RENEW_SECONDS

    def build_order(
        self, now: float, model: str | None, estimate: float, *, may_share_probe: bool = False
    ) -> Order:
        """Return what to write, and keep the rest of the block for submits meanwhile.

        If the rest is too small for the next submit, or nothing was submitted since the last write,
        it is given back: other tasks may use it.

        :param now: monotonic seconds.
        :param model: model of the next submit; ``None`` if none is to come.
        :param estimate: its expected price.
        :param may_share_probe: whether to submit although another task awaits the first cost.
        """
        price = self.price(model or "", estimate) if model else 0.0
        is_short = self.free < price - EPSILON or now - self._renewed_at > _USABLE_SECONDS
        is_probe = bool(model) and model not in self._factors
        if is_short or is_probe or not self._taken or not model:
            self._limit = self._settled + self._in_flight
        in_flight = max(self._in_flight, self._limit - self._settled)
        kept = in_flight - self._in_flight
        needs_more = bool(model) and kept < price - EPSILON
        return Order(
            holder=self.id,
            ledger=self._ledger,
            spender=self._spender,
            settled=round(self._settled, 6),
            adjusted=round(self._adjusted, 6),
            in_flight=round(in_flight, 6),
            minimum=price if needs_more else 0.0,
            wanted=max(0.0, self._block * price - kept) if model else 0.0,
            prices=dict(self._news),
            probe=self._probe if self._probing else model if is_probe else None,
            may_share_probe=may_share_probe,
            had_block=self._has_block,
        )

    def apply(self, order: Order, answer: Answer, now: float) -> None:
        """Use what was reserved.

        :param order: what was written.
        :param answer: the answer to it.
        :param now: monotonic seconds at which the write began.
        """
        self._has_block = True
        self._renewed_at = now
        self._taken = 0
        self._period_age = answer.period_age
        for model, factor in answer.factors.items():
            self._factors[model] = max(factor, self._factors.get(model, 1.0))
        self._news = {
            model: factor
            for model, factor in self._news.items()
            if factor > answer.factors.get(model, 0.0) + EPSILON
        }
        self._limit = max(self._limit, order.settled + order.in_flight + answer.free)
        if not self._probing:
            self._probe = order.probe if answer.free > 0 else None

    def build_last_order(self) -> Order:
        """Return the totals at the end: submits without an answer count as billed."""
        return Order(
            holder=self.id,
            ledger=self._ledger,
            spender=self._spender,
            settled=round(self._settled + self._in_flight, 6),
            adjusted=round(self._adjusted, 6),
            prices=dict(self._news),
            had_block=self._has_block,
        )
