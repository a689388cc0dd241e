"""How a task defers to :class:`FluxResultTrigger`, and what it needs when it goes on."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from airflow_provider_flux.generation import Generation
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.operators.wait_policy import WaitPolicy
from airflow_provider_flux.triggers.result import FluxResultTrigger

#: Seconds a deferral lasts at least. The scheduler can fail a task whose trigger fires while it still
#: handles the first half of the task (apache/airflow issues 71580, 72716), and the image is paid for.
_SHORTEST_DEFERRAL = 10.0
#: Seconds after our own deadline at which Airflow ends a deferral whose trigger is gone.
_BACKSTOP = 60.0


def deferral(
    generation: Generation,
    patience: WaitPolicy,
    *,
    flux_conn_id: str,
    plan: LandingPlan | None,
    record: str | None,
) -> dict[str, Any]:
    """Return the arguments of ``BaseOperator.defer``.

    :param record: URI of what the ledger has of the generation, where a trigger can reach it.
    """
    now = time.time()
    deadline = patience.deadline_of(generation)
    plan_json = plan.model_dump(mode="json") if plan else None
    return {
        "trigger": FluxResultTrigger(
            flux_conn_id=flux_conn_id,
            generation=generation,
            deadline=deadline,
            not_before=now + _SHORTEST_DEFERRAL,
            poll_interval=patience.poll_interval,
            landing_plan=plan_json,
            record=record,
        ),
        "method_name": "execute_complete",
        "kwargs": {"landing_plan": plan_json, "record": record},
        "timeout": timedelta(seconds=max(deadline - now, _SHORTEST_DEFERRAL) + _BACKSTOP),
    }
