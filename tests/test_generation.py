"""The record of a generation: what tasks hand on, and how one that a user supplies is checked."""

from __future__ import annotations

import json
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.request import build_request
from airflow_provider_flux.bfl.responses import Submission
from airflow_provider_flux.generation import (
    Generation,
    new_generation,
    poller_for,
    submitted_epoch,
    wait_start,
)
from airflow_provider_flux.generation_input import parse_generation, parse_generations

REQUEST = build_request("flux-pro-1.1", {"prompt": "a fox"})
SUBMITTED_AT = 1_790_000_000.25


def generation(cost: float | None = None) -> Generation:
    """Return the record of a generation that was just accepted."""
    return new_generation(REQUEST, Submission("r-1", "https://api.bfl.ai/x", SUBMITTED_AT, cost))


def test_a_generation_survives_json_unchanged() -> None:
    record = generation(cost=4)
    assert parse_generation(json.loads(json.dumps(record))) == record
    assert list(record) == list(get_type_hints(Generation))


def test_a_generation_needs_only_its_request_id() -> None:
    record = parse_generation({"request_id": "r-1"})
    assert list(record) == list(get_type_hints(Generation))
    assert (record["model"], record["status"], record["cost"]) == ("unknown", "Unknown", None)
    assert record["submitted_at"].endswith("+00:00")


def test_the_time_of_the_submit_keeps_its_fraction_of_a_second() -> None:
    assert submitted_epoch(generation()) == SUBMITTED_AT


@pytest.mark.parametrize("text", ["2026-11-22T10:00:00", "2026-11-22T10:00:00Z", "20261122T100000"])
def test_a_time_without_an_offset_is_in_utc(text: str) -> None:
    record = parse_generation({"request_id": "r-1", "submitted_at": text})
    assert record["submitted_at"] == "2026-11-22T10:00:00+00:00"


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ({"seed": "7"}, "seed='7'. It must not be of type str"),
        ({"seed": True}, "seed=True. It must not be of type bool"),
        ({"cost": "4"}, "cost='4'. It must not be of type str"),
        ({"cost_source": "guessed"}, "cost_source='guessed'. It must be reported, estimated"),
        ({"polling_url": 7}, "polling_url=7. It must not be of type int"),
        ({"submitted_at": "yesterday"}, "submitted_at='yesterday'. It must be an ISO 8601 time"),
        ({"uncertain_submits": "1"}, "uncertain_submits='1'. It must not be of type str"),
    ],
)
def test_the_error_names_the_member_at_fault(member: dict[str, Any], message: str) -> None:
    with pytest.raises(FluxRequestError) as caught:
        parse_generations([{"request_id": "r-0"}, {"request_id": "r-1", **member}])
    assert f"generation[1] has {message}" in str(caught.value)


@pytest.mark.parametrize("cost", [-3, float("nan"), float("inf")])
def test_a_stored_cost_that_is_no_amount_counts_as_the_estimate(cost: float) -> None:
    """Fault 8: a record with such a cost lowered the credits of a batch."""
    stored = {"request_id": "r-1", "cost": cost, "cost_source": "reported", "estimated_cost": 4}
    record = parse_generation(stored)
    assert (record["cost"], record["cost_source"]) == (4, "estimated")
    unknown = parse_generation({**stored, "estimated_cost": cost})
    assert (unknown["cost"], unknown["cost_source"]) == (None, None)


@pytest.mark.parametrize(("cost", "known"), [(4.0, 4.0), (None, None)])
def test_a_poller_knows_only_a_cost_that_bfl_reported(
    cost: float | None, known: float | None
) -> None:
    poller = poller_for(generation(cost), deadline=SUBMITTED_AT + 60)
    assert (poller.request_id, poller.submitted_at) == ("r-1", SUBMITTED_AT)
    assert poller.cost == known


@given(skew=st.floats(0, 1e9))
def test_a_wait_counts_from_now_if_the_submit_seems_to_be_in_the_future(skew: float) -> None:
    """Fault 17: the clock of the worker that submitted was ahead of that of this machine."""
    now = SUBMITTED_AT - skew
    assert wait_start(generation(), now) == now
    assert wait_start(generation(), SUBMITTED_AT + skew) == SUBMITTED_AT
