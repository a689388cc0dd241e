"""Blocks of the shared object: periods that end, holders that lapse, limits of size."""

from __future__ import annotations

import pytest

from airflow_provider_flux.account.budgets.messages import budget_error, describe_spenders
from airflow_provider_flux.account.budgets.parts import OTHERS, Counter, Order
from airflow_provider_flux.account.budgets.periods import Cap
from airflow_provider_flux.account.budgets.state import BLOCK_SECONDS, MAX_BYTES, BudgetState
from airflow_provider_flux.bfl.errors import FluxConfigurationError


def cap(day: int, limit: float = 100.0) -> Cap:
    return Cap(f"day{day}", limit, f"{limit:g} credits per day", day * 1e4, (day + 1) * 1e4)


def order(holder: str = "a", **more: object) -> Order:
    values = {"holder": holder, "spender": f"ads.{holder}", "minimum": 4.0, "wanted": 8.0, **more}
    return Order.model_validate(values)


class TestPeriods:
    def test_submits_in_flight_move_to_the_new_period_with_their_block(self) -> None:
        state, _ = BudgetState().renew(order(), [cap(0)], 0.0)
        later = order(settled=4.0, in_flight=4.0, had_block=True)
        state, answer = state.renew(later, [cap(1)], 10.0)
        assert (state.spent("day0"), state.reserved("day0")) == (4, 0)
        assert (state.spent("day1"), state.reserved("day1")) == (0, 4 + answer.free)

    def test_submits_in_flight_stay_in_their_period_if_the_new_one_has_no_room(self) -> None:
        state, _ = BudgetState().renew(order(), [cap(0)], 0.0)
        later = order(settled=4.0, in_flight=4.0, had_block=True)
        state, answer = state.renew(later, [cap(1, 2.0)], 10.0)
        assert (answer.free, answer.awaits) == (0, "holders")
        assert state.reserved("day0") == 4
        state, answer = state.renew(order(settled=8.0, had_block=True), [cap(1, 2.0)], 20.0)
        assert (answer.short, answer.awaits) == (cap(1, 2.0), None)
        assert (state.spent("day0"), state.spent("day1")) == (8, 0)

    def test_ended_periods_are_dropped_after_a_day(self) -> None:
        state, _ = BudgetState().renew(order(), [cap(0)], 0.0)
        state = state.close(order(settled=4.0, had_block=True), 0.0)
        state, _ = state.renew(order("b"), [cap(20)], 20e4)
        assert list(state.counters) == ["day20"]


class TestDeadHolders:
    def test_a_holder_that_lapsed_and_lives_gets_back_what_it_did_not_spend(self) -> None:
        state, answer = BudgetState().renew(order(), [cap(0)], 0.0)
        state, _ = state.renew(order("b"), [cap(0)], BLOCK_SECONDS + 1)
        assert state.spent("day0") == answer.free
        state, _ = state.renew(order(settled=4.0, had_block=True), [cap(0)], BLOCK_SECONDS + 2)
        assert state.spent("day0") == 4
        assert state.lapsed == {}

    def test_a_later_try_corrects_what_a_lapsed_block_counted(self) -> None:
        state, _ = BudgetState().renew(order(ledger="l"), [cap(0)], 0.0)
        state, _ = state.renew(order("b"), [cap(0)], BLOCK_SECONDS + 1)
        assert state.dead_holders("l", "b") == {"a"}
        state = state.settle_dead({"a": 4.0})
        assert (state.spent("day0"), state.lapsed) == (4, {})

    def test_a_try_whose_block_a_later_try_settled_is_told_so(self) -> None:
        state, _ = BudgetState().renew(order(), [cap(0)], 0.0)
        state = state.settle_dead({"a": 4.0})
        state, answer = state.renew(order(settled=4.0, had_block=True), [cap(0)], 1.0)
        assert answer.is_superseded
        assert (state.spent("day0"), state.reserved("day0")) == (4, 0)

    def test_a_ledger_without_files_settles_no_block_of_others(self) -> None:
        state, _ = BudgetState().renew(order(ledger=""), [cap(0)], 0.0)
        assert state.dead_holders("") == frozenset()


class TestRefunds:
    def test_a_refund_frees_credits_once_although_it_is_written_twice(self) -> None:
        state, _ = BudgetState().renew(order(), [cap(0)], 0.0)
        refunded = order(settled=4.0, adjusted=-4.0, had_block=True)
        for _ in range(2):
            state, _ = state.renew(refunded, [cap(0)], 1.0)
        assert state.spent("day0") == 0

    def test_a_refund_never_makes_a_spend_negative(self) -> None:
        state = BudgetState(counters={"day0": Counter(ends=1e4)}).correct("ads.a", ["day0"], -4.0)
        assert state.spent("day0") == 0


class TestPrices:
    def test_the_first_cost_of_a_model_is_awaited_by_all_others(self) -> None:
        first = order("a", probe="flux-2-pro")
        state, answer = BudgetState().renew(first, [cap(0)], 0.0)
        assert answer.free == 4
        state, answer = state.renew(order("b", probe="flux-2-pro"), [cap(0)], 0.0)
        assert (answer.free, answer.awaits) == (0, "price")
        known = order("a", settled=8.0, had_block=True, prices={"flux-2-pro": 2.0})
        state, _ = state.renew(known, [cap(0)], 1.0)
        _, answer = state.renew(order("b", probe="flux-2-pro", had_block=True), [cap(0)], 1.0)
        assert answer.free == 16
        assert answer.factors == {"flux-2-pro": 2.0}


class TestLimits:
    def test_the_object_of_the_most_tasks_fits_into_its_limit_and_one_more_is_refused(self) -> None:
        state = BudgetState()
        for number in range(1000):
            one = order(f"{number:040d}", ledger="l" * 32, wanted=0.0, minimum=0.0)
            state = (
                state.renew(one, [cap(0), cap(1), cap(2)], 0.0)[0]
                if number % 100 == 99
                else (
                    state.model_copy(update={"blocks": {**state.blocks, one.holder: _block(one)}})
                )
            )
        assert len(state.model_dump_json()) < MAX_BYTES
        with pytest.raises(FluxConfigurationError, match=r"1001 tasks .* A pool|a pool"):
            state.renew(order("one more"), [cap(0)], 0.0)

    def test_the_smallest_spenders_are_added_up(self) -> None:
        state = BudgetState()
        for number in range(1, 31):
            state, _ = state.renew(order(str(number)), [cap(0, 1e6)], 0.0)
            state = state.close(order(str(number), settled=number, had_block=True), 0.0)
        spenders = dict(state.spenders_of("day0"))
        assert len(spenders) <= 21
        assert spenders["ads.30"] == 30
        assert sum(spenders.values()) == state.spent("day0") == sum(range(1, 31))
        assert OTHERS in spenders
        error = budget_error(state, cap(0, 500), "x", 40.0, "connection 'flux_default'")
        assert "ads.30 30" in error.message
        assert error.resets_at == 1e4

    def test_a_task_that_spent_nothing_is_not_named_among_the_spenders(self) -> None:
        state = BudgetState()
        for number in (0, 4):
            one = order(str(number))
            state, _ = state.renew(one, [cap(0)], 0.0)
            state = state.close(order(str(number), settled=number, had_block=True), 0.0)
        assert describe_spenders(state, "day0") == "ads.4 4"
        assert describe_spenders(state, "day1") == "nobody yet"


def _block(one: Order) -> object:
    state, _ = BudgetState().renew(one, [cap(0), cap(1), cap(2)], 0.0)
    return state.blocks[one.holder]
