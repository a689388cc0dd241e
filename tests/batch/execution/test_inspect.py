"""Batches whose images are checked before they land, and the tries after them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.bfl.errors import FluxBatchError, FluxConfigurationError
from airflow_provider_flux.bfl.stable_seed import reroll_seed
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from tests.support.batch_interruptions import meanwhile, stop_after
from tests.support.batch_tries import Batch, batch, prompts, quick

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")
FUNCTIONS = "tests.support.check_functions"
BLANK_ONCE, BLANK = "blank=1", "blank=always"


def rejected_files(task: Batch) -> list[str]:
    """Return the names of the files below ``rejected/``."""
    return sorted(path.name for path in (task.folder / "rejected").glob("**/*.jpeg"))


def sidecar_of(uri: str) -> dict[str, Any]:
    """Return the sidecar of an image."""
    return json.loads(Path(f"{uri}.json").read_text())


@contextmanager
def connected_emulator(connect: Any, **config: Any) -> Iterator[EmulatorServer]:
    """Run an emulator for one test alone."""
    with EmulatorServer(EmulatorConfig(latency=0.05, **config)) as server:
        connect(server.url)
        yield server


class TestRejected:
    def test_a_blank_image_is_kept_with_its_reason_and_no_other_is(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        rows = [*prompts(3), *prompts(1, BLANK, start=3), *prompts(1, "black=always", start=4)]
        task = batch(tmp_path, rows, checks=["not_blank"])
        summary = task.retry()
        assert task.outcomes() == ["landed"] * 3 + ["rejected"] * 2
        assert (summary["landed"], summary["rejected"], summary["rerolls"]) == (3, 2, 0)
        assert (summary["credits"], summary["credits_wasted"]) == (20, 8)
        assert sorted(path.name for path in task.folder.glob("*.jpeg")) == [
            f"{number}.jpeg" for number in range(3)
        ]
        blank, black = task.manifest()[3:]
        assert blank["uri"] is None
        assert blank["cost"] == 4
        assert rejected_files(task) == [
            f"3-{blank['request_id']}.jpeg",
            f"4-{black['request_id']}.jpeg",
        ]
        [uri] = blank["rejected"]
        assert (
            f"not_blank: The image is flat: it has one colour. The image is kept at {uri}."
            in (blank["reason"])
        )
        sidecar = sidecar_of(uri)
        assert sidecar["rejection"] == {
            "check": "not_blank",
            "reason": "not_blank: The image is flat: it has one colour.",
            "is_fault": False,
        }
        assert sidecar["request_id"] == blank["request_id"]
        assert "The image is black" in black["reason"]

    def test_a_retry_and_a_clear_pay_for_no_rejected_row_again(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, prompts(2, BLANK), checks=["not_blank"], max_rerolls=1)
        for summary in (task.retry(), task.retry(), task.cleared().retry(on_clear="new")):
            assert summary["rejected"] == 2
            assert emulator.stats()["submits"] == 4
        assert [len(row["rejected"]) for row in task.manifest()] == [2, 2]
        # A user who allows more attempts gets them.
        assert task.cleared().retry(max_rerolls=2)["rejected"] == 2
        assert emulator.stats()["submits"] == 6

    def test_too_many_rejected_rows_fail_the_task(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        rows = [*prompts(1, BLANK), *prompts(3, start=1)]
        task = batch(tmp_path, rows, checks=["not_blank"], max_rejected="10%")
        message = task.fail(AirflowFailException, "1 of 4 rows have an image that checks rejected")
        assert "more than max_rejected=10% allows" in message
        assert task.retry(max_rejected=1)["landed"] == 3

    def test_a_rejected_image_is_never_reused_and_a_reroll_is(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        arguments = {"checks": ["not_blank"], "reuse": "always"}
        rows = [*prompts(1, BLANK_ONCE), *prompts(1, BLANK, start=1)]
        first = batch(tmp_path, rows, max_rerolls=1, **arguments)
        assert first.retry()["landed"] == 1
        assert emulator.stats()["submits"] == 4
        second = batch(tmp_path, rows, ledger_path=f"{tmp_path}/other", **arguments)
        summary = second.retry()
        assert (summary["reused"], summary["rejected"]) == (1, 1)
        assert (summary["credits"], emulator.stats()["submits"]) == (0, 4)

    def test_sizes_ratios_and_functions_decide_too(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        rows = [
            {"prompt": "small", "key": "small"},
            {"prompt": "wide", "key": "wide", "width": 512, "height": 256},
            {"prompt": "fine", "key": "fine", "width": 512, "height": 512},
        ]
        checks = [{"min_size": [256, 256]}, {"ratio": "1:1"}, f"{FUNCTIONS}.accept_by_bool"]
        task = batch(tmp_path, rows, checks=checks)
        task.retry()
        assert task.outcomes() == ["landed", "rejected", "landed"]
        assert "ratio=1:1: The image has 512 x 256 pixels" in task.manifest()[1]["reason"]


class TestRerolls:
    def test_a_rejected_row_is_tried_again_with_another_seed(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        rows = [{"prompt": "fox [[fault:blank=2]]", "seed": 7, "key": "fox"}]
        task = batch(tmp_path, rows, checks=["not_blank"], max_rerolls=3)
        summary = task.retry()
        assert (summary["landed"], summary["rerolls"], summary["credits"]) == (1, 2, 12)
        assert summary["credits_wasted"] == 8
        [row] = task.manifest()
        seeds = [sidecar_of(uri)["seed"] for uri in row["rejected"]]
        intent = next(entry for entry in task.entries() if entry["phase"] == "intent")
        fingerprint = intent["facts"]["row_fingerprint"]
        assert [*seeds, row["seed"]] == [7, *(reroll_seed(7, n, fingerprint) for n in (1, 2))]
        assert row["rerolls"] == 2
        sidecar = sidecar_of(row["uri"])
        assert sidecar["request"]["parameters"]["seed"] == sidecar["seed"] == row["seed"]
        # All attempts are one request of the input, by which reuse finds the image.
        assert {sidecar_of(uri)["request"]["fingerprint"] for uri in row["rejected"]} == {
            row["fingerprint"]
        }

    def test_a_model_without_a_seed_is_asked_again_for_the_same(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        from airflow_provider_flux.batch.rejected import reroll
        from airflow_provider_flux.bfl.request import build_request

        request = build_request("my-model", {"prompt": "a fox"}, validate=False)
        assert reroll(request, 1, "f") is request

    def test_rerolls_leave_the_money_to_rows_that_were_not_tried(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        rows = [*prompts(3, BLANK), *prompts(3, start=3)]
        task = batch(tmp_path, rows, checks=["not_blank"], max_rerolls=5, max_cost=32, max_active=2)
        summary = task.retry()
        assert task.outcomes() == ["rejected"] * 3 + ["landed"] * 3
        assert (summary["credits"], summary["rerolls"]) == (32, 2)
        assert any(
            "It was not tried again: max_cost" in row["reason"] for row in task.manifest()[:3]
        )

    def test_a_balance_that_ends_rejects_the_row_and_the_batch_goes_on(
        self, connect: Any, tmp_path: Path
    ) -> None:
        with connected_emulator(connect, credits=16) as server:
            rows = [*prompts(1, BLANK), *prompts(2, start=1)]
            task = batch(tmp_path, rows, checks=["not_blank"], max_rerolls=5, max_active=1)
            summary = task.retry()
            assert (summary["landed"], summary["rejected"], summary["rerolls"]) == (2, 1, 1)
            assert server.stats()["submits"] == 4

    def test_a_batch_that_is_stopped_goes_on_with_the_next_seed(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        rows = prompts(4, "slow=0.6]] [[fault:blank=2")
        task = batch(tmp_path, rows, checks=["not_blank"], max_rerolls=2)
        with meanwhile(stop_after(emulator, task, 6)):
            task.fail(FluxBatchError)
        summary = task.retry()
        assert (summary["landed"], emulator.stats()["submits"]) == (4, 12)
        assert [row["rerolls"] for row in task.manifest()] == [2] * 4
        seeds = [
            [sidecar_of(uri)["seed"] for uri in row["rejected"]] + [row["seed"]]
            for row in task.manifest()
        ]
        assert all(len(set(tried)) == 3 for tried in seeds)


class TestDuplicates:
    def test_all_copies_but_the_first_are_rejected_and_name_the_first(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        rows = [*prompts(4), *prompts(4, "duplicate=always", start=4)]
        task = batch(tmp_path, rows, checks=["not_duplicate"])
        task.retry()
        counts = task.counts()
        assert counts == {"landed": 5, "rejected": 3}
        [first] = [row for row in task.manifest()[4:] if row["outcome"] == "landed"]
        for row in task.manifest():
            if row["outcome"] == "rejected":
                assert f"looks like that of row {first['key']!r}" in row["reason"]

    def test_a_later_try_knows_the_images_of_the_earlier_one(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        rows = prompts(2, "duplicate=always")
        task = batch(tmp_path, rows[:1], checks=["not_duplicate"])
        assert task.retry()["landed"] == 1
        assert task.cleared().retry(requests=rows)["rejected"] == 1
        assert emulator.stats()["submits"] == 2

    def test_an_image_that_lands_in_its_second_attempt_is_no_copy_of_itself(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from airflow_provider_flux.bfl.errors import FluxStorageError
        from airflow_provider_flux.landing import land

        write, failures = land.write_result, iter([True])

        async def fail_once(*arguments: Any) -> Any:
            if next(failures, False):
                raise FluxStorageError("the store is away")
            return await write(*arguments)

        monkeypatch.setattr(land, "write_result", fail_once)
        assert batch(tmp_path, prompts(1), checks=["not_duplicate"]).retry()["landed"] == 1


class TestFaults:
    def test_a_check_that_fails_is_the_problem_of_its_row_alone(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        rows = ["fox", "hang fox", "raise fox", "kill fox", "owl"]
        task = batch(
            tmp_path,
            rows,
            checks=["not_blank", f"{FUNCTIONS}.hang_if_asked"],
            check_timeout=4,
            max_rerolls=3,
        )
        summary = task.retry()
        assert task.outcomes() == ["landed", "rejected", "rejected", "rejected", "landed"]
        assert (summary["rerolls"], emulator.stats()["submits"]) == (0, 5)
        reasons = [row["reason"] for row in task.manifest()[1:4]]
        name = f"The check {FUNCTIONS}.hang_if_asked"
        assert reasons[0].startswith(f"{name} did not answer in 4 s. The image may be good.")
        assert reasons[1].startswith(f"{name} raised RuntimeError: asked to. The image may be")
        assert reasons[2].startswith(f"{name} ended its process by signal 9. The image may be")
        assert len(rejected_files(task)) == 3
        # A retry pays for none of them again. A clear does: the user has corrected the check.
        assert task.retry()["rejected"] == 3
        assert emulator.stats()["submits"] == 5
        assert [len(row["rejected"]) for row in task.manifest()[1:4]] == [1, 1, 1]
        assert task.cleared().retry(checks=["not_blank"])["landed"] == 5
        assert emulator.stats()["submits"] == 8

    def test_a_check_that_always_fails_stops_the_batch_before_it_has_paid_for_all_rows(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, prompts(60), checks=[f"{FUNCTIONS}.fail"], max_active=2)
        message = task.fail(AirflowFailException, "The checks of the last 1. images failed")
        assert "Correct the check, and clear the task." in message
        assert emulator.stats()["submits"] < 30

    def test_a_check_that_cannot_be_imported_costs_nothing(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, prompts(2), checks=["no_such_package.check"])
        with pytest.raises(AirflowFailException, match=r"no_such_package\.check cannot be"):
            task.retry()
        assert emulator.stats()["submits"] == 0

    def test_a_row_without_the_text_of_its_check_is_not_valid(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        rows = [{"prompt": "a fox", "key": "a"}, {"prompt": " ! ", "key": "b"}]
        pytest.importorskip("pytesseract")
        task = batch(tmp_path, rows, checks=[{"text": "prompt"}])
        with pytest.raises((AirflowFailException, FluxConfigurationError), match="text") as caught:
            task.retry()
        if "tesseract" not in str(caught.value):
            assert "checks: the column 'prompt' is missing or empty" in str(caught.value)
        assert emulator.stats()["submits"] == 0
