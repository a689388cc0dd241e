"""Reviews that wait for a person in Airflow's database, without a scheduler and without a worker.

The operator runs in this process. Its form, its candidates and its state are stored as Airflow
stores them, so an API server shows the review and takes the answer, which ``resume`` carries out.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from airflow.models.hitl import HITLDetail
from airflow.providers.common.compat.sdk import AirflowSkipException
from airflow.sdk import DAG
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType

from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.review.form import review_path
from airflow_provider_flux.testing.dag_run import store_dag
from tests.support.airflow_names import AIRFLOW, DagSerialization
from tests.support.review_tries import ReviewTask
from tests.support.waiting_tasks import find, push_xcom, set_state

#: The DAG of the reviews, and its run.
REVIEW_DAG, REVIEW_RUN = "album_review", "night"
#: The state of a task that waits for a person.
WAITING = "awaiting_input" if AIRFLOW >= (3, 3) else "deferred"


class StoredReview(ReviewTask):
    """One review of the run, which waits in Airflow's database.

    :param task_id: id of its task.
    :param folder: folder of all files.
    :param candidates: output of the task that generated the candidates.
    :param arguments: further arguments of the operator.
    """

    def __init__(self, task_id: str, folder: Path, candidates: Any, **arguments: Any) -> None:
        path = f"{folder}/out/{task_id}-{{key}}.{{ext}}"
        super().__init__(folder, candidates, **{"output_path": path, **arguments})
        self.dag_id, self.run_id, self.task_id = REVIEW_DAG, REVIEW_RUN, task_id
        self._ti_id: UUID | None = None

    @property
    def path(self) -> str:
        """The path of the review page on the API server."""
        return page_of(self.task_id)

    @property
    def recorded(self) -> Mapping[str, Any]:
        """The answer that Airflow has recorded: options, fields, and the name of the user."""
        with create_session() as session:
            detail = self._detail(session)
            return {
                "options": detail.chosen_options,
                "fields": detail.params_input,
                "user": (detail.responded_by or {}).get("name"),
            }

    def begin(self, ti_id: UUID) -> None:
        """Run the task up to its question, and store what a worker would.

        :param ti_id: id of the task instance.
        """
        self._ti_id = ti_id
        self.ask()
        self._store()

    def resume(self, *, is_timeout: bool = False) -> Any:
        """Carry out the recorded answer, as a worker does, and return the XCom of the task.

        :param is_timeout: whether the answer is the default of a timeout.
        :return: ``None`` if the task asks again, or was skipped.
        """
        set_state(self._id, "running")
        with create_session() as session:
            detail = self._detail(session)
            event = {
                "chosen_options": list(detail.chosen_options),
                "params_input": dict(detail.params_input),
                "responded_at": detail.responded_at,
                "responded_by_user": detail.responded_by,
                "timedout": is_timeout,
            }
        questions, returned, state = len(self.supervisor.forms), None, "skipped"
        with suppress(AirflowSkipException):
            returned = self._run(lambda operator, ctx: operator.execute_complete(ctx, event))
            state = "success"
        if len(self.supervisor.forms) > questions:
            self._store()
        else:
            push_xcom(self._id, "flux_review", self.state)
            set_state(self._id, state)
        return returned

    def let_time_pass(self) -> Any:
        """Apply the default of the form, as the scheduler does after the timeout."""
        with create_session() as session:
            detail = self._detail(session)
            detail.responded_at = datetime.now(UTC)
            detail.chosen_options = list(detail.defaults)
            detail.params_input = {}
        return self.resume(is_timeout=True)

    @property
    def _id(self) -> UUID:
        assert self._ti_id is not None
        return self._ti_id

    def _detail(self, session: Any) -> Any:
        return session.get(HITLDetail, find(self._id, session).id)

    def _store(self) -> None:
        """Store the form, the candidates, the rendered folders and the state of the task."""
        push_xcom(self._id, "flux_review", self.state)
        with create_session() as session:
            ti = find(self._id, session)
            detail = self._detail(session)
            if detail is None:
                names = ("options", "subject", "body", "defaults", "multiple", "params")
                form = {name: getattr(self.form, name) for name in names}
                users = [dict(user) for user in self.form.assigned_users]
                session.add(HITLDetail(ti_id=ti.id, assignees=users, **form))
            else:  # Airflow keeps the form, and forgets the answer
                detail.responded_by = detail.responded_at = detail.chosen_options = None
                detail.params_input = {}
            folders = self.arguments["candidate_folders"]
            ti.update_rtif({"candidate_folders": folders}, session=session)
            ti.state = WAITING


def page_of(task_id: str) -> str:
    """Return the path of the review page of a task.

    :param task_id: id of the task.
    """
    return review_path(TaskIdentity(dag_id=REVIEW_DAG, run_id=REVIEW_RUN, task_id=task_id))


def store_reviews(*reviews: StoredReview) -> dict[str, StoredReview]:
    """Store a DAG with these reviews and a run of it, in which all of them wait.

    :param reviews: the reviews.
    :return: the reviews by the id of their task.
    """
    with DAG(REVIEW_DAG, schedule=None) as dag:
        for review in reviews:
            review.operator()
    store_dag(dag)
    stored = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    with create_session() as session:
        run = stored.create_dagrun(
            run_id=REVIEW_RUN,
            run_after=datetime.now(UTC),
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.RUNNING,
            session=session,
        )
        ids = {ti.task_id: UUID(str(ti.id)) for ti in run.get_task_instances(session=session)}
    for review in reviews:
        review.begin(ids[review.task_id])
    return {review.task_id: review for review in reviews}
