"""Random draws: latencies and faults, repeatable by a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.emulator import EmulatorConfig
from airflow_provider_flux.emulator.fault_scripts import FaultCounter, parse_faults
from airflow_provider_flux.emulator.random_source import RandomSource
from airflow_provider_flux.emulator.service import Service
from airflow_provider_flux.emulator.tasks import Task
from tests.emulator.conftest import Start

MANY = 2000


def _tasks(count: int = MANY, faults: Sequence[str] = (), **config: Any) -> list[Task]:
    service = Service(
        EmulatorConfig(**{"max_active": count, "credits": 1e9, **config}), lambda: 1000.0
    )
    script = parse_faults(faults)
    model = MODELS["flux-pro-1.1"]
    return [
        service.submit(model, {"prompt": str(n)}, key="a", base_url="http://h", faults=script)
        for n in range(count)
    ]


def test_latencies_spread_evenly_around_the_mean() -> None:
    latencies = [task.latency for task in _tasks(latency=4, latency_spread=0.25, seed=1)]
    assert 3 <= min(latencies) < 3.02
    assert 4.98 < max(latencies) <= 5
    assert sum(latencies) / MANY == pytest.approx(4, abs=0.05)
    assert sum(latency < 3.5 for latency in latencies) / MANY == pytest.approx(0.25, abs=0.04)


def test_latencies_are_exact_without_a_spread_and_for_the_fault_slow() -> None:
    assert {task.latency for task in _tasks(50, latency=4)} == {4}
    assert {task.latency for task in _tasks(50, ["slow=2"], latency=4, latency_spread=0.5)} == {2}


def test_equal_seeds_give_equal_draws() -> None:
    def drawn(seed: int | None, **more: Any) -> list[Any]:
        tasks = _tasks(100, ["moderated@30%"], latency=4, latency_spread=0.25, seed=seed, **more)
        return [(task.latency, sorted(task.faults), task.picture.seed) for task in tasks]

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)
    assert drawn(None) != drawn(None)


def test_a_reset_starts_the_draws_again() -> None:
    service = Service(EmulatorConfig(latency_spread=0.5, seed=3), lambda: 1000.0)

    def latency() -> float:
        return service.submit(
            MODELS["flux-pro-1.1"], {}, key="a", base_url="http://h", faults={}
        ).latency

    first, second = latency(), latency()
    service.reset()
    assert first != second
    assert [latency(), latency()] == [first, second]


def test_draws_for_polls_do_not_change_draws_for_tasks() -> None:
    one, other = RandomSource(1), RandomSource(1)
    for _ in range(10):
        one.draw_event("poll-500", 0.5)
    assert one.draw_latency(4, 0.25) == other.draw_latency(4, 0.25)


def test_faults_of_tasks_strike_their_share_of_the_tasks() -> None:
    struck = [
        set(task.faults)
        for task in _tasks(faults=["moderated@2%", "slow=9@10%", "state-key"], seed=1)
    ]
    assert sum("moderated" in faults for faults in struck) / MANY == pytest.approx(0.02, abs=0.01)
    assert sum("slow" in faults for faults in struck) / MANY == pytest.approx(0.1, abs=0.02)
    assert all("state-key" in faults for faults in struck)


@pytest.mark.parametrize(
    "name", ["poll-500", "poll-503", "poll-403", "reset", "no-credits", "submit-503"]
)
def test_faults_of_requests_strike_their_share_of_the_requests(name: str) -> None:
    counter = FaultCounter(RandomSource(1))
    script = counter.draw_task_faults(parse_faults([f"{name}@3%"]))
    struck = [counter.next_due(script, {name}, "one task") is not None for _ in range(MANY)]
    assert sum(struck) / MANY == pytest.approx(0.03, abs=0.012)


def test_a_count_limits_a_fault_with_a_probability() -> None:
    counter = FaultCounter(RandomSource(1))
    script = parse_faults(["poll-500=2@50%"])
    assert sum(counter.next_due(script, {"poll-500"}, "one") is not None for _ in range(100)) == 2


def test_faults_with_a_probability_strike_over_http(start: Start) -> None:
    client = start(
        faults=["poll-500@50%", "submit-503-made@50%", "moderated@50%"],
        seed=1,
        latency=0,
        credits=1000,
    )
    answers = [client.post(json={"prompt": f"fox {number}"}).status_code for number in range(24)]
    made = client.server.timeline()["tasks"]
    assert len(made) == 24
    assert [task["faults"].count("submit-503-made") for task in made] == [
        status == 503 for status in answers
    ]
    assert 4 < answers.count(503) < 20
    assert 4 < sum(task["outcome"] == "Content Moderated" for task in made) < 20
    task = client.submit("[[fault:poll-500=1]] [[fault:submit-503-made@0%]]")
    assert [client.get(task["polling_url"]).status_code for _ in range(4)] == [500, 200, 200, 200]


def test_a_configuration_out_of_range_is_explained() -> None:
    for config, message in (
        ({"latency_spread": 1.5}, "0 to 1"),
        ({"image_bytes": 0}, "number of bytes"),
    ):
        with pytest.raises(ValueError, match=message):
            EmulatorConfig(**config)
