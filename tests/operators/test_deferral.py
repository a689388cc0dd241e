"""Deferral of a task: what crosses it, and for how long it may last."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.provenance import RequestSummary
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.operators.deferral import (
    STATE_XCOM,
    DeferredState,
    deferral_arguments,
)
from tests.support.run_operator import FakeTaskInstance

GENERATION: Any = {"request_id": "r", "polling_url": None}
PLAN = LandingPlan(target=Target(path="/x/hero.png"), request=RequestSummary(prompt="a fox"))


def test_a_worker_reads_the_state_from_before_the_deferral() -> None:
    ti = FakeTaskInstance(-1)
    DeferredState(GENERATION, PLAN, "/x/record.json").save(ti)
    state = DeferredState.load(ti, "hero")
    assert (state.generation, state.record_uri) == (GENERATION, "/x/record.json")
    assert state.plan == PLAN.without_prompt()


def test_the_state_of_a_deferred_task_holds_no_prompt() -> None:
    ti = FakeTaskInstance(-1)
    DeferredState(GENERATION, PLAN, None).save(ti)
    assert "a fox" not in str(ti.xcoms[STATE_XCOM])


@pytest.mark.parametrize("value", [None, "text", []])
def test_a_task_without_a_readable_state_gets_an_empty_one(value: Any) -> None:
    ti = FakeTaskInstance(-1)
    ti.xcoms[STATE_XCOM] = value
    assert DeferredState.load(ti, "hero") == DeferredState()


def test_a_landing_plan_of_another_version_counts_as_none() -> None:
    ti = FakeTaskInstance(-1)
    ti.xcoms[STATE_XCOM] = {**GENERATION, "landing_plan": {"path": "/x"}, "record_uri": None}
    assert DeferredState.load(ti, "hero") == DeferredState(GENERATION)


def test_output_path_crosses_a_deferral_in_the_trigger_and_not_in_its_arguments() -> None:
    arguments = deferral_arguments(
        DeferredState(GENERATION, PLAN, "/x/record.json"),
        flux_conn_id="flux_default",
        deadline=1100.0,
        poll_interval=0.5,
        now=1000.0,
    )
    trigger = arguments.pop("trigger")
    assert trigger.serialize()[1]["landing_plan"]["target"]["path"] == "/x/hero.png"
    assert sorted(arguments) == ["method_name", "timeout"]


@pytest.mark.parametrize(("deadline", "seconds"), [(1100.0, 160), (900.0, 70)])
def test_airflow_ends_a_deferral_a_minute_after_the_deadline(
    deadline: float, seconds: float
) -> None:
    arguments = deferral_arguments(
        DeferredState(GENERATION),
        flux_conn_id="flux_default",
        deadline=deadline,
        poll_interval=0.5,
        now=1000.0,
    )
    assert arguments["timeout"].total_seconds() == seconds
    assert arguments["trigger"].not_before == 1010
