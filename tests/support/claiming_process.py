"""A process that runs one task with ``reuse``, and that may kill itself at a chosen point."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from tests.support.landing_process import DIED, fork_context

log = logging.getLogger(__name__)

#: Points at which a process kills itself: it has the claim and has sent nothing; BFL has accepted
#: its request, and that is on record; its image has landed, and the claim is still there.
Point = Literal["claimed", "submitted", "landed"]
#: Longest time of one process, with the imports of the first one.
_SECONDS = 240.0


@dataclass(frozen=True)
class Order:
    """The task that a process runs.

    :param environment: environment variables, for example connections.
    :param dag_id: the DAG of the task.
    :param output_path: path of the images.
    :param prompts: prompts, of which each task generates one image.
    :param is_batch: whether one batch generates them all, or one task each of them.
    :param dies_at: where the process kills itself; ``None`` if it lives.
    :param arguments: further arguments of the operator.
    """

    environment: Mapping[str, str]
    dag_id: str
    output_path: str
    prompts: tuple[str, ...]
    is_batch: bool = False
    dies_at: Point | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)


class ClaimingProcess:
    """A process that obeys an order. It lives at most as long as its ``with`` block.

    At the end of the block its output is printed, so that pytest shows it if the test fails.
    """

    def __init__(self, order: Order) -> None:
        context = fork_context()
        self._results, results = context.Pipe(duplex=False)
        file, name = tempfile.mkstemp(prefix=f"{order.dag_id}-", suffix=".log")
        os.close(file)
        self._output = Path(name)
        self._process = context.Process(target=_obey, args=(order, results, name), daemon=True)
        self._process.start()
        results.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self._results.close()
        sys.stdout.write(f"{self._output.name}:\n{self._output.read_text(errors='replace')}\n")
        self._output.unlink()

    def result(self) -> Any:
        """Wait for the end of the process.

        :return: the hash of each image, ``died`` if it killed itself, or the text of its error.
        """
        if not self._results.poll(_SECONDS):
            raise TimeoutError(f"The process has not ended after {_SECONDS} s.")
        try:
            result = self._results.recv()
        except EOFError:
            result = DIED
        self._process.join()
        return result


def _obey(order: Order, results: Connection, output: str) -> None:
    os.environ.update(order.environment)
    for stream in (1, 2):
        os.dup2(os.open(output, os.O_WRONLY | os.O_APPEND), stream)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", force=True)
    try:
        if order.dies_at:
            _die_at(order.dies_at)
        results.send(_run_batch(order) if order.is_batch else _run_tasks(order))
    except BaseException:
        results.send(traceback.format_exc())


def _die_at(point: Point) -> None:
    """Kill this process at a point of its first image."""
    from airflow_provider_flux.batch.execution import claims as batch_claims
    from airflow_provider_flux.batch.execution.land import Lander
    from airflow_provider_flux.batch.execution.submit import Submitter
    from airflow_provider_flux.landing import claims
    from airflow_provider_flux.ledger.submission import TrackedSubmission
    from airflow_provider_flux.operators.generate import FluxGenerateOperator

    def die(*_: Any, **__: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    async def die_once_recorded(*_: Any, **__: Any) -> Any:
        await asyncio.sleep(2.0)  # the journal is written in groups
        die()

    places: dict[Point, list[tuple[object, str]]] = {
        "claimed": [(TrackedSubmission, "submit"), (Submitter, "submit")],
        "submitted": [(FluxGenerateOperator, "_wait"), (Lander, "land")],
        "landed": [(claims, "release_claim"), (batch_claims, "release_claim")],
    }
    for owner, name in places[point]:
        setattr(owner, name, die_once_recorded if owner is Lander else die)


def _run_tasks(order: Order) -> list[str]:
    """Run a task for each prompt, one after the other."""
    from tests.support.image_task import image_task, run_task

    hashes = []
    for number, prompt in enumerate(order.prompts):
        task = image_task(
            order.output_path, prompt, task_id=f"hero{number}", reuse="always", **order.arguments
        )
        hashes.append(run_task(task, "monday", dag_id=order.dag_id)["image"]["sha256"])
    return hashes


def _run_batch(order: Order) -> list[str]:
    from airflow_provider_flux.object_store.filesystem import run_sync
    from airflow_provider_flux.object_store.objects import read
    from tests.support.batch_tries import Batch

    rows = [{"key": str(number), "prompt": text} for number, text in enumerate(order.prompts)]
    arguments = {"requests": rows, "output_path": order.output_path, "reuse": "always"}
    task = Batch({**arguments, **order.arguments}, dag_id=order.dag_id)
    manifest_path = order.arguments["manifest_path"]
    try:
        task.retry()
    except Exception:
        log.exception("Manifest:\n%s", (run_sync(read(manifest_path)) or b"").decode())
        raise
    manifest = run_sync(read(manifest_path)) or b""
    return [json.loads(line)["sha256"] for line in manifest.splitlines()]
