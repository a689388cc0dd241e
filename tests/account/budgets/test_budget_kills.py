"""Processes that spend one budget and are killed at random.

Two processes share a budget that is too small for both, each as a batch of its own DAG, and are
killed a few times. BFL bills half as much again as the price list says. ``FLUX_BUDGET_PROCESSES=8``
lets that many processes run, with more kills, in a folder and in S3.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess

import pytest

from airflow_provider_flux.account.budgets.account_budgets import open_budgets
from airflow_provider_flux.account.budgets.periods import Spender
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.hooks.flux import FluxHook
from tests.support.batch_tries import prompts
from tests.support.budget_process import BatchTask, kill, wait
from tests.support.object_stores import Store

PROCESSES = int(os.environ.get("FLUX_BUDGET_PROCESSES", "2"))
IS_SOAK = "FLUX_BUDGET_PROCESSES" in os.environ
STORES = ["file", "s3"] if IS_SOAK else ["file"]
KILLS = 3 * PROCESSES if IS_SOAK else 2
#: Submits between two kills, at most.
MOST_SUBMITS = 12
#: Credits by the price list of the task, and by that of the emulator.
ESTIMATE, COST = 2.0, 3.0
#: Images for which the budget suffices, and images that each process would like.
IMAGES = 40 * PROCESSES if IS_SOAK else 16
WANTED = 60 if IS_SOAK else 12
ENVIRONMENT_NAMES = ("AIRFLOW_CONN_", "AIRFLOW_HOME", "AIRFLOW__")


@pytest.fixture
def service(
    connect: Callable[..., None], store: Store, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EmulatorServer]:
    """An account with a budget, whose prices are higher than the price list says."""
    models = {"flux-2-pro": {"like": "flux-2-pro", "price": ESTIMATE}}
    monkeypatch.setenv("AIRFLOW__FLUX__MODELS", json.dumps(models))
    config = EmulatorConfig(latency=0.3, latency_spread=0.5, credits=1e6, image_bytes=2000)
    with EmulatorServer(config) as server:
        budget = {"credits": IMAGES * COST - 1, "per": "month"}
        connect(server.url, account_path=f"{store.root}/account", budgets=[budget])
        yield server


def wait_for_submits(service: EmulatorServer, count: int, running: Sequence[BaseProcess]) -> None:
    """Wait for further submits of any process, or until all processes have ended."""
    until = service.stats()["submits"] + count
    while service.stats()["submits"] < until and any(one.is_alive() for one in running):
        time.sleep(0.02)


@pytest.mark.parametrize("store", STORES, indirect=True)
def test_however_processes_die_they_spend_no_more_than_the_budget_and_leave_nothing_reserved(
    service: EmulatorServer, store: Store
) -> None:
    draw = random.Random(7)
    environment = {
        name: value for name, value in os.environ.items() if name.startswith(ENVIRONMENT_NAMES)
    }
    tasks = [
        BatchTask(
            environment,
            f"dag{number}",
            tuple(prompts(WANTED)),
            f"{store.root}/out{number}/{{key}}.{{ext}}",
            {"model": "flux-2-pro", "on_budget": "trim", "on_uncertain": "resubmit"},
        )
        for number in range(PROCESSES)
    ]
    tries = [1] * PROCESSES
    running = [task.start(1) for task in tasks]
    try:
        for _ in range(KILLS):
            number = draw.randrange(PROCESSES)
            wait_for_submits(service, draw.randint(0, MOST_SUBMITS), running)
            kill(running[number])
            tries[number] += 1
            # The next try settles what the killed one reserved.
            running[number] = tasks[number].start(tries[number])
        assert {wait(process) for process in running} == {0}
    finally:
        for process in running:
            kill(process)

    budgets = open_budgets(FluxHook().settings, Spender("dag0", "hero"), "the connection")
    assert budgets is not None
    state = budgets.state.read_sync()
    [(key, counter)] = state.counters.items()
    billed = service.stats()["credits_spent"]
    print(f"billed {billed}, counted {counter.spent}, kills {KILLS}, lapsed {state.lapsed}")  # noqa: T201
    assert billed <= IMAGES * COST - 1 + (COST - ESTIMATE)
    assert counter.spent >= billed
    assert state.reserved(key) == 0
