"""The shared object of the budgets: spent and reserved credits. Pure: no clock, no store.

Every try of a task that submits is a *holder*. Before it submits, it reserves a *block* of credits
in each budget that limits it, and its submits use up the block without a further write. At the next
write it settles what its submits cost, and returns or renews the rest. For each budget and period
``spent + reserved`` never exceeds the cap when a block is reserved, so no order of writes, kills
and retries spends more than the cap. BFL may bill more than the estimate: the first cost of a model
is awaited before another holder submits to it, and reservations count that factor from then on.

A holder sends totals and no differences, so a write whose answer was lost may be sent again.

A block of a dead try comes back in one of two ways. A later try of the same task reads the ledger,
which has every submit of the dead try, and settles the block by it. Without a later try the block
*lapses* at its deadline: nobody can tell what the dead try submitted since its last write, so the
whole block counts as spent. That is at most one block, and the ledger corrects it whenever a later
try reads it, as long as the period lasts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from airflow_provider_flux.account.budgets.parts import (
    OTHERS,
    Answer,
    Block,
    Counter,
    KnownPrice,
    LapsedBlock,
    Name,
    Order,
    StoredPart,
)
from airflow_provider_flux.account.budgets.periods import Cap
from airflow_provider_flux.bfl.errors import FluxConfigurationError

#: Largest size of the object in bytes.
MAX_BYTES = 1 << 20
#: Seconds for which a block is reserved. A live holder renews it every minute.
BLOCK_SECONDS = 180.0
#: Differences of this size are rounding errors.
EPSILON = 1e-6
#: Seconds for which the price of a model stays known.
_PRICE_SECONDS = 7 * 86400.0
#: Seconds after its end for which a counter is kept, for late settlements.
_KEPT_SECONDS = 86400.0
_MAX_COUNTERS = 500
_MAX_BLOCKS = 1000
_MAX_LAPSED = 200
_MAX_SPENDERS = 20
_MAX_PRICES = 100


class BudgetState(StoredPart):
    """The shared object.

    :param schema_version: 1.
    :param counters: spend by budget and period.
    :param blocks: reserved blocks by holder.
    :param lapsed: blocks that lapsed, by holder.
    :param prices: known prices by model.
    """

    schema_version: Literal[1] = 1
    counters: dict[Name, Counter] = Field(default_factory=dict)
    blocks: dict[Name, Block] = Field(default_factory=dict)
    lapsed: dict[Name, LapsedBlock] = Field(default_factory=dict)
    prices: dict[Name, KnownPrice] = Field(default_factory=dict)

    def reserved(self, key: str, *, without: str = "") -> float:
        """Return the credits that are reserved in a counter.

        :param key: the counter.
        :param without: holder whose block does not count.
        """
        return sum(
            block.reserved
            for holder, block in self.blocks.items()
            if holder != without and key in block.counters
        )

    def spent(self, key: str) -> float:
        """Return the credits that were spent in a counter.

        :param key: the counter.
        """
        counter = self.counters.get(key)
        return counter.spent if counter else 0.0

    def left(self, cap: Cap, *, without: str = "") -> float:
        """Return the credits of a budget that are neither spent nor reserved.

        :param cap: the budget.
        :param without: holder whose block does not count.
        """
        return cap.limit - self.spent(cap.key) - self.reserved(cap.key, without=without)

    def renew(self, order: Order, caps: Sequence[Cap], now: float) -> tuple[BudgetState, Answer]:
        """Settle the submits of a holder, and reserve a block for the next ones.

        :param order: totals and wishes of the holder.
        :param caps: the budgets that limit it now.
        :param now: epoch seconds, by the clock of the store.
        :return: the new state, and the answer to the holder.
        :raises FluxConfigurationError: if the object would get too large.
        """
        state = self._copy()
        if order.had_block and not state._settle(order):
            return state, Answer(is_superseded=True)
        if not order.had_block:  # a write whose answer was lost may have reserved it
            state._settle(order)
        state._lapse(now, without=order.holder)
        state._prune(now)
        state._learn(order.prices, now)
        answer = state._reserve(order, caps, now)
        state._check_size()
        return state, answer

    def close(self, order: Order, now: float) -> BudgetState:
        """Settle the submits of a holder that ends, and return the rest of its block.

        :param order: its totals. Submits without an answer are part of ``settled``.
        :param now: epoch seconds, by the clock of the store.
        """
        state = self._copy()
        state._settle(order)
        state.blocks.pop(order.holder, None)
        state._lapse(now)
        state._prune(now)
        state._learn(order.prices, now)
        return state

    def dead_holders(self, ledger: str, own: str = "") -> frozenset[str]:
        """Return the holders of one ledger whose credits a later try may settle.

        :param ledger: id of the ledger.
        :param own: holder that asks.
        """
        if not ledger:
            return frozenset()
        return frozenset(
            holder
            for holders in (self.blocks, self.lapsed)
            for holder, block in holders.items()
            if block.ledger == ledger and holder != own
        )

    def settle_dead(self, totals: Mapping[str, float]) -> BudgetState:
        """Settle the blocks of dead tries by their ledger.

        :param totals: for each dead holder, the credits of all its submits by the ledger, with
            those whose answer was lost.
        """
        state = self._copy()
        for holder, total in totals.items():
            block = state.blocks.pop(holder, None)
            lapsed = state.lapsed.pop(holder, None)
            for found, counted in ((block, 0.0), (lapsed, lapsed.counted if lapsed else 0.0)):
                if found is not None:
                    unsettled = max(0.0, total - found.settled)
                    state._add(found, unsettled - counted)
        return state

    def correct(self, spender: str, keys: Sequence[str], difference: float) -> BudgetState:
        """Correct the cost of a submit whose holder has ended.

        :param spender: name of the task.
        :param keys: counters of the submit.
        :param difference: credits to add, negative for a refund.
        """
        state = self._copy()
        state._add(Block(spender=spender, counters=tuple(keys), reserved=0, deadline=0), difference)
        return state

    def spenders_of(self, key: str) -> list[tuple[str, float]]:
        """Return the tasks that spent most in a counter, with their credits.

        :param key: the counter.
        """
        counter = self.counters.get(key)
        items = counter.spenders.items() if counter else ()
        return sorted(items, key=lambda item: -item[1])

    def _copy(self) -> BudgetState:
        return self.model_copy(deep=True)

    def _settle(self, order: Order) -> bool:
        """Count what a holder has settled since its last write; return whether it has a block."""
        block = self.blocks.get(order.holder)
        if block is None:
            lapsed = self.lapsed.pop(order.holder, None)
            if lapsed is None:
                return False
            self._add(lapsed, -lapsed.counted)
            block = Block(**lapsed.model_dump(exclude={"counted", "reserved"}), reserved=0.0)
            self.blocks[order.holder] = block
        difference = max(0.0, order.settled - block.settled)
        self._add(block, difference + order.adjusted - block.adjusted)
        block.settled = max(order.settled, block.settled)
        block.adjusted = order.adjusted
        block.reserved = order.in_flight
        return True

    def _add(self, block: Block, credits_: float) -> None:
        """Add credits of a block to the spend of its counters."""
        for key in block.counters:
            counter = self.counters.get(key)
            if counter is None:  # its period ended long ago
                continue
            counter.spent = max(0.0, round(counter.spent + credits_, 6))
            spent = round(counter.spenders.get(block.spender, 0.0) + credits_, 6)
            counter.spenders[block.spender] = spent
            if len(counter.spenders) > _MAX_SPENDERS:
                _add_up_smallest(counter.spenders)

    def _lapse(self, now: float, *, without: str = "") -> None:
        """Count the blocks as spent whose holders have not renewed them."""
        dead = [
            holder
            for holder, block in self.blocks.items()
            if block.deadline <= now and holder != without
        ]
        for holder in dead:
            block = self.blocks.pop(holder)
            self._add(block, block.reserved)
            self.lapsed[holder] = LapsedBlock(**block.model_dump(), counted=block.reserved)
        for holder in list(self.lapsed)[: max(0, len(self.lapsed) - _MAX_LAPSED)]:
            del self.lapsed[holder]

    def _prune(self, now: float) -> None:
        """Drop what no later write needs: ended periods, and lapsed blocks of them."""
        used = {key for block in self.blocks.values() for key in block.counters}
        for key, counter in list(self.counters.items()):
            if counter.ends + _KEPT_SECONDS <= now and key not in used:
                del self.counters[key]
        for holder, lapsed in list(self.lapsed.items()):
            if not any(key in self.counters for key in lapsed.counters):
                del self.lapsed[holder]
        for model, price in list(self.prices.items()):
            if price.at + _PRICE_SECONDS <= now:
                del self.prices[model]

    def _learn(self, prices: Mapping[str, float], now: float) -> None:
        for model, factor in prices.items():
            known = self.prices.get(model)
            highest = max(factor, known.factor if known else 1.0)
            self.prices[model] = KnownPrice(factor=min(max(highest, 1.0), 1000.0), at=now)
        for model in sorted(self.prices, key=lambda name: self.prices[name].at)[:-_MAX_PRICES]:
            del self.prices[model]

    def _reserve(self, order: Order, caps: Sequence[Cap], now: float) -> Answer:
        """Reserve a block: what is in flight, the minimum, and up to half of what is left."""
        for cap in caps:
            self.counters.setdefault(cap.key, Counter(ends=cap.ends))
        kept = self._find_kept_counters(order, caps)
        is_kept = kept is not None
        keys = kept if kept is not None else tuple(cap.key for cap in caps)
        factors = {model: price.factor for model, price in self.prices.items()}
        block = Block(
            ledger=order.ledger,
            spender=order.spender,
            counters=keys,
            reserved=order.in_flight,
            settled=order.settled,
            adjusted=order.adjusted,
            deadline=self._find_deadline(order.holder, now),
        )
        self.blocks[order.holder] = block
        begun = max((cap.starts for cap in caps), default=now)
        answer = Answer(counters=keys, factors=factors, period_age=0.0 if is_kept else now - begun)
        if is_kept:  # submits of the last period are not answered yet
            awaits = "holders" if order.minimum > 0 else None
            return answer.model_copy(update={"awaits": awaits})
        if order.minimum <= 0 and order.wanted <= 0:
            return answer
        factor = factors.get(order.probe or "", 1.0)
        minimum, wanted = order.minimum * factor, order.wanted * factor
        if order.probe and order.probe not in factors:
            if self._is_probed(order.probe, order.holder) and not order.may_share_probe:
                return answer.model_copy(update={"awaits": "price"})
            wanted = minimum
        left, short = self._find_shortest(order, caps)
        if short is not None and left < minimum - EPSILON:
            would_fit = self._fits_without_others(order.in_flight + minimum, caps)
            awaits = "holders" if would_fit else None
            return answer.model_copy(update={"short": short, "awaits": awaits})
        free = min(max(wanted, minimum), max(minimum, left / 2))
        block.reserved = round(order.in_flight + free, 6)
        block.probe = order.probe if order.probe not in factors else None
        return answer.model_copy(update={"free": free})

    def _find_kept_counters(self, order: Order, caps: Sequence[Cap]) -> tuple[str, ...] | None:
        """Return the counters of the last period if the block has to stay there.

        What is in flight moves to the new period with the block. If the new period has no room for
        it, it stays where it is, and nothing more is reserved until it has been answered.
        """
        block = self.blocks.get(order.holder)
        if block is None or order.in_flight <= 0:
            return None
        new = [cap for cap in caps if cap.key not in block.counters]
        if all(self.left(cap) >= order.in_flight - EPSILON for cap in new):
            return None
        return tuple(key for key in block.counters if key in self.counters)

    def _find_deadline(self, holder: str, now: float) -> float:
        """Return the deadline of a block. It changes once a minute, which saves writes."""
        block = self.blocks.get(holder)
        is_fresh = block is not None and block.deadline - now > BLOCK_SECONDS * 2 / 3
        return block.deadline if block is not None and is_fresh else now + BLOCK_SECONDS

    def _find_shortest(self, order: Order, caps: Sequence[Cap]) -> tuple[float, Cap | None]:
        """Return what is left for a holder beside its submits in flight, and the budget."""
        lefts = [(self.left(cap), cap) for cap in caps]
        return min(lefts, key=lambda item: item[0]) if lefts else (float("inf"), None)

    def _fits_without_others(self, credits_: float, caps: Sequence[Cap]) -> bool:
        return all(self.spent(cap.key) + credits_ <= cap.limit + EPSILON for cap in caps)

    def _is_probed(self, model: str, holder: str) -> bool:
        return any(block.probe == model for other, block in self.blocks.items() if other != holder)

    def _check_size(self) -> None:
        for name, items, limit in (
            ("budgets and periods", self.counters, _MAX_COUNTERS),
            ("tasks with reserved credits", self.blocks, _MAX_BLOCKS),
        ):
            if len(items) > limit:
                raise FluxConfigurationError(
                    f"The budgets of the account have {len(items)} {name}, more than {limit}. "
                    "Nothing was submitted. Use fewer budgets with '*', or fewer tasks at once: a "
                    "pool limits them."
                )


def _add_up_smallest(spenders: dict[str, float]) -> None:
    others = spenders.pop(OTHERS, 0.0)
    smallest = min(spenders, key=lambda name: spenders[name])
    spenders[OTHERS] = round(others + spenders.pop(smallest), 6)
