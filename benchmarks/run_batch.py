"""One run of the batch operator, as a task of Airflow would run it.

``python -m benchmarks.run_batch NAME FOLDER N [ARGUMENTS]`` makes N images below FOLDER/NAME.
ARGUMENTS is a JSON object with further arguments of the operator. The program prints CPU, memory,
time, the summary of the batch and its error as JSON. ``FLUX_PROFILE=FILE`` writes a profile. The
connection is ``AIRFLOW_CONN_FLUX_DEFAULT``. ``FLUX_WARM_UP=N`` makes N images before, which do not
count: the first batch of a process imports what all of them need.
"""

from __future__ import annotations

import cProfile
import json
import os
import pstats
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from airflow.exceptions import AirflowException

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from benchmarks.usage import own_cpu, own_peak
from tests.support.run_operator import FakeTaskInstance


def make_rows(name: str, count: int) -> list[dict[str, Any]]:
    """Return rows whose prompts begin with the name of the batch, as in the emulator's timeline."""
    return [{"key": f"{number}", "prompt": f"{name} {number}"} for number in range(count)]


def make_context(name: str) -> Any:
    """Return the context of a first try."""
    ti = FakeTaskInstance(-1)
    ids = {"dag_id": "bench", "run_id": name, "task_id": "batch", "try_number": 1, "max_tries": 0}
    for attribute, value in ids.items():
        setattr(ti, attribute, value)
    return {"ti": ti, "dag_run": SimpleNamespace(start_date=datetime.now(UTC))}


def main(name: str, folder: str, count: int, arguments: dict[str, Any]) -> None:
    """Run the batch and print its report.

    :param name: name of the batch.
    :param folder: folder of the batch.
    :param count: images to make.
    :param arguments: further arguments of the operator.
    """
    if warm_up := int(os.environ.get("FLUX_WARM_UP", "0")):
        make_operator("warm-up", folder, warm_up, arguments).execute(make_context("warm-up"))
    operator = make_operator(name, folder, count, arguments)
    cpu_before, started_at = own_cpu(), time.time()
    context, error = make_context(name), None
    with _write_profile(os.environ.get("FLUX_PROFILE")):
        try:
            operator.execute(context)
        except AirflowException as failure:
            error = str(failure)
    report = {
        "cpu": own_cpu() - cpu_before,
        "cpu_whole": own_cpu(),
        "peak": own_peak(),
        "wall": time.time() - started_at,
        "summary": context["ti"].xcoms["flux_batch"],
        "error": error,
    }
    print(json.dumps(report))


def make_operator(
    name: str, folder: str, count: int, arguments: dict[str, Any]
) -> FluxGenerateBatchOperator:
    """Return the operator of a batch.

    :param name: name of the batch.
    :param folder: folder of the batch.
    :param count: images to make.
    :param arguments: further arguments of the operator.
    """
    return FluxGenerateBatchOperator(
        task_id="batch",
        requests=make_rows(name, count),
        **{
            "output_path": f"file://{folder}/{name}/{{key}}.{{ext}}",
            "model": "flux-pro-1.1",
            "defaults": {"width": 1024, "height": 1024},
            "renditions": {},  # the other ways make none
            **arguments,
        },
    )


@contextmanager
def _write_profile(file: str | None) -> Iterator[None]:
    """Profile all threads that begin in the block, by the CPU that each of them uses."""
    if file is None:
        yield
        return
    profiles = [cProfile.Profile(time.thread_time)]

    def profile_thread(*_: object) -> None:
        profiles.append(cProfile.Profile(time.thread_time))
        profiles[-1].enable()

    threading.setprofile(profile_thread)
    try:
        with profiles[0]:
            yield
    finally:
        threading.setprofile(None)
    stats = pstats.Stats(*profiles)
    stats.dump_stats(file)


if __name__ == "__main__":
    main(*sys.argv[1:3], int(sys.argv[3]), json.loads(sys.argv[4]) if sys.argv[4:] else {})
