"""Tasks that want one image at the same time: one of them submits it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.landing import claims
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.triggers.claim import FluxClaimTrigger
from tests.support.batch_interruptions import wait_until
from tests.support.image_task import image_task, run_task, task_context
from tests.support.object_stores import Store
from tests.support.run_operator import run_trigger

pytestmark = [
    pytest.mark.usefixtures("hurry"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def submits(emulator: EmulatorServer) -> int:
    return int(emulator.stats()["submits"])


def claims_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("_flux/images/*.claim"))


def hero(root: str | Path, name: str, way: str = "sync", **arguments: Any) -> FluxGenerateOperator:
    """Return the task of one of several DAGs that want the same image under names of their own."""
    task = image_task(f"{root}/{name}.{{ext}}", way=way, **{"reuse": "always", **arguments})
    task._root = f"{root}/"  # as a template in the path leaves it
    return task


def defer(task: FluxGenerateOperator, around: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as caught:
        task.execute(around)
    return caught.value


def resume(task: FluxGenerateOperator, deferred: TaskDeferred, around: Any) -> Any:
    event = asyncio.run(run_trigger(deferred.trigger))
    kwargs = json.loads(json.dumps(deferred.kwargs or {}))
    return task.resume_execution(deferred.method_name, {**kwargs, "event": event}, around)


@pytest.mark.parametrize("store", ["file", "s3", "abfs", "ceph"], indirect=True)
def test_of_tasks_that_want_one_image_at_once_one_submits_it(
    emulator: EmulatorServer, store: Store
) -> None:
    tasks = [hero(store.root, f"dag{number}") for number in range(4)]
    with ThreadPoolExecutor() as pool:
        running = [
            pool.submit(run_task, task, dag_id=f"dag{number}") for number, task in enumerate(tasks)
        ]
        done = [one.result(timeout=120) for one in running]
    assert submits(emulator) == 1
    assert sorted(one["reused"] for one in done) == [False, True, True, True]
    assert len({one["image"]["uri"] for one in done}) == 4
    assert len({one["image"]["sha256"] for one in done}) == 1
    assert [name for name in store.names() if name.endswith(".claim")] == []


def test_without_reuse_nothing_is_claimed(emulator: EmulatorServer, tmp_path: Path) -> None:
    run_task(hero(tmp_path, "a", reuse="never"))
    assert not (tmp_path / "_flux/images").exists()


class TestDeferral:
    def test_a_task_defers_while_another_one_generates_its_image(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        owner, waiter = hero(tmp_path, "a", "deferred"), hero(tmp_path, "b", "deferred")
        owner_context, context = task_context(owner), task_context(waiter, dag_id="other")
        first = defer(owner, owner_context)
        deferred = defer(waiter, context)
        assert isinstance(deferred.trigger, FluxClaimTrigger)
        assert "fox" not in json.dumps(deferred.trigger.serialize())
        resume(owner, first, owner_context)
        done = resume(waiter, deferred, context)
        assert (submits(emulator), done["reused"], claims_in(tmp_path)) == (1, True, [])

    def test_a_deferral_that_airflow_ends_goes_on_on_the_worker(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        owner, waiter = hero(tmp_path, "a", "deferred"), hero(tmp_path, "b", "deferred")
        owner_context, context = task_context(owner), task_context(waiter, dag_id="other")
        first = defer(owner, owner_context)
        defer(waiter, context)
        with ThreadPoolExecutor() as pool:
            error = {"error": "Trigger timeout"}
            waiting = pool.submit(waiter.resume_execution, "__fail__", error, context)
            resume(owner, first, owner_context)
            assert waiting.result(timeout=60)["reused"]
        assert submits(emulator) == 1

    def test_a_trigger_on_another_machine_leaves_a_local_claim_to_the_worker(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from airflow_provider_flux.triggers import claim

        monkeypatch.setattr(claim, "_MAX_INTERVAL_SECONDS", 0.1)
        owner, waiter = hero(tmp_path, "a", "deferred"), hero(tmp_path, "b", "deferred")
        owner_context, context = task_context(owner), task_context(waiter, dag_id="other")
        first = defer(owner, owner_context)
        deferred = defer(waiter, context)
        deferred.trigger.host = "another machine"
        with pytest.raises(TaskDeferred) as again:
            resume(waiter, deferred, context)
        resume(owner, first, owner_context)
        assert resume(waiter, again.value, context)["reused"]


class TestOwner:
    def test_a_moderated_image_is_released_so_that_the_next_task_may_submit_it(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        for name in ("a", "b"):
            with pytest.raises(AirflowFailException, match="Moderated"):
                run_task(hero(tmp_path, name, prompt="x [[fault:moderated]]"), dag_id=name)
            assert claims_in(tmp_path) == []
        assert submits(emulator) == 2

    def test_a_refused_request_is_released(self, emulator: EmulatorServer, tmp_path: Path) -> None:
        with pytest.raises(AirflowFailException, match="Credits"):
            run_task(hero(tmp_path, "a", prompt="x [[fault:no-credits]]"))
        assert claims_in(tmp_path) == []

    def test_a_claim_stays_while_a_retry_can_land_the_image(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = hero(tmp_path, "a", prompt="x [[fault:slow=5]]", timeout=1)
        with pytest.raises(FluxError):
            run_task(task)
        assert len(claims_in(tmp_path)) == 1
        around = task_context(task, try_number=2)
        around["ti"].max_tries -= 1  # the clear of the try before
        task.timeout = 60
        assert not task.execute(around)["reused"]
        assert (submits(emulator), claims_in(tmp_path)) == (1, [])

    def test_a_claim_is_renewed_before_a_post_that_had_to_wait(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(claims, "CLAIM_LEAD_SECONDS", 0.0)
        done = run_task(hero(tmp_path, "a", prompt="x [[fault:rate-limit=2]]"))
        assert (done["reused"], submits(emulator), claims_in(tmp_path)) == (False, 1, [])

    def test_a_task_whose_claim_was_taken_over_submits_nothing(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(claims, "CLAIM_LEAD_SECONDS", 0.0)
        task = hero(tmp_path, "a")

        def take_over(*_: Any) -> None:
            expire_claims(tmp_path)
            defer(hero(tmp_path, "b", "deferred"), task_context(task, dag_id="other"))

        task._confirm = take_over
        with pytest.raises(FluxError, match="took over the claim") as caught:
            run_task(task)
        assert not caught.value.is_permanent
        third = hero(tmp_path, "c", "deferred")
        defer(third, task_context(third, dag_id="third"))
        assert submits(emulator) == 1


class TestWaiter:
    def test_an_expired_claim_is_taken_over_with_a_warning(
        self, emulator: EmulatorServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        owner = hero(tmp_path, "a", "deferred")
        defer(owner, task_context(owner))
        expire_claims(tmp_path)
        done = run_task(hero(tmp_path, "b"), dag_id="other")
        assert (submits(emulator), done["reused"], claims_in(tmp_path)) == (2, False, [])
        assert "BFL may bill it twice" in caplog.text

    def test_a_task_that_is_killed_while_it_waits_submits_nothing(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        owner, waiter = hero(tmp_path, "a", "deferred"), hero(tmp_path, "b")
        defer(owner, task_context(owner))
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(run_task, waiter, dag_id="other")
            wait_until(lambda: waiter._claim_deadline is not None)
            waiter.on_kill()
            assert isinstance(waiting.exception(timeout=60), FluxError)
        assert submits(emulator) == 1

    def test_a_claim_that_somebody_renews_for_ever_delays_a_task_for_an_hour_only(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        owner, waiter = hero(tmp_path, "a", "deferred"), hero(tmp_path, "b")
        defer(owner, task_context(owner))
        warnings: list[str] = []
        waiter.log.warning = lambda text, *values: warnings.append(text % values)  # type: ignore[method-assign]
        around = task_context(waiter, dag_id="other")
        done = waiter.execute_after_claim(around, {}, claim_deadline=time.time() - 1)
        assert (submits(emulator), done["reused"]) == (2, False)
        assert any("bill it twice" in text for text in warnings)
        assert len(claims_in(tmp_path)) == 1

    @pytest.mark.parametrize("deadline", [None, "soon", float("inf"), 1e300])
    def test_a_task_waits_for_an_hour_at_most_whatever_it_is_resumed_with(
        self, emulator: EmulatorServer, tmp_path: Path, deadline: Any
    ) -> None:
        owner, waiter = hero(tmp_path, "a", "deferred"), hero(tmp_path, "b", "deferred")
        defer(owner, task_context(owner))
        with pytest.raises(TaskDeferred) as caught:
            waiter.execute_after_claim(task_context(waiter, dag_id="other"), {}, deadline)
        assert caught.value.kwargs
        assert caught.value.kwargs["claim_deadline"] <= time.time() + 3600


def expire_claims(folder: Path) -> None:
    """Let the claims in a folder be of yesterday, by the clock of their disk."""
    for path in folder.glob("_flux/images/*.claim"):
        os.utime(path, (time.time() - 86_400,) * 2)
