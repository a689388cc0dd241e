"""Benchmark of the ledger: the same tasks with and without one, one after the other.

``python -m benchmarks.ledger [N]`` runs N tasks (100 by default) with and without a ledger, through
the operator, and prints wall-clock and CPU milliseconds for each image. The images of the emulator
are ready at once. The context of a task without a ledger has no identity of a task. The stores are
a local folder, moto on loopback, and moto that answers each request 50 ms late, like a real S3.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "CRITICAL"  # before Airflow is imported

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from tests.support.cutting_proxy import CuttingProxy
from tests.support.object_stores import S3Store, s3_server
from tests.support.run_operator import FakeTaskInstance

DELAY_SECONDS = 0.05


def context(number: int, *, has_ledger: bool) -> Any:
    """Return the context of a task. Without an identity the task has no ledger."""
    ti = FakeTaskInstance(-1)
    if has_ledger:
        ids = {
            "dag_id": "bench",
            "run_id": f"run-{number}",
            "task_id": "image",
            "try_number": 1,
            "max_tries": 0,
        }
        for name, value in ids.items():
            setattr(ti, name, value)
    return {"ti": ti, "dag_run": SimpleNamespace(start_date=datetime.now(UTC))}


def measure(root: str, count: int, *, has_ledger: bool) -> tuple[float, float]:
    """Return wall-clock and CPU milliseconds for each image."""
    small = {"width": 256, "height": 256, "deferrable": False, "poll_interval": 0.1}
    tasks = [
        FluxGenerateOperator(
            task_id="image",
            prompt=f"{n}",
            output_path=f"{root}/{has_ledger}-{n}.{{ext}}",
            sidecar=False,
            **small,
        )
        for n in range(count + 1)
    ]
    # The first task imports the modules and opens the store.
    tasks[0].execute(context(count, has_ledger=has_ledger))
    wall, cpu = time.perf_counter(), time.process_time()
    for number, task in enumerate(tasks[1:]):
        task.execute(context(number, has_ledger=has_ledger))
    return 1000 * (time.perf_counter() - wall) / count, 1000 * (time.process_time() - cpu) / count


def main() -> None:
    """Print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with ExitStack() as stack:
        emulator = stack.enter_context(
            EmulatorServer(EmulatorConfig(latency=0.0, credits=1_000_000))
        )
        flux = {"conn_type": "flux", "password": "bfl_bench_0123456789", "host": emulator.url}
        os.environ["AIRFLOW_CONN_FLUX_DEFAULT"] = json.dumps(flux)
        store = S3Store(stack.enter_context(s3_server()))
        store.make_bucket()
        proxy = stack.enter_context(CuttingProxy(store.url, larger_than=-1))
        proxy.delay = DELAY_SECONDS
        os.environ["AIRFLOW_CONN_NEAR"], os.environ["AIRFLOW_CONN_LATE"] = map(
            store.connection, (store.url, proxy.url)
        )
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        roots = {
            "file": f"file://{folder}",
            "s3": store.root_by("near"),
            "s3, 50 ms late": store.root_by("late"),
        }
        columns = ("without", "with", "ledger")
        print(f"{'store':<16}" + "".join(f"{f'{name}: wall / CPU ms':>26}" for name in columns))
        for name, root in roots.items():
            without, with_ = (measure(root, count, has_ledger=has) for has in (False, True))
            difference = tuple(b - a for a, b in zip(without, with_, strict=True))
            cells = [f"{wall:.1f} / {cpu:.1f}" for wall, cpu in (without, with_, difference)]
            print(f"{name:<16}" + "".join(f"{cell:>26}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
