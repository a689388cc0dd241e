"""Benchmark of the integrations with Airflow: what all of them together add to a task.

``python -m benchmarks.observability [N]`` runs N pairs of tasks (30 by default) with Airflow's
``dag.test()``, on a database of its own. The first task of a pair is the operator without
integrations. The second one is ``@task.flux`` with metrics, spans, link, lineage and the extra of
an asset event. Both have the same outlet and a callback, and StatsD and OTLP of the deployment are
on for both. Their servers and the emulator are processes of their own, so that their CPU time does
not count.

It prints CPU and wall-clock milliseconds: of both tasks, of their difference, and of the calls of
each integration in the task. The difference has what Airflow does for them too, for example the
XCom of the link. The images are small and ready at once, and no process is started for a task, so
the shares are the largest that there are.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any
from unittest.mock import patch

from benchmarks.emulator import run_emulator

#: What all integrations together may add to the CPU time of a task.
MAX_SHARE = 0.05
_SMALL = {"width": 256, "height": 256, "deferrable": False, "poll_interval": 0.1}
_RECEIVERS = """
import sys
from tests.support.receivers import StatsdReceiver, http_receiver
statsd = StatsdReceiver()
with http_receiver() as http:
    print(statsd.port, http.url, flush=True)
    sys.stdin.read()
"""


@dataclass
class Times:
    """CPU and wall-clock seconds."""

    cpu: float = 0.0
    wall: float = 0.0

    @contextmanager
    def measure(self, cpu_clock: Callable[[], float]) -> Iterator[None]:
        """Add the time of the block.

        :param cpu_clock: ``time.process_time``, or ``time.thread_time`` for a part of a task.
        """
        cpu, wall = cpu_clock(), time.perf_counter()
        try:
            yield
        finally:
            self.cpu += cpu_clock() - cpu
            self.wall += time.perf_counter() - wall

    def measured(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose calls are added."""

        def call(*args: Any, **kwargs: Any) -> Any:
            with self.measure(time.thread_time):
                return function(*args, **kwargs)

        return call


@dataclass
class Figures:
    """What the benchmark has measured.

    :ivar without: one entry for each task without integrations.
    :ivar with_all: one entry for each task with all of them.
    :ivar parts: sums over all tasks by the name of the integration.
    """

    without: list[Times] = field(default_factory=list)
    with_all: list[Times] = field(default_factory=list)
    parts: dict[str, Times] = field(default_factory=dict)

    def part(self, name: str) -> Times:
        """Return the sums of an integration."""
        return self.parts.setdefault(name, Times())

    @property
    def task(self) -> Times:
        """Median of a task without integrations."""
        return _median(self.without)

    @property
    def added(self) -> Times:
        """Median of the differences between the two tasks of a pair."""
        pairs = zip(self.without, self.with_all, strict=True)
        return _median([Times(b.cpu - a.cpu, b.wall - a.wall) for a, b in pairs])

    @property
    def parts_of_a_task(self) -> dict[str, Times]:
        """Mean of each integration for one task."""
        count = len(self.with_all)
        return {name: Times(t.cpu / count, t.wall / count) for name, t in self.parts.items()}

    @property
    def share(self) -> float:
        """CPU time of all integrations as a share of the task without them."""
        return sum(part.cpu for part in self.parts_of_a_task.values()) / self.task.cpu


def _median(times: list[Times]) -> Times:
    return Times(median(t.cpu for t in times), median(t.wall for t in times))


@contextmanager
def deployment(folder: str) -> Iterator[None]:
    """Set up an Airflow with a database, StatsD, OTLP and the emulator, before Airflow is imported.

    :param folder: its ``AIRFLOW_HOME``.
    """
    command = [sys.executable, "-c", _RECEIVERS]
    pipe = subprocess.PIPE
    with (
        run_emulator("--latency", "0", "--credits", "1000000") as emulator,
        subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as receivers,
    ):
        assert receivers.stdout is not None
        port, url = receivers.stdout.readline().split()
        os.environ |= {
            "AIRFLOW_HOME": folder,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "CRITICAL",
            "AIRFLOW__OPENLINEAGE__DISABLED": "True",
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": port,
            "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
            "AIRFLOW__TRACES__OTEL_ON": "True",
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_TRACES_EXPORTER": "otlp_proto_http",
            "AIRFLOW_CONN_FLUX_DEFAULT": emulator.connection,
        }
        try:
            _start_airflow()
            yield
        finally:
            receivers.communicate()


def _start_airflow() -> None:
    from airflow.sdk._shared.observability.traces import configure_otel
    from airflow.sdk.configuration import conf
    from airflow.utils.db import initdb

    from tests.support.receivers import restart_stats

    initdb()
    restart_stats()
    configure_otel(conf)
    logging.disable(logging.CRITICAL)


def task_without(folder: str) -> Any:
    """Make the task without integrations.

    :param folder: where its image lands.
    """
    from airflow.sdk import Asset

    from airflow_provider_flux.operators.generate import FluxGenerateOperator

    class WithoutLinks(FluxGenerateOperator):
        operator_extra_links = ()

    return WithoutLinks(
        task_id="image",
        prompt="A red door",
        output_path=f"file://{folder}/{{{{ run_id }}}}.{{ext}}",
        outlets=[Asset("bench_without")],
        on_success_callback=lambda context: None,
        **_SMALL,
    )


def task_with_all(folder: str, figures: Figures) -> Any:
    """Make the task with all integrations.

    :param folder: where its image lands.
    :param figures: gets the times of the lineage.
    """
    from airflow.sdk import Asset
    from airflow.utils.state import TaskInstanceState

    from airflow_provider_flux.decorators import flux_task

    def extract_lineage(context: Any) -> None:
        """Extract it as the listener of the OpenLineage provider does, in the task."""
        try:
            from airflow.providers.openlineage.extractors.manager import ExtractorManager
        except ImportError:
            return
        with figures.part("lineage").measure(time.thread_time):
            ExtractorManager().extract_metadata(
                context["dag_run"], context["task"], TaskInstanceState.SUCCESS, context["ti"]
            )

    @flux_task(
        task_id="image",
        output_path=f"file://{folder}/{{{{ run_id }}}}.{{ext}}",
        outlets=[Asset("bench_with")],
        on_success_callback=extract_lineage,
        **_SMALL,
    )
    def image() -> str:
        return "A red door"

    return image()


@contextmanager
def no_integrations() -> Iterator[None]:
    """Send no metrics and no spans of this provider, and fill no asset event."""
    from opentelemetry.trace import NoOpTracer

    from airflow_provider_flux.observability import metrics, spans
    from airflow_provider_flux.operators import asset_events

    with (
        patch.object(asset_events, "emit_events", lambda *args, **kwargs: None),
        patch.object(metrics, "_send", lambda send: None),
        patch.object(spans, "_tracer", NoOpTracer),
    ):
        yield


@contextmanager
def measured_parts(figures: Figures) -> Iterator[None]:
    """Measure each integration inside of the tasks.

    :param figures: gets their times.
    """
    from opentelemetry.sdk.trace import Span, Tracer

    from airflow_provider_flux.decorators.flux import FluxDecoratedOperator
    from airflow_provider_flux.links.object_store import LandedImageLink
    from airflow_provider_flux.observability import metrics, spans
    from airflow_provider_flux.operators import asset_events

    operator = FluxDecoratedOperator
    parts = (
        ("metrics", metrics, "_send"),
        ("spans", spans, "_tracer"),
        ("spans", Tracer, "start_span"),
        ("spans", Span, "end"),
        ("links", LandedImageLink, "get_link"),
        ("asset events", asset_events, "emit_events"),
        ("decorator", operator, "call_function"),
        ("decorator", operator, "_check_request"),
        ("decorator", operator, "_use_request"),
    )
    with ExitStack() as stack:
        for name, owner, attribute in parts:
            function = figures.part(name).measured(getattr(owner, attribute))
            stack.enter_context(patch.object(owner, attribute, function))
        yield


def run_pairs(folder: str, count: int) -> Figures:
    """Run the tasks, each pair one after the other.

    :param folder: where the images land.
    :param count: number of pairs.
    :return: their times.
    """
    from airflow.sdk import DAG

    from airflow_provider_flux.testing.dag_run import run_dag

    figures = Figures()
    with DAG("bench_without", schedule=None) as without:
        task_without(f"{folder}/without")
    with DAG("bench_with", schedule=None) as with_all:
        task_with_all(f"{folder}/with", figures)
    for dag in (without, with_all):
        run_dag(dag)  # the first run imports modules and stores the DAG
    figures.parts.clear()
    for _ in range(count):
        with no_integrations():
            figures.without.append(_run(without))
        with measured_parts(figures):
            figures.with_all.append(_run(with_all))
    return figures


def _run(dag: Any) -> Times:
    times = Times()
    with times.measure(time.process_time):
        run = dag.test()
    assert run.state == "success"
    return times


def print_figures(figures: Figures) -> None:
    """Print the table.

    :param figures: what was measured.
    """
    task = figures.task

    def line(name: str, times: Times) -> str:
        cpu, wall = f"{1000 * times.cpu:.2f}", f"{1000 * times.wall:.2f}"
        return f"{name:<28}{cpu:>10}{100 * times.cpu / task.cpu:>8.2f} %{wall:>12}"

    print(f"{'':<28}{'CPU ms':>10}{'share':>10}{'wall ms':>12}")
    print(line("task without integrations", task))
    print(line("task with all of them", _median(figures.with_all)))
    print(line("difference of a pair", figures.added))
    parts = figures.parts_of_a_task
    for name, times in parts.items():
        print(line(name, times))
    total = Times(sum(t.cpu for t in parts.values()), sum(t.wall for t in parts.values()))
    print(line("all integrations", total))


def main() -> int:
    """Print the figures. Return 1 if the integrations add more than 5 %."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    with tempfile.TemporaryDirectory() as folder, deployment(folder):
        figures = run_pairs(folder, count)
        print_figures(figures)
    return int(figures.share > MAX_SHARE)


if __name__ == "__main__":
    sys.exit(main())
