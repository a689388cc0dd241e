"""Run the example DAG ``flux_hero_image`` once on a real Airflow, and print the path of its image.

Without ``BFL_API_KEY`` the image comes from the emulator of this package. With it, the image comes
from BFL, which charges for it. All files are in ``.demo/``.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from scripts.run_step import StepError, run_step

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".demo"
DAG = "flux_hero_image"
AIRFLOW = [sys.executable, "-m", "airflow"]
#: Lines of the task log with one of these texts are printed.
PROGRESS_TEXTS = ("Submitted request", ": Pending", ": Ready", "Landed request", "Trying again")


def main() -> int:
    """Set Airflow up if necessary, run the DAG, and print the result."""
    started = time.monotonic()
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")
    }
    environment |= {
        "AIRFLOW_HOME": str(HOME / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "example_dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "AIRFLOW_VAR_FLUX_OUTPUT": (HOME / "images").as_uri(),
        "NO_COLOR": "1",
    }
    database, is_set_up = HOME / "airflow" / "airflow.db", HOME / "is-set-up"
    if not is_set_up.exists():
        title = "Creating the database of an Airflow in .demo/, once"
        _run("2/3", title, "15 to 60 seconds", [*AIRFLOW, "db", "migrate"], environment)
        is_set_up.touch()
    with _service(environment) as emulator:
        if emulator:
            environment |= {
                "BFL_API_KEY": "bfl_emulator_demo",
                "BFL_API_BASE": emulator.url,
                "NO_PROXY": "127.0.0.1",
            }
        title = f"Running the DAG {DAG}: submit, wait, land"
        _run("3/3", title, "20 to 60 seconds", [*AIRFLOW, "dags", "test", DAG], environment)
    generation = _result(database)
    image = generation["image"]
    path = image["uri"].removeprefix("file://")
    print(
        f"\nmodel {generation['model']}, seed {generation['seed']}, cost {generation['cost']:g} "
        f"credits ({generation['cost_source']}{', by the emulator' if emulator else ''}), "
        f"{image['width']}x{image['height']} {image['content_type']}, "
        f"{time.monotonic() - started:.0f} s in all"
    )
    print(f"The image: {path}")
    return 0


def _service(environment: dict[str, str]) -> Any:
    """Return the emulator to run, or a null context if the real service is used."""
    if environment.get("BFL_API_KEY"):
        print(
            "BFL_API_KEY is set: BFL generates one image, for about 4 credits ($0.04).",
            flush=True,
        )
        return nullcontext()
    from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer

    print("BFL_API_KEY is not set: the emulator generates the image, free of charge.", flush=True)
    return EmulatorServer(EmulatorConfig())


def _run(
    number: str, title: str, usual: str, command: list[str], environment: dict[str, str]
) -> None:
    """Run a step, print its progress, log all of its output, and exit if it fails."""
    HOME.mkdir(exist_ok=True)
    log = HOME / "demo.log"
    with log.open("a") as file:

        def show(line: str) -> None:
            file.write(line)
            if any(text in line for text in PROGRESS_TEXTS):
                text = line.partition("]")[2].partition("[airflow")[0].strip()
                print(f"      {text}", flush=True)

        try:
            run_step(number, title, usual, command, env=environment, on_line=show)
        except StepError as error:
            print(*str(error).splitlines()[-40:], sep="\n")
            sys.exit(f"The demo failed. See the log: {log}")


def _result(database: Path) -> dict[str, Any]:
    """Return the last XCom of the task ``land``."""
    query = (
        "SELECT value FROM xcom WHERE dag_id = ? AND task_id = 'land' AND key = 'return_value' "
        "ORDER BY timestamp DESC"
    )
    with closing(sqlite3.connect(database)) as db:
        row = db.execute(query, (DAG,)).fetchone()
    if row is None:
        sys.exit(f"The DAG ran, but landed no image. See the log: {HOME / 'demo.log'}")
    generation: dict[str, Any] = json.loads(row[0])
    return generation


if __name__ == "__main__":
    sys.exit(main())
