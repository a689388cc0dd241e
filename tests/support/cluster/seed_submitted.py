"""Submit many requests whose tasks have ended, in the environment of a test cluster.

Run it as a module: ``python -m tests.support.cluster.seed_submitted DAG COUNT RECEIVER``. It prints
a JSON list of pairs: the id of a task instance, and the id of its request. A thousand real tasks
would take a small machine half an hour.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType

from airflow_provider_flux.bfl.request import build_request
from airflow_provider_flux.bfl.webhook import append_reference
from airflow_provider_flux.generation import Generation, new_generation
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.operators.webhook_reference import READY_ASSET_XCOM


def seed(dag_id: str, count: int, receiver: str) -> list[tuple[str, str]]:
    """Store a run of a DAG with so many task instances, and submit their requests.

    :param dag_id: id of a stored DAG with one task.
    :param count: number of task instances.
    :param receiver: URL of the webhooks.
    :return: the id of each task instance, and that of its request.
    """
    with create_session() as session:
        row = SerializedDagModel.get(dag_id, session=session)
        assert row is not None
        run = row.dag.create_dagrun(
            run_id="seeded",
            run_after=datetime.now(UTC),
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.SUCCESS,
            session=session,
        )
        (first,) = run.get_task_instances(session=session)
        tasks = [
            TaskInstance(
                row.dag.get_task(first.task_id),
                run_id=run.run_id,
                dag_version_id=first.dag_version_id,
                map_index=index,
            )
            for index in range(count)
        ]
        for ti in (first, *tasks):
            ti.state = "success"
            session.add(ti)
        session.flush()
        ids = [UUID(str(ti.id)) for ti in tasks]
        generations = submit_all(ids, receiver)
        asset = {"name": "ready", "uri": "x-flux://ready"}
        for index, generation in enumerate(generations):
            for key, value in ((READY_ASSET_XCOM, asset), ("return_value", generation)):
                session.add(new_xcom(run, tasks[index], key, value))
    pairs = zip(ids, generations, strict=True)
    return [(str(id_), made["request_id"]) for id_, made in pairs]


def submit_all(task_instances: list[UUID], receiver: str) -> list[Generation]:
    """Submit a request for each task instance, and return the generations."""
    hook = FluxHook(webhook_hosts=["127.0.0.1"])
    secret = hook.settings.webhook_secret or ""

    def submit(task_instance: UUID) -> Generation:
        url = append_reference(receiver, task_instance, secret)
        # Not held: an account has few active generations, and a submit waits for a free one.
        parameters = {"prompt": "seeded", "width": 256, "height": 256}
        request = build_request("flux-pro-1.1", {**parameters, "webhook_url": url})
        return new_generation(request, hook.submit(request))

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(submit, task_instances))


def new_xcom(run: Any, ti: Any, key: str, value: Any) -> XComModel:
    """Return the row of an XCom."""
    return XComModel(
        dag_run_id=run.id,
        dag_id=run.dag_id,
        run_id=run.run_id,
        task_id=ti.task_id,
        map_index=ti.map_index,
        key=key,
        value=value,
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(seed(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
