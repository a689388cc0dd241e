"""Metrics of a DAG run, as a real StatsD receiver gets them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.sdk import DAG
from airflow.utils.db import initdb

from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.observability import metrics
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.testing.dag_run import run_dag
from tests.conftest import KEY
from tests.support.receivers import StatsdReceiver, restart_stats
from tests.support.task_tries import Task

pytestmark = pytest.mark.usefixtures("hurry")
pytest.importorskip("statsd")

MODEL = "model=flux-pro-1.1"


@pytest.fixture(scope="module", autouse=True)
def database() -> None:
    initdb()


@pytest.fixture
def statsd(monkeypatch: pytest.MonkeyPatch) -> Iterator[StatsdReceiver]:
    """A StatsD server to which Airflow sends the metrics of this process, with tags."""
    receiver = StatsdReceiver()
    options = {"ON": True, "HOST": "127.0.0.1", "PORT": receiver.port, "INFLUXDB_ENABLED": True}
    for name, value in options.items():
        monkeypatch.setenv(f"AIRFLOW__METRICS__STATSD_{name}", str(value))
    restart_stats()
    yield receiver
    for name in options:
        monkeypatch.delenv(f"AIRFLOW__METRICS__STATSD_{name}")
    restart_stats()
    receiver.close()


def flux_counts(receiver: StatsdReceiver) -> tuple[Counter[str], list[str]]:
    """Return the sums of the counters of this provider, and the names of its timers."""
    counts: Counter[str] = Counter()
    timers = []
    for line in receiver.lines():
        name, _, value = line.partition(":")
        assert KEY not in line
        if not name.startswith("airflow.flux."):
            continue
        number, _, kind = value.partition("|")
        if kind == "c":
            counts[name.removeprefix("airflow.")] += float(number)  # type: ignore[assignment]
        elif kind == "ms":
            assert float(number) >= 0
            timers.append(name.removeprefix("airflow."))
    return counts, timers


@pytest.mark.parametrize("inline_wait", [30, 0])
def test_a_landed_image_is_counted_once_with_its_credits_and_times(
    emulator: EmulatorServer, statsd: StatsdReceiver, tmp_path: Path, inline_wait: float
) -> None:
    with DAG("landed", schedule=None) as dag:
        FluxGenerateOperator(
            task_id="hero",
            prompt="a fox [[fault:rate-limit=2]]",
            output_path=f"{tmp_path}/hero.{{ext}}",
            deferrable=True,
            inline_wait=inline_wait,
        )
    assert run_dag(dag).state == "success"
    counts, timers = flux_counts(statsd)
    assert counts == {
        f"flux.submits,{MODEL}": 1,
        f"flux.rate_limited,{MODEL}": 2,
        f"flux.credits,{MODEL}": 4,
        f"flux.outcomes,{MODEL},outcome=landed": 1,
    }
    # The image may be ready before the first poll of a trigger, which then measures no time.
    expected = {f"flux.{timer}.duration,{MODEL}" for timer in ("queue", "generation", "landing")}
    assert len(timers) == len(set(timers))
    optional = set() if inline_wait else {f"flux.generation.duration,{MODEL}"}
    assert expected - optional <= set(timers) <= expected


def test_a_trigger_measures_the_generation_that_it_waited_for(
    emulator: EmulatorServer, statsd: StatsdReceiver, tmp_path: Path
) -> None:
    task = Task(
        {
            "prompt": "a fox [[fault:slow=2]]",
            "output_path": f"{tmp_path}/hero.{{ext}}",
            "deferrable": True,
            "inline_wait": 0,
        }
    )
    task.retry()
    timings = {
        name: float(value.partition("|")[0])
        for name, _, value in (line.partition(":") for line in statsd.lines())
        if name.endswith(f".duration,{MODEL}")
    }
    assert timings[f"airflow.flux.generation.duration,{MODEL}"] >= 1500
    assert 0 < timings[f"airflow.flux.landing.duration,{MODEL}"] < 60_000


def test_failures_are_counted_by_their_outcome_and_refunds_by_their_credits(
    emulator: EmulatorServer, statsd: StatsdReceiver
) -> None:
    with DAG("failures", schedule=None) as dag:
        FluxGenerateOperator(task_id="moderated", prompt="a [[fault:moderated=Violence]]")
        FluxGenerateOperator(task_id="uncertain", prompt="b [[fault:submit-lost]]")
        FluxGenerateOperator(task_id="invalid", prompt="{{ 'c' }}", model="{{ 'no-model' }}")
    run_dag(dag)
    counts, _ = flux_counts(statsd)
    assert counts[f"flux.outcomes,{MODEL},outcome=moderated"] == 1
    assert counts[f"flux.credits,{MODEL}"] == counts[f"flux.credits_refunded,{MODEL}"] == 4
    assert counts[f"flux.outcomes,{MODEL},outcome=uncertain"] == 1
    assert counts[f"flux.uncertain,{MODEL}"] == 1
    assert counts["flux.outcomes,model=other,outcome=invalid"] == 1


def test_a_batch_sends_the_same_metrics_and_its_share_of_the_quota(
    emulator: EmulatorServer, statsd: StatsdReceiver, tmp_path: Path
) -> None:
    rows = [f"fox {number}" for number in range(6)]
    with DAG("rows", schedule=None) as dag:
        FluxGenerateBatchOperator(
            task_id="made",
            requests=[*rows, "bad [[fault:moderated=Violence]]", {"prompt": "x", "width": 1}],
            output_path=f"{tmp_path}/{{key}}.jpeg",
            on_invalid_row="skip",
            max_active=3,
        )
    assert run_dag(dag).state == "success"
    lines = statsd.lines()
    gauges = [line for line in lines if line.startswith("airflow.flux.quota_share:")]
    shares = [float(line.partition(":")[2].partition("|")[0]) for line in gauges]
    assert shares
    assert all(0 <= share <= 1 for share in shares)
    assert shares[-1] == 0
    sums: Counter[str] = Counter()
    for line in lines:
        name, _, value = line.partition(":")
        sums[name.removeprefix("airflow.")] += float(value.partition("|")[0])  # type: ignore[assignment]
    assert sums[f"flux.submits,{MODEL}"] == 7
    assert sums[f"flux.outcomes,{MODEL},outcome=landed"] == 6
    assert sums[f"flux.outcomes,{MODEL},outcome=moderated"] == 1
    assert sums[f"flux.outcomes,{MODEL},outcome=invalid"] == 1
    assert sums[f"flux.credits,{MODEL}"] - sums[f"flux.credits_refunded,{MODEL}"] == 24
    for timer in ("queue", "generation", "landing"):
        count = sum(line.startswith(f"airflow.flux.{timer}.duration,") for line in lines)
        assert count == {"queue": 7, "generation": 6, "landing": 6}[timer]


def test_a_reused_image_and_a_resumed_generation_have_counters_of_their_own(
    emulator: EmulatorServer, statsd: StatsdReceiver, tmp_path: Path
) -> None:
    arguments = {"prompt": "a fox", "output_path": f"{tmp_path}/{{fingerprint}}.{{ext}}"}
    arguments |= {"reuse": "always", "inline_wait": 0, "deferrable": True}
    lost = Task(dict(arguments))
    lost.defer()  # its worker and its triggerer are gone
    lost.retry()
    Task(dict(arguments)).retry()
    counts, _ = flux_counts(statsd)
    assert counts[f"flux.submits,{MODEL}"] == 1
    assert counts[f"flux.resumed,{MODEL}"] == 1
    assert counts[f"flux.reused,{MODEL}"] == 1
    assert counts[f"flux.outcomes,{MODEL},outcome=reused"] == 1


def test_a_metric_that_cannot_be_sent_fails_no_task() -> None:
    def broken() -> None:
        raise RuntimeError("no exporter")

    restart_stats(broken)
    try:
        metrics.count(metrics.SUBMITS, "flux-pro-1.1")
        metrics.record_duration(metrics.LANDING, "flux-pro-1.1", 0.5)
        metrics.record_quota_share(0.5)
    finally:
        restart_stats()


def test_the_page_lists_each_metric_with_its_kind_tags_and_meaning() -> None:
    page = (Path(__file__).parents[2] / "docs" / "observability.md").read_text()
    table = page.partition("<!-- metrics: begin -->")[2].partition("<!-- metrics: end -->")[0]
    rows = [
        f"| `{metric.name}` | {metric.kind} | {', '.join(f'`{tag}`' for tag in metric.tags)}"
        f"{' ' if metric.tags else ''}| {metric.meaning} |"
        for metric in metrics.METRICS
    ]
    assert table.strip().splitlines()[2:] == rows
