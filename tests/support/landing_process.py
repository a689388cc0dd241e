"""A process that lands one image with the real code of a worker or a triggerer, to be killed.

A server that has imported everything forks each process. It ends with the process of the tests.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Literal, Self

from airflow_provider_flux.generation import Generation
from airflow_provider_flux.landing.plan import LandingPlan

#: Who lands: a worker on its main thread, or a triggerer on its event loop.
Way = Literal["worker", "triggerer"]
#: Outcomes of a lander. Another outcome is the name of an exception with its text.
LANDED, DIED = "landed", "died"
#: What a lander says before it lands, once the server has imported everything.
_BEGUN = "begun"
#: Longest time of those imports.
_IMPORT_SECONDS = 120.0

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "__main__",
        "tests.support.landing_process",
        "airflow_provider_flux.client.aio",
        "airflow_provider_flux.landing.land",
        "airflow_provider_flux.operators.batch",
        "airflow_provider_flux.batch.run",
        "airflow.sdk.execution_time.supervisor",
        "airflow.sdk.execution_time.timeout",
        "airflow.providers.amazon.aws.fs.s3",
        "airflow.providers.google.cloud.fs.gcs",
        "airflow.providers.microsoft.azure.fs.adls",
        "s3fs",
        "gcsfs",
        "adlfs",
        "PIL.PngImagePlugin",
        "PIL.JpegImagePlugin",
    ]
)


def fork_context() -> multiprocessing.context.ForkServerContext:
    """Return the context whose server has imported everything, for processes of other kinds."""
    return _FORKS


@dataclass(frozen=True)
class Order:
    """The landing that a process performs.

    :param environment: environment variables, for example connections.
    :param linger: seconds that the process lives on after an error, as a worker does.
    :param largest_file: maximum bytes of a local file, like a quota.
    :param dies_there: kill the process at the first byte over that, instead of an error.
    """

    environment: Mapping[str, str]
    generation: Generation
    plan: LandingPlan
    way: Way = "worker"
    linger: float = 0.0
    largest_file: int | None = None
    dies_there: bool = False


class Lander:
    """A process that lives at most as long as its ``with`` block, which it enters as it begins.

    The first one waits until the server has imported everything.
    """

    def __init__(self, order: Order) -> None:
        self._outcomes, outcomes = _FORKS.Pipe(duplex=False)
        self._process = _FORKS.Process(target=_obey, args=(order, outcomes), daemon=True)
        self._process.start()
        outcomes.close()

    def __enter__(self) -> Self:
        if not self._outcomes.poll(_IMPORT_SECONDS) or self._outcomes.recv() != _BEGUN:
            self.__exit__(None, None, None)
            raise TimeoutError(f"The lander has not begun after {_IMPORT_SECONDS} s.")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.signal(signal.SIGKILL)
        self._process.join()
        self._process.close()
        self._outcomes.close()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal.

        SIGALRM is an ``execution_timeout`` on a worker, and cancels the trigger on a triggerer.
        """
        pid = self._process.pid
        if pid and self._process.exitcode is None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def outcome(self, seconds: float) -> str:
        """Wait for the end of the process, and return its outcome."""
        if not self._outcomes.poll(seconds):
            raise TimeoutError(f"The lander {self._process.pid} has not ended after {seconds} s.")
        try:
            outcome = str(self._outcomes.recv())
        except EOFError:
            outcome = DIED
        self._process.join()
        return outcome


def _obey(order: Order, outcomes: Connection) -> None:
    outcomes.send(_BEGUN)
    os.environ.update(order.environment)
    for output in (1, 2):  # the limit must not apply to the capture files of pytest
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    if order.largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order.largest_file, resource.RLIM_INFINITY))
    if order.dies_there:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        if order.way == "worker":
            _work(order)
        else:
            asyncio.run(_trigger(order))
    except BaseException as error:
        time.sleep(order.linger)
        outcomes.send(f"{type(error).__name__}: {error}")
    else:
        outcomes.send(LANDED)


def _work(order: Order) -> None:
    from airflow.sdk.execution_time.timeout import timeout

    from airflow_provider_flux.hooks.flux import FluxHook
    from airflow_provider_flux.landing.land import land
    from airflow_provider_flux.object_store.filesystem import open_path

    with timeout(3600):
        open_path(order.plan.target.path)
        land(FluxHook(), order.generation, order.plan)


async def _trigger(order: Order) -> None:
    from airflow_provider_flux.bfl.responses import GenerationResult
    from airflow_provider_flux.hooks.flux import FluxHook
    from airflow_provider_flux.landing.land import land_async
    from airflow_provider_flux.object_store.filesystem import open_path

    task, generation, hook = asyncio.current_task(), order.generation, FluxHook()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGALRM, task.cancel)
    await asyncio.to_thread(open_path, order.plan.target.path)
    await asyncio.to_thread(hook.prepare_async)
    try:
        async with hook.async_client() as client:

            async def ask() -> GenerationResult:
                return await client.poll(generation["request_id"], generation["polling_url"])

            await land_async(client, generation, order.plan, await ask(), ask)
    except asyncio.CancelledError:
        await asyncio.sleep(order.linger)  # a triggerer goes on with its other triggers
        raise
