"""The money of a batch: what it counts as spent is what was accepted, whatever its input is now."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.bfl.errors import FluxBatchError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.ledger import journal_segments
from tests.support.batch_interruptions import meanwhile, stop_after
from tests.support.batch_tries import Batch, batch, prompts, quick

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")


def rows(*keys: str, fault: str = "", **more: object) -> list[dict[str, object]]:
    """Return a row for each key, at 4 credits each."""
    script = f" [[fault:{fault}]]" if fault else ""
    return [{"key": key, "prompt": f"fox {key}{script}", **more} for key in keys]


class TestRowsThatLeft:
    def test_max_cost_counts_rows_that_left_the_input(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        """Fault 12: rows d, e and f were paid although a, b and c had used up the limit."""
        task = batch(tmp_path, rows("a", "b", "c"), max_cost=12)
        assert task.retry()["credits"] == 12
        message = task.fail(AirflowFailException, "^FluxBudgetError", requests=rows("d", "e", "f"))
        assert "12 credits were spent by earlier tries" in message
        assert emulator.stats()["submits"] == 3
        summary = task.retry(max_cost=24)
        assert (summary["landed"], summary["credits"], summary["credits_gone_rows"]) == (3, 24, 12)
        assert emulator.stats()["credits_spent"] == 24

    def test_max_cost_counts_rows_that_are_not_valid_any_more(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        """Fault 12: an earlier submit of a row that is invalid now was forgotten, too."""
        task = batch(tmp_path, rows("a", "b"), max_cost=8, on_invalid_row="skip", max_failed=None)
        task.retry()
        broken = [*rows("a", "b", width="wide"), *rows("c")]
        task.fail(AirflowFailException, "^FluxBudgetError", requests=broken)
        summary = task.retry(max_cost=12)
        assert (summary["credits"], summary["credits_gone_rows"]) == (12, 8)
        assert emulator.stats()["credits_spent"] == 12

    def test_lost_answers_of_rows_that_left_the_input_count_as_possibly_spent(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        """Fault 12: uncertain submits of rows that are gone count, and are reported apart."""
        task = batch(tmp_path, rows("a", "b", fault="submit-lost"), max_failed=None)
        task.retry()
        summary = task.retry(requests=rows("c"))
        assert (summary["credits"], summary["credits_uncertain"]) == (12, 8)
        assert (summary["uncertain_submits"], summary["credits_wasted"]) == (2, 8)
        task.fail(
            AirflowFailException,
            r"12 credits \(8 of them possibly\) were spent",
            requests=rows("d"),
            max_cost=12,
        )


class TestUnknownPrices:
    def test_max_cost_refuses_rows_without_a_known_price(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        """Fault 12: the price of a model that is not in the price list counted as 0."""
        unknown = rows("a", "b", model="flux-next")
        task = batch(tmp_path, [*unknown, *rows("c")], validate=False, max_cost=100)
        message = task.fail(AirflowFailException, "^FluxBudgetError: max_cost=100 cannot be kept")
        assert "key 'a': flux-next, key 'b': flux-next" in message
        assert "option [flux] models" in message
        assert emulator.stats()["submits"] == emulator.stats()["refused"] == 0

    def test_max_cost_refuses_a_fallback_without_a_known_price(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        """Fault 12: a fallback is a submit, too."""
        task = batch(tmp_path, rows("a", fallback_model="flux-next"), validate=False, max_cost=100)
        task.fail(AirflowFailException, "^FluxBudgetError: max_cost=100 cannot be kept")
        assert emulator.stats()["submits"] == 0

    def test_a_row_whose_price_stays_unknown_with_its_inputs_is_not_submitted(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        """Fault 12: the size of a video behind a URL is not known, so its price is not either."""
        video = {"key": "v", "model": "flux-tools/video-upscale-v1"}
        video |= {"input_video": "https://example.com/clip.mp4"}
        task = batch(tmp_path, [video, *rows("c")], max_cost=100, max_failed=1)
        task.arguments["defaults"] = {}
        assert task.retry()["invalid"] == 1
        assert "so max_cost=100 cannot be kept" in task.manifest()[0]["reason"]
        assert emulator.stats()["submits"] == 1


class TestUncertainRows:
    def test_a_stop_amid_a_submit_counts_it_as_possibly_billed(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        """Fault 21: rows whose answer was on its way were called pending, and cost nothing."""
        task = batch(tmp_path, rows("a", fault="submit-hang=5"), grace=0)
        with meanwhile(stop_after(emulator, task, 1)):
            task.fail(FluxBatchError)
        assert task.counts() == {"uncertain": 1}
        assert task.summary
        assert (task.summary["credits"], task.summary["credits_uncertain"]) == (4, 4)
        message = task.fail(AirflowFailException, "1 uncertain")
        assert "4 credits for all uncertain submits" in message
        assert "clear the task, or set on_uncertain='resubmit'" in message
        assert task.summary["credits"] == 4

    def test_uncertain_rows_do_not_fail_a_batch_that_may_go_on_without_them(
        self, emulator: EmulatorServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Fault 21: the log says what the rows possibly cost, and how to get their images."""
        task = batch(tmp_path, [*rows("a", fault="submit-lost"), *prompts(5)], max_failed=1)
        summary = task.retry()
        assert (summary["landed"], summary["uncertain"], summary["credits_uncertain"]) == (5, 1, 4)
        assert "5 of 6 rows have their image" in caplog.text
        assert task.cleared().retry(requests=[*rows("a"), *prompts(5)])["landed"] == 6


class TestIncompleteJournal:
    """Parts of the journal are deleted between two tries."""

    @pytest.fixture
    def task(self, emulator: EmulatorServer, tmp_path: Path) -> Batch:
        """A batch of two tries, each of which submitted a row."""
        task = batch(tmp_path, rows("a"))
        task.retry()
        task.retry(requests=rows("a", "b"))
        return task

    def _session(self, task: Batch, number: int) -> list[Path]:
        """Return the segments of a try."""
        return [
            path
            for path in task.segments()
            if json.loads(path.read_text().splitlines()[0])["owner"]["try_number"] == number
        ]

    def _is_refused(self, emulator: EmulatorServer, task: Batch) -> str:
        """Return the message with which each further try ends. None submits anything."""
        for _ in range(2):
            message = task.fail(AirflowFailException, "^FluxLedgerError: The journal .* incomplete")
        assert emulator.stats()["submits"] == 2
        return message

    def test_a_batch_whose_segments_are_gone_submits_nothing(
        self, emulator: EmulatorServer, task: Batch
    ) -> None:
        """Fault 20: owner.json stayed, and all rows were paid again without a word."""
        for path in task.segments():
            path.unlink()
        message = self._is_refused(emulator, task)
        assert "set on_clear='new' and clear the task, or remove the folder" in message
        task.cleared()
        self._is_refused(emulator, task)
        task.cleared()
        assert task.retry(on_clear="new")["landed"] == 2
        assert task.retry()["credits"] == 8
        assert emulator.stats()["submits"] == 4

    @pytest.mark.parametrize(("number", "keeps_owner"), [(1, True), (1, False), (2, True)])
    def test_a_batch_without_the_segments_of_one_try_submits_nothing(
        self, emulator: EmulatorServer, task: Batch, number: int, keeps_owner: bool
    ) -> None:
        """Fault 20: a later session, or the owner, names each session."""
        for path in self._session(task, number):
            path.unlink()
        if not keeps_owner:
            next(task.folder.glob("_flux/**/owner.json")).unlink()
        self._is_refused(emulator, task)

    def test_a_batch_without_owner_submits_nothing_twice(
        self, emulator: EmulatorServer, task: Batch
    ) -> None:
        next(task.folder.glob("_flux/**/owner.json")).unlink()
        assert task.retry()["credits"] == 8
        assert emulator.stats()["submits"] == 2

    def test_a_segment_that_ends_early_is_noticed(
        self, emulator: EmulatorServer, task: Batch
    ) -> None:
        """Fault 20: a segment that was cut between two lines could be read as a whole one."""
        (segment,) = self._session(task, 1)
        segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:1]))
        assert "3 of 3 entries of" in self._is_refused(emulator, task)

    def test_a_segment_cut_within_a_line_is_noticed(
        self, emulator: EmulatorServer, task: Batch
    ) -> None:
        (segment,) = self._session(task, 1)
        segment.write_bytes(segment.read_bytes()[:-20])
        task.fail(AirflowFailException, "FluxLedgerError: The journal .* cannot be read")
        assert emulator.stats()["submits"] == 2

    def test_an_unreadable_owner_never_counts_as_none(
        self, emulator: EmulatorServer, task: Batch
    ) -> None:
        next(task.folder.glob("_flux/**/owner.json")).write_text("")
        task.fail(AirflowFailException, "FluxLedgerError: .*owner.json cannot be read")
        assert emulator.stats()["submits"] == 2

    @pytest.mark.parametrize("which", [0, 1, -1])
    def test_each_segment_of_a_long_try_is_missed(
        self,
        emulator: EmulatorServer,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        which: int,
    ) -> None:
        """Fault 20: nothing followed the last segment of a try, so that nothing missed it."""
        monkeypatch.setattr(journal_segments, "SEGMENT_BYTES", 4096)
        task = batch(tmp_path, prompts(12))
        task.retry()
        segments = task.segments()
        assert len(segments) > 2
        segments[which].unlink()
        task.fail(AirflowFailException, "FluxLedgerError: The journal .* is incomplete")
        assert emulator.stats()["submits"] == 12

    def test_a_try_that_was_killed_at_its_claim_is_no_missing_part(
        self, emulator: EmulatorServer, task: Batch
    ) -> None:
        (segment,) = self._session(task, 2)
        lines = segment.read_text().splitlines(keepends=True)
        header = json.loads(lines[0])
        session = uuid.uuid4().hex
        header |= {"session": session, "is_closed": False, "entries": 0}
        (segment.parent / f"{session}.000000.jsonl").write_text(json.dumps(header) + "\n")
        assert task.retry()["landed"] == 2
        assert emulator.stats()["submits"] == 2
