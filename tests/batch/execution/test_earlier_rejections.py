"""Nights after one in which checks rejected images: what is paid again, and what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.emulator import EmulatorServer
from tests.support.batch_tries import quick
from tests.support.nightly import NightlyBatch, nightly, products

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")
FUNCTIONS = "tests.support.check_functions"


def blank_rows(text: str = "fox") -> list[dict[str, Any]]:
    """Return one row whose images are always blank."""
    return products("a", text=f"{text} [[fault:blank=always]]")


@pytest.fixture
def task(emulator: EmulatorServer, tmp_path: Path) -> NightlyBatch:
    """Return a batch after a night in which both attempts at its row were rejected."""
    task = nightly(tmp_path, blank_rows(), checks=["not_blank"], max_rerolls=1)
    assert task.next_night()["rejected"] == 1
    assert emulator.stats()["submits"] == 2
    return task


class TestFind:
    def test_the_next_nights_pay_nothing_for_a_row_whose_attempts_are_used_up(
        self, emulator: EmulatorServer, task: NightlyBatch
    ) -> None:
        images = task.manifest()[0]["rejected"]
        assert not task.plan().pays
        for _ in range(2):
            summary = task.next_night()
            assert (summary["rejected"], summary["credits"], summary["new"]) == (1, 0, 0)
            [row] = task.manifest()
            assert (row["outcome"], row["rejected"], row["rerolls"]) == ("rejected", images, 1)
            assert "not_blank: The image is flat" in row["reason"]
            assert "an earlier run tried this row 2 times" in row["reason"]
        assert emulator.stats()["submits"] == 2

    def test_a_night_with_more_rerolls_goes_on_with_the_next_seed(
        self, emulator: EmulatorServer, task: NightlyBatch
    ) -> None:
        summary = task.next_night(max_rerolls=2)
        assert (summary["rejected"], summary["credits"], summary["rerolls"]) == (1, 4, 0)
        images = task.manifest()[0]["rejected"]
        sidecars = [json.loads(Path(f"{uri}.json").read_text()) for uri in images]
        assert len({sidecar["seed"] for sidecar in sidecars}) == 3
        assert emulator.stats()["submits"] == 3
        assert task.next_night()["credits"] == 0

    @pytest.mark.parametrize(
        "changes",
        [
            {"requests": blank_rows("owl")},
            {"checks": ["not_blank", f"{FUNCTIONS}.accept_by_bool"], "reuse": "run"},
            {"checks": [f"{FUNCTIONS}.accept_by_bool"]},
        ],
        ids=["another request", "no reuse of earlier runs", "without the check"],
    )
    def test_a_row_is_tried_again_if_its_rejection_does_not_count_any_more(
        self, emulator: EmulatorServer, task: NightlyBatch, changes: dict[str, Any]
    ) -> None:
        task.next_night(**changes)
        assert emulator.stats()["submits"] > 2

    def test_a_row_whose_rejected_image_was_deleted_is_tried_again(
        self, emulator: EmulatorServer, task: NightlyBatch
    ) -> None:
        for uri in task.manifest()[0]["rejected"]:
            Path(uri).unlink()
            Path(f"{uri}.json").unlink()
        task.next_night()
        assert emulator.stats()["submits"] == 4

    def test_a_manifest_that_names_images_elsewhere_keeps_no_row_back(
        self, emulator: EmulatorServer, task: NightlyBatch, tmp_path: Path
    ) -> None:
        [row] = task.manifest()
        image = Path(row["rejected"][-1])
        outside = tmp_path / "a.jpeg"
        for suffix in ("", ".json"):
            Path(f"{outside}{suffix}").write_bytes(Path(f"{image}{suffix}").read_bytes())
        row["rejected"] = [str(outside), f"{task.folder}/../a.jpeg"]
        (task.folder / "manifest-hero.jsonl").write_text(json.dumps(row) + "\n")
        task.next_night()
        assert emulator.stats()["submits"] == 4

    def test_a_killed_try_with_more_rerolls_pays_for_no_known_seed_again(
        self, emulator: EmulatorServer, task: NightlyBatch
    ) -> None:
        before = (task.folder / "manifest-hero.jsonl").read_text()
        task.next_night(max_rerolls=2)
        (task.folder / "manifest-hero.jsonl").write_text(before)  # it was not written any more
        assert task.retry(max_rerolls=2)["rejected"] == 1
        assert emulator.stats()["submits"] == 3
        [row] = task.manifest()
        assert (len(row["rejected"]), row["rerolls"]) == (3, 2)

    def test_the_next_nights_pay_nothing_for_a_row_whose_fallback_was_rejected(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        row = {
            **{"key": "a", "prompt": "fox [[fault:moderated]]"},
            "fallback_prompt": "owl [[fault:blank=always]]",
        }
        task = nightly(tmp_path, [row], checks=["not_blank"])
        assert task.next_night()["rejected"] == 1
        submits = emulator.stats()["submits"]
        assert not task.plan().pays
        for _ in range(2):
            summary = task.next_night()
            assert (summary["rejected"], summary["credits"]) == (1, 0)
        assert emulator.stats()["submits"] == submits
        task.next_night(requests=[{**row, "prompt": "cat [[fault:moderated]]"}])
        assert emulator.stats()["submits"] == submits + 2

    def test_a_planted_reason_is_one_short_line(
        self, task: NightlyBatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        file = Path(f"{task.manifest()[0]['rejected'][-1]}.json")
        sidecar = json.loads(file.read_text())
        sidecar["rejection"]["reason"] = "x\nINFO - paid\x1b[2J" + "y" * 9000
        file.write_text(json.dumps(sidecar))
        task.next_night()
        reason = task.manifest()[0]["reason"]
        assert len(reason) < 1000
        assert "is rejected: x INFO - paid" in caplog.text
        assert "\x1b" not in caplog.text

    def test_an_image_whose_check_failed_is_tried_again_in_the_next_night(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = nightly(tmp_path, products("a"), checks=[f"{FUNCTIONS}.fail"])
        task.next_night()
        task.next_night()
        assert emulator.stats()["submits"] == 2
