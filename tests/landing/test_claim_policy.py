"""The decision about a claim, by its content and its age alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.landing.claim_policy import (
    MAX_CLAIM_SECONDS,
    Claim,
    ClaimOwner,
    claim_seconds,
    decide_claim,
    encode_claim,
    parse_claim,
    seconds_to_live,
)

texts = st.none() | st.sampled_from(["ads", "other"])
owners = st.builds(
    ClaimOwner,
    dag_id=texts,
    run_id=texts,
    task_id=texts,
    map_index=st.integers(-1, 1),
    key=st.sampled_from(["a", "b"]),
)
claims = st.builds(
    Claim,
    owner=st.none() | owners,
    seconds=st.floats(allow_nan=True, allow_infinity=True),
    is_released=st.booleans(),
)
ages = st.floats(min_value=0, max_value=1e9)
json_values: Any = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@given(claim=claims, owner=owners, age=ages)
def test_a_task_waits_only_for_a_live_claim_of_another_owner(
    claim: Claim, owner: ClaimOwner, age: float
) -> None:
    decision = decide_claim(claim, owner, age=age)
    is_live = not claim.is_released and age < seconds_to_live(claim)
    is_own = claim.owner == owner and owner.dag_id is not None
    assert decision == ("take" if not is_live else "renew" if is_own else "wait")


@given(claim=claims, owner=owners)
def test_no_claim_is_waited_for_longer_than_an_hour(claim: Claim, owner: ClaimOwner) -> None:
    assert decide_claim(claim, owner, age=MAX_CLAIM_SECONDS) == "take"


@given(claim=claims, owner=owners, age=ages, later=ages)
def test_a_claim_that_may_be_taken_may_be_taken_ever_after(
    claim: Claim, owner: ClaimOwner, age: float, later: float
) -> None:
    if decide_claim(claim, owner, age=age) == "take":
        assert decide_claim(claim, owner, age=age + later) == "take"


@given(owner=owners)
def test_an_image_without_a_claim_is_taken(owner: ClaimOwner) -> None:
    assert decide_claim(None, owner, age=0) == "take"


@given(owner=owners, other=owners, seconds=st.floats(1, MAX_CLAIM_SECONDS))
def test_of_two_owners_exactly_one_may_submit(
    owner: ClaimOwner, other: ClaimOwner, seconds: float
) -> None:
    content = encode_claim(owner, seconds, claimed_at="now", expires_at="then", token="t")
    is_one = owner == other and owner.dag_id is not None
    decision = decide_claim(parse_claim(content), other, age=0)
    assert decision == ("renew" if is_one else "wait")


@given(owner=owners, seconds=st.floats(0, MAX_CLAIM_SECONDS), is_released=st.booleans())
def test_a_claim_is_read_as_it_was_written(
    owner: ClaimOwner, seconds: float, is_released: bool
) -> None:
    content = encode_claim(
        owner, seconds, claimed_at="now", expires_at="then", token="t", is_released=is_released
    )
    assert parse_claim(content) == Claim(owner, seconds, is_released)


@given(content=st.binary(max_size=40) | json_values.map(lambda value: json.dumps(value).encode()))
def test_an_object_that_is_no_claim_counts_as_one_of_an_unknown_owner(content: bytes) -> None:
    claim = parse_claim(content)
    assert (claim.owner, claim.is_released) == (None, False)
    assert seconds_to_live(claim) <= MAX_CLAIM_SECONDS


@pytest.mark.parametrize("seconds", ["1e400", "NaN", "-1", '"60"', "true", "null", "[]"])
def test_a_claim_with_a_strange_lifetime_is_one_of_an_unknown_owner(seconds: str) -> None:
    content = f'{{"owner": {{"dag_id": "ads"}}, "seconds": {seconds}}}'.encode()
    assert parse_claim(content).owner is None


def test_a_claim_of_a_year_lives_an_hour() -> None:
    content = b'{"owner": {"dag_id": "ads"}, "seconds": 31536000}'
    assert seconds_to_live(parse_claim(content)) == MAX_CLAIM_SECONDS


@given(timeout=st.floats(0, 1e9))
def test_a_claim_outlives_the_wait_for_its_image_or_lives_an_hour(timeout: float) -> None:
    assert min(timeout, MAX_CLAIM_SECONDS) <= claim_seconds(timeout) <= MAX_CLAIM_SECONDS


def test_the_label_of_an_owner_is_one_short_line_whatever_a_stranger_wrote() -> None:
    label = ClaimOwner(dag_id="a\x1b[31m\nb" * 200, run_id="r", task_id="t", key="k\r").label
    assert len(label) <= 200
    assert label.isprintable()
