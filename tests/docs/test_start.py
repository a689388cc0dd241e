"""The start pages: their DAGs run, and end as the pages say."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_flux.emulator import EmulatorServer
from scripts import sync_snippets
from tests.support.cluster.processes import wait_until
from tests.support.run_operator import FakeTaskInstance, run_operator

START = sync_snippets.ROOT / "docs" / "start"


@pytest.fixture(scope="module")
def start_tasks() -> dict[str, Any]:
    """The tasks of the snippets, as ``dag.task``."""
    from tests.support.airflow_names import DagBag

    bag = DagBag(str(sync_snippets.ROOT / "docs" / "snippets"))
    assert bag.import_errors == {}
    return {f"{name}.{task.task_id}": task for name, dag in bag.dags.items() for task in dag.tasks}


def rows_of_the_page() -> str:
    page = (START / "first-batch.md").read_text()
    return page.partition("```text\nsku,")[2].partition("```")[0]


def test_the_first_batch_pays_for_two_rows_in_its_second_run(
    emulator: EmulatorServer, start_tasks: dict[str, Any], tmp_path: Path
) -> None:
    rows = "sku," + rows_of_the_page()
    changed = rows.replace(" [[fault:moderated=Violence]]", "") + "TRAY-09,A tray of walnut\n"
    assert changed.count("\n") == rows.count("\n") + 1
    seen = []
    for run_id, text in enumerate((rows, changed)):
        (tmp_path / "products.csv").write_text(text)
        task = start_tasks["flux_first_batch.images"].prepare_for_execution()
        task.requests = str(tmp_path / "products.csv")
        task.output_path = f"file://{tmp_path}/first_batch/{{key}}.{{ext}}"
        task._root = f"file://{tmp_path}/first_batch/"
        task.ledger_path = f"file://{tmp_path}/run-{run_id}/"
        summary = run_operator(task)
        names = ("landed", "reused", "moderated", "credits", "credits_saved")
        seen.append(tuple(summary[name] for name in names))
    assert seen == [(4, 0, 1, 16, 0), (2, 4, 0, 8, 16)]
    text = (START / "first-batch.md").read_text()
    assert "landed 2, reused 4, credits 8.0, credits_saved 16.0" in text


def run_the_first_try(arguments: dict[str, Any], is_recorded: Any) -> None:
    """Run the first try of the resumed DAG in a process of its own, which it kills.

    Its five seconds begin when the test has seen the record of the submit, however slow the machine
    is.
    """
    from tests.support.airflow_names import DagBag

    bag = DagBag(str(sync_snippets.ROOT / "docs" / "snippets" / "resume.py"))
    (task,) = bag.dags["flux_resume"].tasks
    os.environ.update(arguments["environment"])
    task.output_path, task._root = arguments["output_path"], arguments["root"]
    context = arguments["context"] | {"ti": new_ti(1)}

    def begin_to_count() -> None:
        is_recorded.wait()
        task._pre_execute_hook(context)

    threading.Thread(target=begin_to_count, daemon=True).start()
    task.execute(context)


def new_ti(try_number: int) -> Any:
    """Return the task instance of a try, as Airflow gives it to an operator."""
    ti = FakeTaskInstance(-1)
    vars(ti).update(
        dag_id="flux_resume", run_id="first", task_id="hero", try_number=try_number, max_tries=2
    )
    return ti


def test_a_try_that_kills_itself_is_resumed_and_pays_once(
    emulator: EmulatorServer, start_tasks: dict[str, Any], tmp_path: Path
) -> None:
    emulator.set_faults("held")
    arguments: dict[str, Any] = {
        "environment": {
            name: value for name, value in os.environ.items() if name.startswith("AIRFLOW_CONN_")
        },
        "output_path": f"file://{tmp_path}/hero.{{ext}}",
        "root": f"file://{tmp_path}/",
        "context": {"dag_run": SimpleNamespace(start_date=datetime(2026, 1, 1, tzinfo=UTC))},
    }
    spawn = multiprocessing.get_context("spawn")
    is_recorded = spawn.Event()
    process = spawn.Process(target=run_the_first_try, args=(arguments, is_recorded), daemon=True)
    process.start()
    assert wait_until(
        lambda: any('"submitted"' in path.read_text() for path in tmp_path.rglob("*.1.json")), 240
    )
    is_recorded.set()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    emulator.release()
    task = start_tasks["flux_resume.hero"].prepare_for_execution()
    task.output_path, task._root = arguments["output_path"], arguments["root"]
    context = arguments["context"] | {"ti": new_ti(2)}
    assert Path(task.execute(context)["image"]["uri"].removeprefix("file://")).exists()
    assert emulator.stats()["submits"] == 1
