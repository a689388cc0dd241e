"""The shared object of the budgets, in any order of writes, answers, kills and retries."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from airflow_provider_flux.account.budgets.holder import BlockHolder, Reservation
from airflow_provider_flux.account.budgets.parts import Answer, Order
from airflow_provider_flux.account.budgets.periods import Cap
from airflow_provider_flux.account.budgets.state import BLOCK_SECONDS, BudgetState

PRICES = {"flux-pro-1.1": 4.0, "flux-2-pro": 3.0}
LEDGER = "ledger"


@dataclass
class Try:
    """One try: its holder, its submits without an answer, and what BFL bills for all of them."""

    holder: BlockHolder
    in_flight: list[Reservation] = field(default_factory=list)
    order: Order | None = None
    answer: Answer | None = None
    billed: float = 0.0


class Account(RuleBasedStateMachine):
    """Tries on one budget, of which BFL bills each model by a factor that nobody knows."""

    def __init__(self) -> None:
        super().__init__()
        self.state, self.now = BudgetState(), 0.0
        self.tries: list[Try] = []
        self.dead: list[Try] = []
        self.factors: dict[str, float] = {}
        self.difference = 0.0

    @initialize(
        limit=st.integers(10, 200),
        factors=st.fixed_dictionaries({name: st.sampled_from([1.0, 1.5, 0.5]) for name in PRICES}),
    )
    def set_up(self, limit: int, factors: dict[str, float]) -> None:
        self.cap = Cap("day", float(limit), f"{limit} credits per day", 0.0, 1e9)
        self.factors = factors
        self.difference = max(PRICES[m] * max(0.0, f - 1) for m, f in factors.items())

    def cost(self, model: str) -> float:
        return PRICES[model] * self.factors[model]

    @property
    def billed(self) -> float:
        """The credits that BFL bills for all that was sent."""
        return sum(one.billed for one in (*self.tries, *self.dead))

    @property
    def unreported(self) -> float:
        """The credits by which submits without an answer cost more than their reservations."""
        waiting = (taken for one in (*self.tries, *self.dead) for taken in one.in_flight)
        return sum(max(0.0, self.cost(taken.model) - taken.credits) for taken in waiting)

    @precondition(lambda self: len(self.tries) < 8)
    @rule(block=st.sampled_from([1, 4, 24]))
    def start_try(self, block: int) -> None:
        self.tries.append(Try(BlockHolder(LEDGER, f"dag.task{len(self.tries)}", block)))

    @precondition(lambda self: self.tries)
    @rule(data=st.data(), model=st.sampled_from(sorted(PRICES)))
    def begin_write(self, data: st.DataObject, model: str) -> None:
        one = data.draw(st.sampled_from(self.tries), label="try")
        if one.order is None:
            one.order = one.holder.build_order(self.now, model, PRICES[model])

    @precondition(lambda self: any(one.order and not one.answer for one in self.tries))
    @rule(data=st.data(), is_twice=st.booleans())
    def write(self, data: st.DataObject, is_twice: bool) -> None:
        one = data.draw(st.sampled_from([o for o in self.tries if o.order and not o.answer]))
        for _ in range(1 + is_twice):  # the first answer of the store was lost
            self.state, one.answer = self.state.renew(one.order, [self.cap], self.now)

    @precondition(lambda self: any(one.answer for one in self.tries))
    @rule(data=st.data())
    def read_answer(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from([one for one in self.tries if one.answer]))
        one.holder.apply(one.order, one.answer, self.now)
        one.order = one.answer = None

    @precondition(lambda self: self.tries)
    @rule(data=st.data(), model=st.sampled_from(sorted(PRICES)), count=st.integers(1, 30))
    def submit(self, data: st.DataObject, model: str, count: int) -> None:
        one = data.draw(st.sampled_from(self.tries))
        for _ in range(count):
            taken = one.holder.take(model, PRICES[model], self.now)
            if taken is None:
                break
            one.in_flight.append(taken)
            one.billed += self.cost(model)

    @precondition(lambda self: any(one.in_flight for one in self.tries))
    @rule(data=st.data(), how=st.sampled_from(["accepted", "accepted", "refused", "lost"]))
    def receive_answer(self, data: st.DataObject, how: str) -> None:
        one = data.draw(st.sampled_from([one for one in self.tries if one.in_flight]))
        taken = one.in_flight.pop(0)
        if how == "accepted":
            one.holder.settle(taken, self.cost(taken.model))
        elif how == "refused":
            one.billed -= self.cost(taken.model)
            one.holder.release(taken)
        else:  # not billed, but nobody can know
            one.billed -= self.cost(taken.model)
            one.holder.settle(taken, None)

    @precondition(lambda self: self.tries)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.tries))
        self.tries.remove(one)
        self.dead.append(one)

    @precondition(lambda self: self.dead)
    @rule()
    def retry_reads_ledger(self) -> None:
        self.settle_dead()

    @rule(seconds=st.sampled_from([1.0, 50.0, BLOCK_SECONDS + 1]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    def settle_dead(self) -> None:
        living = {one.holder.id for one in self.tries}
        dead = self.state.dead_holders(LEDGER) - living
        by_ledger = {
            one.holder.id: one.holder.settled + sum(taken.credits for taken in one.in_flight)
            for one in self.dead
        }
        self.state = self.state.settle_dead({holder: by_ledger[holder] for holder in dead})

    @invariant()
    def cap_holds(self) -> None:
        if self.difference or hasattr(self, "cap"):
            assert self.billed <= self.cap.limit + self.difference + 1e-4
            assert self.state.spent("day") >= 0

    def teardown(self) -> None:
        if not hasattr(self, "cap"):
            return
        self.settle_dead()
        for one in self.tries:
            if one.holder.has_block or one.order:
                self.state = self.state.close(one.holder.build_last_order(), self.now)
        # Blocks whose holder was never told of them lapse.
        self.state = self.state.close(Order(holder="x", spender="x"), self.now + 1e6)
        assert self.state.reserved("day") == 0
        assert self.state.spent("day") >= self.billed - self.unreported - 1e-4
        BudgetState.model_validate_json(self.state.model_dump_json())


TestAnyOrderKeepsTheCap = Account.TestCase
TestAnyOrderKeepsTheCap.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)
