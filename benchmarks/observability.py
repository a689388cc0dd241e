"""Benchmark of metrics, spans, lineage and links: what they add to a task that lands an image.

``python -m benchmarks.observability [N]`` runs N tasks (100 by default) through the operator, with
metrics to StatsD and spans to OTLP on loopback, and measures the CPU time of their calls alone. It
prints milliseconds for each task, and their share of the CPU time of the task. The images are ready
at once, so the share is the largest that there is. For lineage it extracts what OpenLineage asks.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any
from unittest.mock import patch

os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "CRITICAL"  # before Airflow is imported

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.observability import metrics, spans
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from benchmarks.ledger import context
from tests.support.receivers import (
    StatsdReceiver,
    http_receiver,
    monitoring_environment,
    restart_stats,
)


class Clock:
    """CPU seconds of some calls."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def measure(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function whose CPU time is added up."""

        def measured(*args: Any, **kwargs: Any) -> Any:
            began = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.thread_time() - began

        return measured


@contextmanager
def measured_calls(clock: Clock) -> Iterator[None]:
    """Measure each metric, and each call of the tracer."""
    from opentelemetry.sdk.trace import Span, Tracer

    with (
        patch.object(metrics, "_send", clock.measure(metrics._send)),
        patch.object(Tracer, "start_span", clock.measure(Tracer.start_span)),
        patch.object(Span, "end", clock.measure(Span.end)),
        patch.object(spans, "_tracer", clock.measure(spans._tracer)),
    ):
        yield


def configure(statsd: StatsdReceiver, url: str) -> None:
    """Send metrics to StatsD and spans to OTLP, as a deployment does."""
    os.environ |= monitoring_environment(url) | {
        "AIRFLOW__METRICS__OTEL_ON": "False",
        "AIRFLOW__METRICS__STATSD_ON": "True",
        "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
        "AIRFLOW__METRICS__STATSD_PORT": str(statsd.port),
        "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
    }
    from airflow.sdk._shared.observability.traces import configure_otel
    from airflow.sdk.configuration import conf

    restart_stats()
    configure_otel(conf)


def measure(folder: str, count: int) -> None:
    """Run the tasks, and print the table."""
    small = {"width": 256, "height": 256, "deferrable": False, "poll_interval": 0.1}
    tasks = [
        FluxGenerateOperator(
            task_id="image", prompt=f"{n}", output_path=f"file://{folder}/{n}.{{ext}}", **small
        )
        for n in range(count + 1)
    ]
    tasks[0].execute(context(count, has_ledger=True))  # it imports the modules
    calls, after = Clock(), Clock()
    began = time.process_time()
    with measured_calls(calls):
        for number, task in enumerate(tasks[1:]):
            task.execute(context(number, has_ledger=True))
    task_ms = 1000 * (time.process_time() - began) / count
    for task in tasks[1:]:
        for link in task.operator_extra_links:
            after.measure(link.get_link)(task, ti_key=None)
    links_ms = 1000 * after.seconds / count
    rows = {"metrics and spans": 1000 * calls.seconds / count, "links": links_ms}
    if find_spec("airflow.providers.openlineage"):
        lineage = Clock()
        tasks[0].get_openlineage_facets_on_complete(None)  # it imports the modules
        for task in tasks[1:]:
            lineage.measure(task.get_openlineage_facets_on_complete)(None)
        rows["lineage"] = 1000 * lineage.seconds / count
    print(f"{'task with all of them':<24}{task_ms:8.2f} CPU ms")
    for name, milliseconds in rows.items():
        print(f"{name:<24}{milliseconds:8.3f} CPU ms {100 * milliseconds / task_ms:6.2f} %")
    total = sum(rows.values())
    print(f"{'in all':<24}{total:8.3f} CPU ms {100 * total / task_ms:6.2f} %")


def main() -> None:
    """Print the figures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with ExitStack() as stack:
        emulator = stack.enter_context(
            EmulatorServer(EmulatorConfig(latency=0.0, credits=1_000_000))
        )
        flux = {"conn_type": "flux", "password": "bfl_bench_0123456789", "host": emulator.url}
        os.environ["AIRFLOW_CONN_FLUX_DEFAULT"] = json.dumps(flux)
        receiver = stack.enter_context(http_receiver())
        statsd = StatsdReceiver()
        stack.callback(statsd.close)
        configure(statsd, receiver.url)
        measure(stack.enter_context(tempfile.TemporaryDirectory()), count)


if __name__ == "__main__":
    main()
