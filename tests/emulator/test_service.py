"""Accounts, tasks and limits by an injected clock, without a socket."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.emulator import EmulatorConfig
from airflow_provider_flux.emulator.errors import RefusalError
from airflow_provider_flux.emulator.fault_scripts import parse_faults
from airflow_provider_flux.emulator.inputs import Inputs
from airflow_provider_flux.emulator.service import Service
from airflow_provider_flux.emulator.tasks import Task

BASE_URL = "http://127.0.0.1:80"


class Clock:
    """A clock that stands until it is moved."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A service, its clock, and short ways to use it."""

    def __init__(self, **config: Any) -> None:
        self.clock = Clock()
        self.service = Service(EmulatorConfig(**{"latency": 5.0, **config}), self.clock)

    def submit(
        self, *faults: str, model: str = "flux-pro-1.1", key: str = "a", max_active: int = 24
    ) -> Task:
        entry = replace(MODELS[model], max_active=max_active)
        return self.service.submit(
            entry, {"prompt": "x"}, key=key, base_url=BASE_URL, faults=parse_faults(faults)
        )


def test_tasks_end_by_the_clock_without_a_poll() -> None:
    bench = Bench(max_active=2)
    bench.submit()
    bench.submit()
    with pytest.raises(RefusalError, match="429"):
        bench.submit()
    bench.clock.now += 5
    bench.submit()
    assert bench.service.stats()["active"] == 1
    assert bench.service.stats()["max_active"] == 2


def test_each_account_has_its_own_limit_of_active_tasks() -> None:
    bench = Bench(max_active=1)
    bench.submit(key="a")
    bench.submit(key="b")
    with pytest.raises(RefusalError, match="429"):
        bench.submit(key="a")


def test_the_smaller_limit_of_a_model_holds_beside_that_of_the_account() -> None:
    bench = Bench(max_active=200)
    for _ in range(6):
        bench.submit(model="flux-kontext-pro", max_active=6)
    with pytest.raises(RefusalError, match="429"):
        bench.submit(model="flux-kontext-pro", max_active=6)
    for _ in range(30):
        bench.submit()


def test_refused_submits_cost_nothing() -> None:
    bench = Bench(max_active=1, credits=10)
    bench.submit()
    with pytest.raises(RefusalError):
        bench.submit()
    assert bench.service.account_of("a").credits == 6


@pytest.mark.parametrize(
    "fault", ["moderated", "request-moderated", "moderated-text", "error", "error-422", "failed"]
)
def test_a_task_without_a_result_is_refunded_when_it_ends(fault: str) -> None:
    bench = Bench(credits=10)
    bench.submit(fault)
    assert bench.service.account_of("a").credits == 6
    bench.clock.now += 5
    assert bench.service.account_of("a").credits == 10
    stats = bench.service.stats()
    assert (stats["credits_spent"], stats["credits_refunded"]) == (0, 4)


def test_a_stuck_task_stays_pending_and_active() -> None:
    bench = Bench()
    task = bench.submit("stuck")
    bench.clock.now += 1e9
    assert bench.service.describe(task)["status"] == "Pending"
    assert bench.service.stats()["active"] == 1


def test_progress_rises_from_0_to_1() -> None:
    bench = Bench()
    task = bench.submit()
    seen = []
    for _ in range(5):
        seen.append(bench.service.describe(task)["progress"])
        bench.clock.now += 1
    assert seen == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert bench.service.describe(task)["progress"] is None


@pytest.mark.parametrize("model", ["flux-3-image", "flux-3-video", "flux-tools/video-edit-v1"])
def test_flux_3_reports_its_stages(model: str) -> None:
    bench = Bench(latency=9.0)
    parameters = {"prompt": "x", "mode": "t2v"}
    task = bench.service.submit(MODELS[model], parameters, key="a", base_url=BASE_URL, faults={})
    seen = []
    for _ in range(4):
        seen.append(bench.service.describe(task)["status"])
        bench.clock.now += 3
    assert seen == ["Pending", "Reasoning", "Generating", "Ready"]


def test_a_task_ends_when_its_inputs_are_fetched() -> None:
    bench = Bench(latency=5.0)
    model, parameters = MODELS["flux-3-image"], {"prompt": "x", "images": "http://a/b"}
    inputs = Inputs({"images": ["http://a/b"]})
    task = bench.service.submit(model, parameters, inputs, key="a", base_url=BASE_URL, faults={})
    bench.clock.now += 7
    assert bench.service.describe(task)["status"] == "Generating"
    assert bench.service.stats()["active"] == 1
    bench.service.complete_inputs(task, parameters, Inputs(error="unreadable"))
    body = bench.service.describe(task)
    assert (body["status"], body["details"]) == ("Error", {"error": "unreadable"})
    assert (task.duration, bench.service.stats()["active"]) == (7.0, 0)
    assert bench.service.account_of("a").credits == 1000


def test_a_task_does_not_end_before_its_latency_when_inputs_are_fetched_early() -> None:
    bench = Bench(latency=5.0)
    inputs = Inputs({"images": ["http://a/b"]})
    task = bench.service.submit(
        MODELS["flux-3-image"], {"prompt": "x"}, inputs, key="a", base_url=BASE_URL, faults={}
    )
    bench.clock.now += 1
    bench.service.complete_inputs(task, {"prompt": "x"}, Inputs())
    assert bench.service.describe(task)["status"] == "Pending"
    bench.clock.now += 4
    assert bench.service.describe(task)["status"] == "Ready"


def test_the_latency_is_that_of_the_model_unless_configured_or_scripted() -> None:
    default = Bench(latency=None)
    assert default.submit().latency == MODELS["flux-pro-1.1"].typical_seconds
    assert default.submit("slow=2.5").latency == 2.5
    assert Bench(latency=0.0).submit().latency == 0.0


def test_a_task_is_not_found_after_its_retention() -> None:
    bench = Bench(retention=60)
    task = bench.submit()
    bench.clock.now += 64
    assert bench.service.find_task(task.id) is task
    bench.clock.now += 1
    assert bench.service.find_task(task.id) is None


@pytest.mark.parametrize(
    ("model", "lifetime", "configured"),
    [
        ("flux-pro-1.1", 600, None),
        ("flux-3-image", 3600, None),
        ("flux-3-image-klein", 3600, None),
        ("flux-3-video", 7200, None),
        ("flux-tools/video-upscale-v1", 3600, None),
        ("flux-3-video", 90, 90.0),
    ],
)
def test_a_signed_url_has_the_lifetime_of_its_model_or_of_the_configuration(
    model: str, lifetime: int, configured: float | None
) -> None:
    bench = Bench(latency=0.0, url_lifetime=configured)
    task = bench.service.submit(
        MODELS[model], {"prompt": "x", "mode": "t2v"}, key="a", base_url=BASE_URL, faults={}
    )
    query = parse_qs(urlsplit(bench.service.describe(task)["result"]["sample"]).query)
    assert datetime.fromisoformat(query["se"][0]).timestamp() == bench.clock.now + lifetime


def test_each_poll_signs_the_url_afresh() -> None:
    bench = Bench(latency=0.0)
    task = bench.submit()
    first = bench.service.describe(task)["result"]["sample"]
    bench.clock.now += 1
    assert bench.service.describe(task)["result"]["sample"] != first
    assert "se=1970-01-01T00%3A26%3A40Z" in first


def test_a_reset_forgets_accounts_tasks_and_counts() -> None:
    bench = Bench()
    task = bench.submit()
    bench.service.reset()
    assert bench.service.find_task(task.id) is None
    assert bench.service.account_of("a").credits == 1000
    assert bench.service.stats()["submits"] == 0


def test_a_balance_has_no_dust_of_binary_fractions() -> None:
    """Fault 35: three images of 1.4 credits left a balance such as 995.8000000000001."""
    bench = Bench(credits=10.3)
    for number in range(1, 8):
        bench.submit("failed" if number % 2 else "slow=9", model="flux-2-klein-4b")
        balance = bench.service.account_of("a").credits
        assert balance == round(balance, 6)
    bench.clock.now += 5
    assert bench.service.account_of("a").credits == 6.1
    stats = bench.service.stats()
    assert (stats["credits_spent"], stats["credits_refunded"]) == (4.2, 5.6)
