"""Rows, and batches, that want one image at the same time: one submits it."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.batch.execution.submit import Submitter
from airflow_provider_flux.bfl.errors import FluxBatchError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.landing import claims
from tests.support.batch_interruptions import meanwhile, stop_after, wait_until
from tests.support.batch_tries import Batch, batch, prompts, quick
from tests.support.task_tries import Died

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")


def submits(emulator: EmulatorServer) -> int:
    return int(emulator.stats()["submits"])


def claims_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("**/_flux/images/*.claim"))


def reusing(folder: Path, requests: Any, dag_id: str = "ads", **arguments: Any) -> Batch:
    """Return a batch of one of several DAGs, whose images have names of their own."""
    path = f"{folder}/out/{dag_id}/{{key}}.{{ext}}"
    ledger = f"{folder}/ledger-{dag_id}"
    manifest = f"{folder}/manifest-{dag_id}.jsonl"
    made = batch(folder, requests, **{"reuse": "always", "ledger_path": ledger, **arguments})
    made.arguments |= {"output_path": path, "manifest_path": manifest}
    made.dag_id = dag_id
    new_operator = made.new_operator

    def share_root() -> Any:
        operator = new_operator()
        operator._root = f"{folder}/out/"  # as a template in the path leaves it
        return operator

    made.new_operator = share_root  # type: ignore[method-assign]
    return made


class TestRowsOfOneBatch:
    def test_equal_rows_pay_once(self, emulator: EmulatorServer, tmp_path: Path) -> None:
        one = reusing(tmp_path, ["a fox"] * 40 + ["a hare"])
        summary = one.retry()
        assert (submits(emulator), summary["landed"], summary["reused"]) == (2, 2, 39)
        assert summary["credits_saved"] == 39 * 4
        assert claims_in(tmp_path) == []

    def test_equal_rows_pay_each_without_reuse(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        reusing(tmp_path, ["a fox"] * 3, reuse="never").retry()
        assert submits(emulator) == 3

    def test_each_of_equal_rows_is_tried_if_bfl_moderates_them(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        summary = reusing(tmp_path, ["x [[fault:moderated]]"] * 4).retry()
        assert (submits(emulator), summary["moderated"]) == (4, 4)
        assert claims_in(tmp_path) == []

    def test_a_fallback_leaves_the_image_of_its_row_to_the_others(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        row = {"prompt": "x [[fault:moderated]]", "fallback_prompt": "a tame fox"}
        summary = reusing(tmp_path, [row] * 3).retry()
        assert (summary["landed"], summary["reused"], submits(emulator)) == (1, 2, 4)
        assert claims_in(tmp_path) == []

    def test_a_row_that_waits_for_one_that_is_left_in_flight_is_left_too(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        one = reusing(tmp_path, ["x [[fault:slow=4]]"] * 2, timeout=1)
        one.fail(FluxBatchError)
        assert one.summary
        assert (one.summary["submitted"], one.summary["pending"]) == (1, 1)
        assert len(claims_in(tmp_path)) == 1
        summary = one.retry(timeout=60)
        assert (submits(emulator), summary["landed"], summary["reused"]) == (1, 1, 1)
        assert claims_in(tmp_path) == []


class TestBatchesThatRunTogether:
    def test_two_batches_pay_once_for_each_image(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        batches = [reusing(tmp_path, prompts(20), f"dag{number}") for number in range(2)]
        with ThreadPoolExecutor() as pool:
            running = [pool.submit(one.retry) for one in batches]
            summaries = [one.result(timeout=120) for one in running]
        assert submits(emulator) == 20
        assert sum(summary["landed"] for summary in summaries) == 20
        assert [summary["landed"] + summary["reused"] for summary in summaries] == [20, 20]
        assert claims_in(tmp_path) == []

    def test_a_row_that_waits_holds_no_slot_and_no_other_row(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        held = "fox [[fault:held]]"
        owner = reusing(tmp_path, [held], "owner")
        waiter = reusing(tmp_path, [held, *prompts(30)], "waiter", max_active=1)
        with ThreadPoolExecutor() as pool:
            owning = pool.submit(owner.retry)
            wait_until(lambda: submits(emulator) == 1)
            waiting = pool.submit(waiter.retry)
            wait_until(lambda: submits(emulator) == 31, 60)
            assert emulator.release("held") == 1
            assert owning.result(timeout=60)["landed"] == 1
            summary = waiting.result(timeout=60)
        assert (summary["landed"], summary["reused"], submits(emulator)) == (30, 1, 31)

    def test_a_row_takes_over_an_expired_claim(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        die_before_submits(monkeypatch, reusing(tmp_path, ["a fox"], "dead"))
        assert len(claims_in(tmp_path)) == 1
        for path in tmp_path.glob("**/*.claim"):
            os.utime(path, (time.time() - 86_400,) * 2)
        assert reusing(tmp_path, ["a fox"], "other").retry()["landed"] == 1
        assert claims_in(tmp_path) == []

    def test_a_retry_has_its_own_claims_at_once(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = reusing(tmp_path, prompts(3))
        die_before_submits(monkeypatch, one)
        assert len(claims_in(tmp_path)) == 3
        assert (one.retry()["landed"], submits(emulator), claims_in(tmp_path)) == (3, 3, [])

    def test_a_claim_is_renewed_before_a_submit_that_had_to_wait(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(claims, "CLAIM_LEAD_SECONDS", 0.0)
        summary = reusing(tmp_path, prompts(5), max_active=2).retry()
        assert (summary["landed"], submits(emulator), claims_in(tmp_path)) == (5, 5, [])


class TestStop:
    def test_a_stopped_batch_releases_the_images_that_it_has_not_submitted(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        one = reusing(tmp_path, prompts(30, "slow=3"), max_active=2, grace=0.5)
        with meanwhile(stop_after(emulator, one, 2)):
            one.fail(FluxBatchError)
        in_flight = one.summary["submitted"] if one.summary else 0
        assert in_flight
        assert len(claims_in(tmp_path)) == in_flight


def die_before_submits(monkeypatch: pytest.MonkeyPatch, dying: Batch) -> None:
    """Make a try that claims its images and ends like a killed process: it releases nothing."""
    from airflow_provider_flux.batch.execution import claims as batch_claims

    async def do_nothing(*_: Any, **__: Any) -> None:
        return None

    async def die(self: Submitter, *_: Any) -> None:
        self._stop.make(0.0)
        raise Died

    with monkeypatch.context() as patched:
        patched.setattr(Submitter, "submit", die)
        patched.setattr(batch_claims, "release_claim", do_nothing)
        with pytest.raises(BaseException):  # noqa: B017, PT011
            dying.retry()
