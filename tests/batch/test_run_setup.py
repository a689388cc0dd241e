"""The setup of a batch: equal names, the claim of the journal, submits of earlier tries."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.batch import run_setup
from airflow_provider_flux.batch.execution.queue import _MAX_ROWS_PER_GROUP, RowQueue
from airflow_provider_flux.batch.report.counters import Counters
from airflow_provider_flux.batch.row_policy import RowPolicies
from airflow_provider_flux.batch.row_states import PendingRow
from airflow_provider_flux.batch.row_store import RowStore
from airflow_provider_flux.batch.run_setup import resume_earlier_tries
from airflow_provider_flux.bfl.errors import FluxBatchError, FluxRequestError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.ledger.journal import Journal
from airflow_provider_flux.ledger.journal_owner import claim_journal
from airflow_provider_flux.object_store.filesystem import open_path
from tests.support.batch_interruptions import meanwhile, stop_after
from tests.support.batch_rows import row_builder
from tests.support.batch_tries import Batch, batch, prompts, quick
from tests.support.journal_samples import WRITE_OPTIONS, new_intent, segment_header

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")


class TestNames:
    @pytest.fixture
    def task(self, tmp_path: Path) -> Batch:
        """A batch whose images are named by their fingerprint alone."""
        rows = ["a fox", "a hare", {"prompt": "a fox"}, {"prompt": "a fox", "seed": 1}]
        return batch(tmp_path, rows, output_path=f"{tmp_path}/out/{{fingerprint}}.{{ext}}")

    def test_equal_rows_with_one_name_fail_the_batch_before_it_submits(
        self, emulator: EmulatorServer, task: Batch
    ) -> None:
        message = task.fail(
            AirflowFailException, "^FluxRequestError: Nothing was submitted. 1 row is not valid"
        )
        assert "index 2" in message
        assert (
            "is the same request as index 0, and would get the same name. Add {key} to output_path"
            in message
        )
        assert emulator.stats()["submits"] == 0

    def test_equal_rows_with_one_name_are_invalid_with_on_invalid_row_skip(
        self, emulator: EmulatorServer, task: Batch
    ) -> None:
        summary = task.retry(on_invalid_row="skip")
        assert task.outcomes() == ["landed", "landed", "invalid", "landed"]
        assert (summary["invalid"], emulator.stats()["submits"]) == (1, 3)
        assert len({row["uri"] for row in task.manifest() if row["uri"]}) == 3

    def test_equal_rows_of_a_file_are_named_by_their_lines(
        self, emulator: EmulatorServer, task: Batch, tmp_path: Path
    ) -> None:
        (tmp_path / "rows.csv").write_text("prompt\na fox\na hare\na fox\n")
        message = task.fail(AirflowFailException, requests=f"{tmp_path}/rows.csv")
        assert "line 4" in message
        assert "is the same request as line 2" in message
        assert emulator.stats()["submits"] == 0

    def test_equal_rows_land_if_their_names_differ(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        name = f"{tmp_path}/out/{{fingerprint}}-{{index}}.{{ext}}"
        assert batch(tmp_path, ["a fox", "a fox"], output_path=name).retry()["landed"] == 2

    @pytest.mark.parametrize("name", ["{seed}", "{model}", "{seed}-{model}"])
    def test_an_output_path_that_is_the_same_for_all_rows_is_refused(
        self, emulator: EmulatorServer, tmp_path: Path, name: str
    ) -> None:
        task = batch(tmp_path, ["a fox"], output_path=f"{tmp_path}/out/{name}.{{ext}}")
        with pytest.raises(
            FluxRequestError, match=r"may be the same for all rows. Add \{key\} or \{index\}"
        ):
            task.retry()
        assert emulator.stats()["submits"] == 0


class TestClaim:
    """An earlier try that Airflow took for dead may be about to submit."""

    SECONDS = 0.4

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        monkeypatch.setattr(run_setup, "OWNER_CHECK_SECONDS", self.SECONDS)
        open_path(str(tmp_path))
        return f"{tmp_path}/hero.rows/"

    def _seconds_to_claim(self, tmp_path: Path, folder: str) -> float:
        store = RowStore(tmp_path / f"{uuid.uuid4().hex}.sqlite", row_builder())
        began = time.monotonic()
        resume_earlier_tries(
            store,
            Counters(0, 24),
            folder=folder,
            header=segment_header(session="b" * 32),
            write_options=WRITE_OPTIONS,
            policies=RowPolicies(),
        )
        store.close()
        return time.monotonic() - began

    def test_the_first_try_does_not_wait_for_an_owner(
        self, tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(run_setup, "OWNER_CHECK_SECONDS", 20.0)
        assert self._seconds_to_claim(tmp_path, folder) < 10

    def test_a_try_waits_for_an_earlier_owner_that_recorded_nothing(
        self, tmp_path: Path, folder: str
    ) -> None:
        claim_journal(folder, segment_header(session="a" * 32), WRITE_OPTIONS)
        assert self._seconds_to_claim(tmp_path, folder) >= self.SECONDS

    async def test_a_try_waits_for_an_earlier_owner_whose_journal_is_open(
        self, tmp_path: Path, folder: str
    ) -> None:
        await Journal(folder, segment_header(session="a" * 32), WRITE_OPTIONS).append(new_intent())
        assert await asyncio.to_thread(self._seconds_to_claim, tmp_path, folder) >= self.SECONDS

    async def test_a_try_does_not_wait_for_an_earlier_owner_that_ended(
        self, tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(run_setup, "OWNER_CHECK_SECONDS", 20.0)
        old = segment_header(session="a" * 32)
        await asyncio.to_thread(claim_journal, folder, old, WRITE_OPTIONS)
        journal = Journal(folder, old, WRITE_OPTIONS)
        await journal.append(new_intent())
        await journal.close()
        assert await asyncio.to_thread(self._seconds_to_claim, tmp_path, folder) < 10


class TestAbandoned:
    @pytest.fixture
    def task(self, emulator: EmulatorServer, tmp_path: Path) -> Batch:
        """A batch of four rows that were submitted and have not landed."""
        rows = [{"prompt": prompt, "key": f"k{n}"} for n, prompt in enumerate(prompts(4, "slow=1"))]
        task = batch(tmp_path, rows, grace=0)
        with meanwhile(stop_after(emulator, task, 4)):
            task.fail(FluxBatchError)
        return task

    def _warned(self, caplog: pytest.LogCaptureFixture) -> list[str]:
        messages = [
            record.getMessage() for record in caplog.records if record.levelno == logging.WARNING
        ]
        return [message for message in messages if "are not resumed" in message]

    def test_submits_of_changed_and_removed_rows_are_reported_as_abandoned(
        self, emulator: EmulatorServer, task: Batch, caplog: pytest.LogCaptureFixture
    ) -> None:
        ids = {row["key"]: row["request_id"] for row in task.manifest()}
        rows = task.arguments["requests"]
        changed = [{"prompt": "a hare", "key": "k0"}, rows[1], rows[2]]
        summary = task.retry(requests=changed)
        assert (summary["landed"], emulator.stats()["submits"]) == (3, 5)
        (message,) = self._warned(caplog)
        assert message.startswith(
            "2 images (8 credits) that earlier tries submitted have not landed"
        )
        assert all(f"{key}: {ids[key]}" in message for key in ("k0", "k3"))
        assert not any(ids[key] in message for key in ("k1", "k2"))

    def test_submits_before_a_clear_are_reported_as_abandoned_with_on_clear_new(
        self, emulator: EmulatorServer, task: Batch, caplog: pytest.LogCaptureFixture
    ) -> None:
        ids = [row["request_id"] for row in task.manifest()]
        # max_cost counts from the clear on.
        summary = task.cleared().retry(on_clear="new", max_cost=16)
        assert (summary["landed"], summary["credits"], emulator.stats()["submits"]) == (4, 16, 8)
        (message,) = self._warned(caplog)
        assert message.startswith("4 images (16 credits) that earlier tries submitted")
        assert all(request_id in message for request_id in ids)

    def test_resumed_submits_are_not_reported_as_abandoned(
        self, emulator: EmulatorServer, task: Batch, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert task.retry()["landed"] == emulator.stats()["submits"] == 4
        assert self._warned(caplog) == []

    def test_a_clear_with_on_clear_new_submits_no_moderated_prompt_again(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, [*prompts(2), *prompts(2, "moderated", start=2)])
        task.retry()
        task.cleared().retry(on_clear="new")
        assert task.outcomes() == ["landed", "landed", "moderated", "moderated"]
        assert sorted(emulator.stats()["submits_per_prompt"].values()) == [1, 1, 2, 2]


class TestFallbackOfARetry:
    """The rows were moderated in the first try. The second has a fallback of another model."""

    @pytest.fixture
    def task(self, emulator: EmulatorServer, tmp_path: Path) -> Batch:
        task = batch(tmp_path, prompts(60, "moderated"), max_active=24)
        task.retry()
        assert task.counts() == {"moderated": 60}
        task.arguments["defaults"] = {"width": 256, "height": 256, "fallback_prompt": "a hare"}
        task.arguments["defaults"]["fallback_model"] = "flux-2-pro"
        return task

    def test_a_fallback_of_another_model_is_estimated_by_its_own_price(
        self, emulator: EmulatorServer, task: Batch
    ) -> None:
        task.fail(AirflowFailException, "expected to cost 180 credits", max_cost=179)
        summary = task.retry(max_cost=180)
        assert (summary["landed"], summary["credits"], summary["credits_expected"]) == (
            60,
            180,
            180,
        )
        assert emulator.stats()["submits_per_model"] == {"flux-pro-1.1": 60, "flux-2-pro": 60}

    def test_only_a_few_rows_are_in_memory_at_a_time(
        self, emulator: EmulatorServer, task: Batch, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        take, most = RowQueue.take, [0]

        def watched(self: RowQueue, can_submit: Any) -> PendingRow | None:
            row = take(self, can_submit)
            most[0] = max(most[0], self.rows_in_memory)
            return row

        monkeypatch.setattr(RowQueue, "take", watched)
        assert task.retry(max_active=2)["landed"] == 60
        assert 0 < most[0] <= _MAX_ROWS_PER_GROUP + _MAX_ROWS_PER_GROUP // 2
