"""Print the time of the gallery's pages of many task instances and many runs.

``python -m benchmarks.gallery_tasks [MAPPED] [RUNS]`` lands a few images of the emulator, and
copies the rows of their task instances in Airflow's database: to one run with 1,000 map indexes,
and to a DAG of 200 runs, each with a single image and a batch of 20 rows. The copies name the same
files, but each map index has a sidecar of its own. It then asks an API server for the pages of the
run and of the DAG, in turns. The CPU is that of the server.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.figures import check_at_most
from benchmarks.gallery_server import HEADER, Figures, server_processes

if TYPE_CHECKING:
    from airflow.sdk import DAG

MAPPED, RUNS, ROUNDS, ROWS = 1000, 200, 4, 20
MAPPED_DAG, RUNS_DAG = "album_mapped", "album_nightly"
#: Seconds of CPU that each page may take.
MOST_SECONDS = 1.0
SMALL = {"width": 256, "height": 256}


def main(arguments: Sequence[str]) -> int:
    """Print the table and the checks.

    :param arguments: numbers of map indexes and of runs, optional.
    :return: the exit code.
    """
    mapped, runs = (*map(int, arguments), MAPPED, RUNS)[:2] if arguments else (MAPPED, RUNS)
    with tempfile.TemporaryDirectory(prefix="flux-gallery-tasks-") as home:
        # Before the first import of Airflow, which reads its home then.
        os.environ["AIRFLOW_HOME"] = home
        os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
        run_ids = land(Path(home) / "images")
        copy_map_indexes(run_ids[MAPPED_DAG], mapped)
        copy_runs(run_ids[RUNS_DAG], runs)
        return print_figures(Path(home), run_ids, mapped, runs)


def land(folder: Path) -> dict[str, str]:
    """Run both DAGs once.

    :param folder: folder of the images.
    :return: the run of each DAG.
    """
    from airflow.utils.db import initdb

    from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
    from airflow_provider_flux.testing.dag_run import run_dag

    initdb()
    with EmulatorServer(EmulatorConfig(latency=0, seed=7)) as emulator:
        connection = {"conn_type": "flux", "password": "bfl_key_of_a_test", "host": emulator.url}
        os.environ["AIRFLOW_CONN_FLUX_DEFAULT"] = json.dumps(connection)
        runs = {dag.dag_id: run_dag(dag) for dag in make_dags(folder)}
    states = {dag_id: str(run.state) for dag_id, run in runs.items()}
    if set(states.values()) != {"success"}:
        raise RuntimeError(f"the runs ended as {states}")
    return {dag_id: str(run.run_id) for dag_id, run in runs.items()}


def make_dags(folder: Path) -> list[DAG]:
    """Return the DAG with a mapped task, and the one of which there are many runs.

    :param folder: folder of the images.
    """
    from airflow.sdk import DAG

    from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
    from airflow_provider_flux.operators.generate import FluxGenerateOperator

    with DAG(MAPPED_DAG, schedule=None) as mapped:
        FluxGenerateOperator.partial(
            task_id="many", output_path=f"{folder}/many/{{key}}.{{ext}}", **SMALL
        ).expand(prompt=["A fox in the snow"])
    with DAG(RUNS_DAG, schedule=None) as nightly:
        FluxGenerateOperator(
            task_id="hero", prompt="A lamp", output_path=f"{folder}/hero/x.{{ext}}", **SMALL
        )
        FluxGenerateBatchOperator(
            task_id="shelf",
            requests=[{"key": f"sku-{n}", "prompt": f"A tea cup {n}"} for n in range(ROWS)],
            defaults=SMALL,
            output_path=f"{folder}/shelf/{{key}}.{{ext}}",
        )
    return [mapped, nightly]


def copy_map_indexes(run_id: str, count: int) -> None:
    """Copy the rows of the one map index of a task.

    :param run_id: the run.
    :param count: number of map indexes in all.
    """
    changes = [{"map_index": index} for index in range(1, count)]
    copy_rows({"dag_id": MAPPED_DAG, "run_id": run_id}, changes)


def copy_runs(run_id: str, count: int) -> None:
    """Copy a run with the rows of its tasks.

    :param run_id: the run.
    :param count: number of runs in all.
    """
    changes = [{"run_id": f"{run_id}-{number}"} for number in range(1, count)]
    copy_rows({"dag_id": RUNS_DAG, "run_id": run_id}, changes)


def copy_rows(which: dict[str, str], changes: Sequence[dict[str, Any]]) -> None:
    """Copy rows of runs, task instances, XComs and rendered arguments, each with some changes.

    :param which: columns and values of the rows to copy.
    :param changes: the columns that differ in each copy.
    """
    from airflow.models.dagrun import DagRun
    from airflow.models.renderedtifields import RenderedTaskInstanceFields
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import func, insert, select
    from uuid6 import uuid7

    models = [TaskInstance, XComModel, RenderedTaskInstanceFields]
    with create_session() as session:
        numbers: dict[str, int] = {}
        for model in [DagRun, *models] if "run_id" in changes[0] else models:
            table: Any = model.__table__
            query = select(table).filter_by(**which)
            rows = [dict(row) for row in session.execute(query).mappings()]
            largest = session.scalar(select(func.max(DagRun.id))) or 0
            for number, change in enumerate(changes, 1):
                for row in rows:
                    copy = {**row, **change}
                    if model is TaskInstance:
                        copy["id"] = uuid7()
                    elif model is DagRun:
                        numbers[copy["run_id"]] = copy["id"] = largest + number
                        copy["logical_date"] = None
                    elif model is XComModel:
                        copy["dag_run_id"] = numbers.get(copy["run_id"], row["dag_run_id"])
                        if "map_index" in change and row["key"] == "return_value":
                            copy["value"] = with_own_sidecar(row["value"], change["map_index"])
                    session.execute(insert(table).values(copy))


def with_own_sidecar(value: Any, map_index: int) -> Any:
    """Return an XCom whose image names a copy of its sidecar; any other as it is.

    :param value: the XCom, as JSON or decoded.
    :param map_index: the map index, which is a part of the name of the copy.
    """
    decoded = json.loads(value) if isinstance(value, str) else value
    image = decoded.get("image") if isinstance(decoded, dict) else None
    if not image:
        return value
    sidecar = Path(image["sidecar"])
    copied = sidecar.with_name(f"{map_index}.json")
    copied.write_bytes(sidecar.read_bytes())
    changed = {**decoded, "image": {**image, "sidecar": str(copied)}}
    return json.dumps(changed) if isinstance(value, str) else changed


def print_figures(home: Path, run_ids: dict[str, str], mapped: int, runs: int) -> int:
    """Ask the server for all pages, and print what they cost.

    :param home: folder for the files of the server.
    :param run_ids: the run of each DAG.
    :param mapped: number of map indexes.
    :param runs: number of runs.
    :return: the exit code.
    """
    from airflow_provider_flux.links.gallery import gallery_path
    from tests.support.plugin_server import plugin_server

    run = gallery_path(MAPPED_DAG, run_ids[MAPPED_DAG])
    task = gallery_path(MAPPED_DAG, run_ids[MAPPED_DAG], "many")
    dag = gallery_path(RUNS_DAG)
    pages = [
        Figures(f"run with {mapped:,} map indexes", [run]),
        Figures("its last 100 images", [f"{run}?offset={mapped - 100}&part=tiles"]),
        Figures("its task, searched by a prompt", [f"{task}?text=snow"]),
        Figures("one of its map indexes", [f"{task}?map_index=7"]),
        Figures(f"DAG with {runs} runs and batches", [dag]),
        Figures("its last 100 images", [f"{dag}?offset={runs * (ROWS + 1) - 100}&part=tiles"]),
        Figures("the DAG, filtered by an outcome", [f"{dag}?outcome=landed"]),
        Figures("the DAG, searched by a prompt", [f"{dag}?text=lamp"]),
        Figures("Airflow's grid of the DAG", [f"/ui/grid/runs/{RUNS_DAG}?limit={runs}"]),
    ]
    folder = home / "server"
    folder.mkdir()
    with plugin_server(folder) as server:
        client, processes = server.client("admin"), server_processes(server.url)
        client.get("/api/v2/version").raise_for_status()
        for _ in range(ROUNDS):
            for page in pages:
                page.ask(client, processes)
        for page, count in ((f"{task}?text=snow", mapped), (f"{dag}?text=lamp", runs)):
            found = f'data-total="{count}"' in client.get(page).text
            print(f"{page} finds {'all' if found else 'NOT all'} of {count:,} images")
        print(f"{'':38}" + "".join(f"{name:>10}" for name in HEADER))
        for page in pages:
            print(page)
    own = pages[:-1]
    slowest = max(page.cpu_milliseconds for page in own) / 1000
    check = check_at_most("CPU seconds of the slowest page", slowest, MOST_SECONDS, ".2f")
    return 0 if check else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
