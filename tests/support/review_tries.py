"""Tries of a review without a cluster: a person answers what the task would store in Airflow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import airflow.sdk.execution_time.task_runner as task_runner
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.review import FluxReviewOperator
from tests.support.run_operator import FakeTaskInstance

try:
    from airflow.sdk.exceptions import TaskAwaitingInput
except ImportError:  # Airflow 3.1 and 3.2 defer
    TaskAwaitingInput = TaskDeferred  # type: ignore[assignment, misc]

PERSON = {"id": "7", "name": "Ada"}


class Supervisor:
    """The other end of the task's channel: keeps the form that the task stores."""

    def __init__(self) -> None:
        self.forms: list[Any] = []

    def send(self, msg: Any) -> None:
        """Take a message of the task."""
        if hasattr(msg, "options"):
            self.forms.append(msg)


class ReviewTask:
    """One review of the images of a folder.

    :param folder: folder of all files.
    :param arguments: arguments of the operator, beside ``candidates`` and ``output_path``.
    :ivar dag_id: id of the DAG of the task.
    :ivar run_id: id of its run.
    :ivar task_id: id of the task.
    :ivar supervisor: has the forms that the task stored.
    :ivar xcoms: XComs of the task.
    """

    def __init__(self, folder: str | Path, candidates: Any, **arguments: Any) -> None:
        self.folder = str(folder)
        self.candidates = candidates
        self.arguments = {
            "output_path": f"{self.folder}/out/hero-{{key}}.{{ext}}",
            "candidate_folders": self.folder,
            **arguments,
        }
        self.dag_id, self.run_id, self.task_id = "shop", "night", "review"
        self.supervisor = Supervisor()
        self.xcoms: dict[str, Any] = {}
        self.try_number, self.max_tries = 0, 3

    @property
    def form(self) -> Any:
        """The form that the task stored last."""
        return self.supervisor.forms[-1]

    @property
    def state(self) -> Any:
        """The state that the review page shows."""
        return self.xcoms["flux_review"]

    def ask(self) -> ReviewTask:
        """Run a try up to its question."""
        self.try_number += 1
        assert self._run(lambda operator, context: operator.execute(context)) is None
        return self

    def retry(self) -> Any:
        """Run a try that must not ask, and return its XCom."""
        self.try_number += 1
        count = len(self.supervisor.forms)
        returned = self._run(lambda operator, context: operator.execute(context))
        assert len(self.supervisor.forms) == count
        return returned

    def clear(self) -> ReviewTask:
        """Clear the task, and run its next try up to its question."""
        self.max_tries = self.try_number + 3
        return self.ask()

    def answer(
        self, *options: str, who: Any = PERSON, timedout: bool = False, **fields: Any
    ) -> Any:
        """Answer the question, and return the XCom; ``None`` if the task asks again."""
        event = {
            "chosen_options": list(options),
            "params_input": {**dict.fromkeys(self.form.params), **fields},
            "responded_at": datetime(2026, 1, 2, tzinfo=UTC),
            "responded_by_user": who,
            "timedout": timedout,
        }
        return self._run(lambda operator, context: operator.execute_complete(context, event))

    def time_out(self) -> Any:
        """Let the time pass for a task without a default."""
        event = {"error": "too late", "error_type": "timeout"}
        return self._run(lambda operator, context: operator.execute_complete(context, event))

    def operator(self) -> FluxReviewOperator:
        """Return the operator, as each try of Airflow builds it."""
        return FluxReviewOperator(
            task_id=self.task_id, candidates=self.candidates, **self.arguments
        )

    def _run(self, phase: Any) -> Any:
        with _channel(self.supervisor):
            try:
                return json.loads(json.dumps(phase(self.operator(), self._context())))
            except (TaskAwaitingInput, TaskDeferred):
                return None

    def _context(self) -> Any:
        ti = FakeTaskInstance(-1)
        ti.xcoms = self.xcoms
        vars(ti).update(
            id="0192f0c1-7a3b-7c4d-8e5f-0123456789ab",
            dag_id=self.dag_id,
            run_id=self.run_id,
            task_id=self.task_id,
            try_number=self.try_number,
            max_tries=self.max_tries,
        )
        return {"ti": ti, "dag_run": SimpleNamespace(start_date=datetime(2026, 1, 1, tzinfo=UTC))}


def generate_candidates(folder: str | Path, count: int = 4, **arguments: Any) -> dict[str, Any]:
    """Generate candidates with a batch of the run ``night``, and return its summary."""
    operator = FluxGenerateBatchOperator(
        task_id="candidates",
        requests=[{"key": f"c{n}", "prompt": f"candidate {n}"} for n in range(1, count + 1)],
        defaults={"width": 256, "height": 256},
        output_path=f"{folder}/candidates/{{key}}.{{ext}}",
        **arguments,
    )
    ti = FakeTaskInstance(-1)
    vars(ti).update(dag_id="shop", run_id="night", task_id="candidates", try_number=1, max_tries=3)
    context: Any = {"ti": ti}
    return operator.execute(context)


@contextmanager
def _channel(supervisor: Supervisor) -> Iterator[None]:
    before = getattr(task_runner, "SUPERVISOR_COMMS", None)
    task_runner.SUPERVISOR_COMMS = supervisor  # type: ignore[assignment]
    try:
        yield
    finally:
        task_runner.SUPERVISOR_COMMS = before  # type: ignore[assignment]
