"""Deferral of a task: its arguments, and the state that the worker reads after it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow_provider_flux.generation import Generation
from airflow_provider_flux.landing.claims import ClaimWait
from airflow_provider_flux.landing.plan import LandingPlan, read_landing_plan
from airflow_provider_flux.triggers.claim import FluxClaimTrigger
from airflow_provider_flux.triggers.result import FluxResultTrigger

#: XCom key of the state of a deferred task.
STATE_XCOM = "submitted"
#: Shortest duration of a deferral. Airflow's scheduler can fail a task whose trigger fires while
#: the scheduler still handles the first half of the task (apache/airflow issues 71580, 72716).
_MIN_DEFERRAL_SECONDS = 10.0
#: Time between two polls if a webhook resumes the task. Signed URLs live for ten minutes.
_WEBHOOK_INTERVAL_SECONDS = 60.0
#: Time after the deadline at which Airflow ends a deferral whose trigger is gone.
_BACKSTOP_SECONDS = 60.0


@dataclass(frozen=True)
class DeferredState:
    """State of a deferred task that its worker needs afterwards.

    It is an XCom, because Airflow drops the arguments of a deferral that it ends itself.

    :param generation: the generation that the task waits for.
    :param plan: the landing plan; ``None`` without ``output_path``, or if this version cannot read
        the stored plan.
    :param record_uri: URI of the record in the ledger; ``None`` if it is no file.
    """

    generation: Generation | None = None
    plan: LandingPlan | None = None
    record_uri: str | None = None

    def save(self, ti: Any) -> None:
        """Push the state to XCom. It holds a hash in place of the prompt.

        :param ti: the running task instance.
        """
        plan = self.plan.without_prompt().model_dump(mode="json") if self.plan else None
        state = {**(self.generation or {}), "landing_plan": plan, "record_uri": self.record_uri}
        ti.xcom_push(key=STATE_XCOM, value=state)

    @classmethod
    def load(cls, ti: Any, task_id: str) -> DeferredState:
        """Pull the state from XCom.

        :param ti: the running task instance.
        :param task_id: id of its task.
        :return: an empty state if there is none.
        """
        value = ti.xcom_pull(task_ids=task_id, key=STATE_XCOM, map_indexes=ti.map_index)
        if not isinstance(value, Mapping):
            return cls()
        state: dict[str, Any] = dict(value)
        plan = read_landing_plan(state.pop("landing_plan", None))
        record_uri = state.pop("record_uri", None)
        return cls(state, plan, record_uri)  # type: ignore[arg-type]


def deferral_arguments(
    state: DeferredState,
    *,
    flux_conn_id: str,
    deadline: float,
    poll_interval: float,
    now: float,
    hide_texts: bool = False,
    has_receiver: bool = False,
) -> dict[str, Any]:
    """Return the arguments of ``BaseOperator.defer``.

    :param state: state of the task, with a generation.
    :param flux_conn_id: connection to poll with.
    :param deadline: epoch seconds at which the trigger gives up.
    :param poll_interval: shortest seconds between two polls.
    :param now: epoch seconds.
    :param hide_texts: leave the texts of BFL out of the event, because they may quote the prompt.
    :param has_receiver: whether a webhook resumes the task, so that the trigger polls rarely.
    """
    assert state.generation is not None  # noqa: S101 - a task defers for an accepted generation
    trigger = FluxResultTrigger(
        flux_conn_id=flux_conn_id,
        generation=state.generation,
        deadline=deadline,
        not_before=now + _MIN_DEFERRAL_SECONDS,
        poll_interval=poll_interval,
        landing_plan=state.plan.model_dump(mode="json") if state.plan else None,
        record_uri=state.record_uri,
        hide_texts=hide_texts,
        webhook_interval=max(_WEBHOOK_INTERVAL_SECONDS, poll_interval) if has_receiver else None,
    )
    seconds = max(deadline - now, _MIN_DEFERRAL_SECONDS) + _BACKSTOP_SECONDS
    return {
        "trigger": trigger,
        "method_name": "execute_complete",
        "timeout": timedelta(seconds=seconds),
    }


def claim_deferral_arguments(
    wait: ClaimWait, *, claim_deadline: float, poll_interval: float, now: float
) -> dict[str, Any]:
    """Return the arguments of ``BaseOperator.defer`` for a wait for the image of another task.

    :param wait: the claim of the other task.
    :param claim_deadline: epoch seconds at which the task stops waiting for claims.
    :param poll_interval: shortest seconds between two looks at the claim.
    :param now: epoch seconds.
    """
    left = max(0.0, min(wait.seconds_left, claim_deadline - now))
    is_local = wait.uri.startswith(("/", "file:", "local:"))
    trigger = FluxClaimTrigger(
        claim_uri=wait.uri,
        claim_digest=wait.digest,
        entry_digest=wait.entry_digest,
        deadline=now + left,
        host=socket.gethostname() if is_local else "",
        not_before=now + _MIN_DEFERRAL_SECONDS,
        poll_interval=poll_interval,
    )
    seconds = max(left, _MIN_DEFERRAL_SECONDS) + _BACKSTOP_SECONDS
    return {
        "trigger": trigger,
        "method_name": "execute_after_claim",
        "kwargs": {"claim_deadline": claim_deadline},
        "timeout": timedelta(seconds=seconds),
    }
