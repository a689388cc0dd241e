"""Run a DAG with a review in a process of its own, as ``dag.test()`` does while a person answers.

``python -m tests.support.review_run FOLDER COUNT ARGUMENTS`` generates COUNT candidates in FOLDER,
and asks. ARGUMENTS is JSON for the operator.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from tests.support.cluster.processes import wait_until

ROOT = Path(__file__).parents[2]


class ReviewRun:
    """A review that waits for an answer.

    :ivar folder: folder of the images.
    :ivar dag_id: id of the DAG, which has one run.
    :ivar path: path of the review page, once the task waits.
    """

    def __init__(self, folder: Path, dag_id: str, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.dag_id = dag_id
        self.path = ""
        self._process = process

    @property
    def api_path(self) -> str:
        """The path of the form in Airflow's API."""
        run_id = self.path.split("/")[5]
        return f"/api/v2/dags/{self.dag_id}/dagRuns/{run_id}/taskInstances/review/-1/hitlDetails"

    def wait(self, client: httpx.Client, timeout: float = 240) -> None:
        """Wait until the page shows that the task waits for an answer.

        :param client: client of a user who may read the DAG.
        :param timeout: seconds to wait.
        """

        def is_waiting() -> bool:
            log = (self.folder / "run.log").read_text(errors="replace")
            assert self._process.poll() is None, f"the DAG ended before the answer: {log[-3000:]}"
            runs = client.get(f"/api/v2/dags/{self.dag_id}/dagRuns")
            if runs.is_error or not runs.json()["dag_runs"]:
                return False
            run_id = quote(runs.json()["dag_runs"][0]["dag_run_id"], safe="")
            self.path = f"/flux/dags/{self.dag_id}/runs/{run_id}/tasks/review/review"
            answer = client.get(f"{self.path}/state")
            return answer.status_code == 200 and answer.json()["is_waiting"] is True

        assert wait_until(is_waiting, timeout)

    def wait_end(self, timeout: float = 240) -> dict[str, Any]:
        """Wait until the run has ended, and return its state and the XCom of the review."""
        self._process.wait(timeout)
        result: dict[str, Any] = json.loads((self.folder / "result.json").read_text())
        return result


@contextmanager
def review_run(folder: Path, count: int, **arguments: Any) -> Iterator[ReviewRun]:
    """Start a run, and end its process with the block.

    :param folder: folder of the images.
    :param count: number of candidates.
    :param arguments: arguments of the operator, in JSON.
    """
    dag_id = f"album_review_{folder.name}"
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(folder), str(count), json.dumps(arguments), dag_id],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=(folder / "run.log").open("wb"),
        stderr=subprocess.STDOUT,
    )
    try:
        yield ReviewRun(folder, dag_id, process)
    finally:
        process.kill()
        process.wait()


def main(folder: str, count: str, arguments: str, dag_id: str) -> None:
    """Run the DAG until it has ended, and write its result."""
    from airflow.sdk import DAG

    from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
    from airflow_provider_flux.operators.review import FluxReviewOperator

    with DAG(dag_id, schedule=None) as dag:
        candidates = FluxGenerateBatchOperator(
            task_id="candidates",
            requests=[
                {"key": f"sku-{n:03d}", "prompt": f"a <b>product</b> number {n}"}
                for n in range(1, int(count) + 1)
            ],
            defaults={"width": 512, "height": 512},
            output_path=f"{folder}/candidates/{{key}}.{{ext}}",
        )
        FluxReviewOperator(
            task_id="review",
            candidates=candidates.output,
            output_path=f"{folder}/out/{{key}}.{{ext}}",
            **json.loads(arguments),
        )
    from airflow_provider_flux.testing.dag_run import run_dag

    run = run_dag(dag)
    ti = run.get_task_instance("review")
    result = {"state": str(ti.state), "xcom": ti.xcom_pull(task_ids="review")}
    (Path(folder) / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
