"""Shares of a quota: never above a limit, fair, and no slot left while one is needed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_flux.account.governor.shares import (
    Claim,
    QuotaLimits,
    Slots,
    divide,
    share_quota,
)

LIMITS = QuotaLimits(24, {"kontext-max": 6, "video": 5})


def claim(number: int, total: int, rank: int = 1, **groups: int) -> Claim:
    """Return a claim whose ticket is its number."""
    named = {name.replace("_", "-"): slots for name, slots in groups.items()}
    return Claim(str(number), rank, number, Slots(total=total, groups=named))


def totals(*claims: Claim) -> list[int]:
    """Return the share of each client."""
    shares = share_quota(claims, LIMITS)
    return [shares[claim.name].total for claim in claims]


def test_equal_clients_get_equal_shares_and_the_first_ones_what_cannot_be_divided() -> None:
    assert totals(*(claim(number, 24) for number in range(3))) == [8, 8, 8]
    assert totals(*(claim(number, 24) for number in range(5))) == [5, 5, 5, 5, 4]


def test_a_small_demand_is_met_and_the_others_divide_the_rest() -> None:
    assert totals(claim(0, 2), claim(1, 24), claim(2, 24)) == [2, 11, 11]


def test_a_higher_priority_comes_first_and_each_other_client_keeps_one_slot() -> None:
    assert totals(claim(0, 24), claim(1, 24, rank=2), claim(2, 24, rank=0)) == [1, 22, 1]
    assert totals(claim(0, 24), claim(1, 1, rank=2)) == [23, 1]


def test_more_clients_than_slots_are_served_by_priority_and_arrival() -> None:
    many = [claim(number, 1) for number in range(30)]
    assert totals(*many, claim(99, 1, rank=2)) == [1] * 23 + [0] * 7 + [1]


def test_a_limit_of_models_is_divided_among_those_who_use_them_and_frees_the_other_slots() -> None:
    shares = share_quota([claim(0, 24, kontext_max=24), claim(1, 24)], LIMITS)
    assert shares["0"] == Slots(total=6, groups={"kontext-max": 6, "video": 0})
    assert shares["1"].total == 18


claims = st.lists(
    st.builds(
        lambda rank, total, images, videos: (rank, total + images + videos, images, videos),
        *(st.integers(0, 2), st.integers(0, 40), st.integers(0, 10), st.integers(0, 10)),
    ),
    max_size=40,
).map(
    lambda rows: [
        Claim(
            str(number),
            rank,
            number // 2,
            Slots(total=total, groups={"kontext-max": images, "video": videos}),
        )
        for number, (rank, total, images, videos) in enumerate(rows)
    ]
)


@settings(max_examples=150)
@given(claims=claims, limit=st.integers(0, 60))
def test_shares_are_never_above_a_limit_or_a_demand(claims: list[Claim], limit: int) -> None:
    shares = share_quota(claims, QuotaLimits(limit, LIMITS.groups))
    assert sum(share.total for share in shares.values()) <= limit
    for group, most in LIMITS.groups.items():
        assert sum(share.of(group) for share in shares.values()) <= most
    for one in claims:
        assert 0 <= shares[one.name].total <= one.demand.total


@settings(max_examples=150)
@given(claims=claims, limit=st.integers(0, 60))
def test_no_slot_is_left_while_a_demand_is_open(claims: list[Claim], limit: int) -> None:
    wanted = {one.name: one.demand.total for one in claims}
    shares = divide(claims, wanted, limit)
    assert sum(shares.values()) == min(limit, sum(wanted.values()))


@settings(max_examples=150)
@given(claims=claims, limit=st.integers(0, 60))
def test_within_a_priority_nobody_has_two_slots_more_than_one_who_wants_more(
    claims: list[Claim], limit: int
) -> None:
    wanted = {one.name: one.demand.total for one in claims}
    shares = divide(claims, wanted, limit)
    for poor in claims:
        if shares[poor.name] == wanted[poor.name]:
            continue
        for rich in claims:
            if rich.rank == poor.rank:
                assert shares[rich.name] <= shares[poor.name] + 1
            elif rich.rank < poor.rank:
                assert shares[rich.name] <= 1
