"""The command ``plan``: the price of a run before it, rendered as Airflow renders the task."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.testing.dag_run import store_dag
from tests.support.batch_tries import quick

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")
Command = Callable[..., Any]

DAG_FILE = """
from datetime import datetime
from airflow.sdk import DAG, task
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator

COMMON = {{
    "output_path": "{folder}/{{{{ ds }}}}/{{key}}.{{ext}}",
    "defaults": {{"width": 256, "height": 256}},
    "reuse": "always",
}}
with DAG("{dag_id}", schedule=None, start_date=datetime(2026, 1, 1), params={{"animal": "fox"}}):
    @task
    def rows():
        return [{{"key": "x", "prompt": "from an xcom"}}]

    FluxGenerateBatchOperator(
        task_id="plain",
        requests=[
            {{"key": "a", "prompt": "{{{{ params.animal }}}} a"}},
            {{"key": "b", "prompt": "{{{{ ds }}}} b", "model": "flux-2-pro"}},
        ],
        **COMMON,
    )
    FluxGenerateBatchOperator(task_id="downstream", requests=rows(), **COMMON)
    FluxGenerateBatchOperator.partial(task_id="mapped", **COMMON).expand(
        requests=[[{{"key": "m", "prompt": "one"}}], [{{"key": "n", "prompt": "two"}}]]
    )
"""


@pytest.fixture
def dag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A DAG in a bundle of its own, as the module of its file defines it."""
    dag_id = f"plan_{tmp_path.name.replace('-', '_')}"
    bundle = tmp_path / "dags"
    bundle.mkdir()
    file = bundle / f"{dag_id}.py"
    file.write_text(DAG_FILE.format(folder=tmp_path / "out", dag_id=dag_id))
    config = {
        "name": "dags-folder",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(bundle)},
    }
    name = "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"
    monkeypatch.setenv(name, json.dumps([config]))
    monkeypatch.setattr(sys, "path", [*sys.path])
    from airflow_provider_flux.cli.dag_files import load_dag

    return load_dag(dag_id)


def test_a_plan_names_the_rows_and_the_price_by_model_and_writes_nothing(
    emulator: EmulatorServer, dag: Any, command: Command, tmp_path: Path
) -> None:
    ended = command("plan", dag.dag_id, "plain", "--logical-date", "2026-12-24")
    assert ended.out.splitlines() == [
        "2 rows: 2 new, 0 changed, 0 unchanged (free), 0 gone",
        "flux-pro-1.1: 1 row, 4 credits ($0.04)",
        "flux-2-pro: 1 row, 3 credits ($0.03)",
        "a run pays 7 credits ($0.07)",
    ]
    assert ended.code == 2
    assert emulator.stats()["submits"] == 0
    assert not list(tmp_path.glob("out/**/*"))


def test_a_plan_in_json_after_a_run_pays_nothing_and_exits_with_0(
    emulator: EmulatorServer, dag: Any, command: Command
) -> None:
    import pendulum

    from airflow_provider_flux.cli.rendered_task import PlannedRun, render_task

    date = pendulum.datetime(2026, 12, 24)
    operator, context = render_task(dag.dag_id, "plain", PlannedRun(logical_date=date))
    operator.execute(
        {
            **context,
            "ti": type("Ti", (), {**vars(context["ti"]), "xcom_push": lambda *_, **__: None})(),
        }
    )
    before = emulator.stats()["submits"]
    ended = command("plan", dag.dag_id, "plain", "--logical-date", "2026-12-24", "--format", "json")
    plan = json.loads(ended.out)
    assert (plan["rows"], plan["unchanged"], plan["credits"], plan["models"]) == (2, 2, 0, [])
    assert ended.code == 0
    assert emulator.stats()["submits"] == before


def test_a_mapped_task_needs_a_map_index(
    emulator: EmulatorServer, dag: Any, command: Command
) -> None:
    ended = command("plan", dag.dag_id, "mapped")
    assert (ended.code, "Add --map-index" in ended.err) == (1, True)
    ended = command("plan", dag.dag_id, "mapped", "--map-index", "1")
    assert (ended.code, "1 row: 1 new" in ended.out) == (2, True)


def test_the_xcom_of_another_task_needs_a_run(
    emulator: EmulatorServer, dag: Any, command: Command
) -> None:
    ended = command("plan", dag.dag_id, "downstream")
    assert (ended.code, "Add --run-id" in ended.err) == (1, True)
    ended = command("plan", dag.dag_id, "downstream", "--run-id", "no such run")
    assert (ended.code, "has no run 'no such run'" in ended.err) == (1, True)


def test_a_plan_of_a_run_reads_its_xcoms_from_the_database(
    emulator: EmulatorServer, dag: Any, command: Command
) -> None:
    store_dag(dag)
    run = dag.test(mark_success_pattern="plain|mapped")
    submits = emulator.stats()["submits"]
    ended = command("plan", dag.dag_id, "downstream", "--run-id", run.run_id)
    assert "1 row: 0 new, 0 changed, 1 unchanged (free), 0 gone" in ended.out, ended.err
    assert ended.code == 0
    assert emulator.stats()["submits"] == submits


def test_a_wrong_argument_gives_exit_code_1_and_is_named(
    emulator: EmulatorServer, dag: Any, command: Command
) -> None:
    cases = {
        "No file of the DAG bundles defines the DAG 'no_such_dag'": ["no_such_dag", "t"],
        "has no task 'no_such_task'": [dag.dag_id, "no_such_task"],
        "A plan is about a FluxGenerateBatchOperator": [dag.dag_id, "rows"],
        "--conf must be a JSON object": [dag.dag_id, "plain", "--conf", "[1]"],
        "--run-id excludes": [dag.dag_id, "plain", "--run-id", "r", "--conf", "{}"],
    }
    for message, arguments in cases.items():
        ended = command("plan", *arguments)
        assert (ended.code, message in ended.err) == (1, True), ended.err
