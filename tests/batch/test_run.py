"""What a batch needs around it: its stores, its journal, its manifest; and whether its figures add up."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from airflow_provider_flux.batch.report.counters import ALL_OUTCOMES
from airflow_provider_flux.bfl.errors import FluxBatchError, FluxStorageError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.object_store import objects
from tests.batch.execution.test_engine import meanwhile, stop_after, until
from tests.support.answering_proxy import AnsweringProxy
from tests.support.batch_tries import Batch, batch, prompts, quick
from tests.support.cutting_proxy import CuttingProxy
from tests.support.object_stores import S3Store, s3_connection
from tests.support.sample_media import picture

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")


class Bucket:
    """A folder in S3, behind a proxy that refuses what a test wants refused."""

    def __init__(self, store: S3Store, proxy: AnsweringProxy, conn_id: str) -> None:
        self.store, self.proxy = store, proxy
        self.root = store.root_by(conn_id)

    def batch(self, requests: Any, **arguments: Any) -> Batch:
        """Return a batch that lands here."""
        return Batch(
            {"requests": requests, "output_path": f"{self.root}/out/{{key}}.{{ext}}", **arguments}
        )

    def read(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of an object."""
        return [
            json.loads(line)
            for line in (self.store.read(f"{self.store.root}/{name}") or b"").splitlines()
        ]

    def outcomes(self) -> list[str]:
        """Return what became of the rows."""
        return [row["outcome"] for row in self.read("out/manifest-hero.jsonl")]


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A folder in S3; a store that refuses is given up soon."""
    monkeypatch.setattr(objects, "_PATIENCE", 0.1)
    store = S3Store(s3)
    store.make_bucket()
    with AnsweringProxy(s3) as proxy:
        conn_id = f"proxied_{uuid.uuid4().hex[:8]}"
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", s3_connection(proxy.url))
        yield Bucket(store, proxy, conn_id)


class TestStore:
    def test_images_that_cannot_be_written_for_a_moment_are_written_later(
        self, emulator: EmulatorServer, bucket: Bucket
    ) -> None:
        bucket.proxy.refuse("PUT", 403, "AccessDenied", part=".jpeg", times=4)
        assert bucket.batch(prompts(6)).retry()["landed"] == emulator.stats()["submits"] == 6

    def test_images_that_cannot_be_written_are_collected_by_the_retry(
        self, emulator: EmulatorServer, bucket: Bucket
    ) -> None:
        for key in (1, 4):
            bucket.proxy.refuse("PUT", 403, "AccessDenied", part=f"/{key}.jpeg", times=4)
        task = bucket.batch(prompts(6))
        task.fail(FluxBatchError, r"2 of 6 rows have no image \(2 submitted\)")
        assert task.summary
        assert (task.summary["landed"], task.summary["submitted"]) == (4, 2)
        assert (task.summary["credits"], task.summary["credits_wasted"]) == (24, 0)
        left = [
            row for row in bucket.read("out/manifest-hero.jsonl") if row["outcome"] == "submitted"
        ]
        assert [row["key"] for row in left] == ["1", "4"]
        assert all(
            "It is paid for: a retry, or `airflow flux recover`, resumes it" in row["reason"]
            for row in left
        )
        assert all(row["cost"] == 4 for row in left)
        assert task.retry()["landed"] == emulator.stats()["submits"] == 6

    def test_a_store_that_is_down_gets_no_more_images_than_are_in_flight(
        self, emulator: EmulatorServer, bucket: Bucket
    ) -> None:
        bucket.proxy.refuse("PUT", 403, "AccessDenied", part=".jpeg", times=999)
        task = bucket.batch(prompts(30), max_active=4)
        task.fail(FluxStorageError, "could not be written")
        paid = emulator.stats()["submits"]
        assert 3 <= paid < 30
        assert task.summary
        assert (task.summary["submitted"], task.summary["pending"]) == (paid, 30 - paid)
        bucket.proxy._plans.clear()
        assert task.retry()["landed"] == emulator.stats()["submits"] == 30

    def test_names_that_are_taken_are_no_trouble_of_the_store(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        """There is somebody else's image where the first four are to land, once they are paid for."""
        task = batch(tmp_path, prompts(16, "slow=0.5"), max_active=4, if_exists="error")
        taken = [task.folder / f"{key}.jpeg" for key in range(4)]

        def act() -> None:
            until(lambda: emulator.stats()["submits"] >= 4)
            for path in taken:
                path.write_bytes(picture())

        with meanwhile(act):
            task.fail(FluxBatchError, r"4 of 16 rows have no image \(4 submitted\)")
        assert task.counts() == {"submitted": 4, "landed": 12}
        assert all(path.read_bytes() == picture() for path in taken)

    def test_images_that_are_refused_for_their_looks_end_nothing_else(
        self, emulator: EmulatorServer, bucket: Bucket
    ) -> None:
        """They are fetched once, and stay to be had, with another argument."""
        task = bucket.batch(prompts(5, "wrong-size"), on_mismatch="fail")
        task.fail(FluxBatchError, r"5 of 5 rows have no image \(5 submitted\)")
        assert emulator.stats()["downloads"] == 5
        assert task.retry(on_mismatch="warn")["landed"] == emulator.stats()["submits"] == 5

    def test_without_a_journal_nothing_is_submitted(
        self, emulator: EmulatorServer, bucket: Bucket
    ) -> None:
        for part in ("owner.json", ".000000.jsonl"):
            bucket.proxy.refuse("PUT", 403, "AccessDenied", part=part, times=999)
            task = bucket.batch(prompts(6))
            task.fail(FluxStorageError, r"\.rows/.* could not be written")
            assert emulator.stats()["submits"] == 0
            bucket.proxy._plans.clear()
        assert bucket.outcomes() == ["pending"] * 6
        assert task.retry()["landed"] == emulator.stats()["submits"] == 6

    def test_a_journal_that_fails_in_the_middle(
        self, emulator: EmulatorServer, bucket: Bucket
    ) -> None:
        task = bucket.batch(prompts(24, "slow=0.3"), max_active=4)

        def act() -> None:
            until(lambda: emulator.stats()["submits"] >= 8)
            bucket.proxy.refuse("PUT", 403, "AccessDenied", part=".rows/", times=999)

        with meanwhile(act):
            task.fail(FluxStorageError, r"\.rows/.* could not be written")
        paid = emulator.stats()["submits"]
        assert 8 <= paid < 24
        assert task.summary
        assert task.summary["landed"] == paid
        bucket.proxy._plans.clear()
        done = task.cleared().retry(max_failed=None)
        known = done["landed"] - (24 - paid)
        assert done["landed"] == 24
        assert emulator.stats()["submits"] == 24 + done["uncertain_submits"]
        assert known >= paid - 8

    def test_a_store_that_is_gone_for_a_while(
        self, emulator: EmulatorServer, s3: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What was submitted and could not be written down is uncertain; all else is collected, or paid for once."""
        monkeypatch.setattr(objects, "_PATIENCE", 0.1)
        store = S3Store(s3)
        store.make_bucket()
        with CuttingProxy(s3) as proxy:
            conn_id = f"cut_{uuid.uuid4().hex[:8]}"
            connection = json.loads(s3_connection(proxy.url))
            connection["extra"]["config_kwargs"] = {"retries": {"max_attempts": 0}}
            monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
            path = f"{store.root_by(conn_id)}/out/{{key}}.{{ext}}"
            task = Batch(
                {"requests": prompts(24, "slow=0.4"), "output_path": path, "max_active": 4}
            )

            def act() -> None:
                until(lambda: emulator.stats()["submits"] >= 8)
                proxy.stop()

            with meanwhile(act):
                task.fail(FluxStorageError)
            paid = emulator.stats()["submits"]
            assert 8 <= paid <= 16
            proxy.start()
            summary = task.retry(max_failed=None)
            assert summary["landed"] + summary["uncertain"] == emulator.stats()["submits"] == 24
            assert summary["uncertain"] <= 4

    def test_a_folder_that_may_not_be_written(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("no folder")
        task = batch(tmp_path, prompts(2), ledger_path=f"{tmp_path}/file")
        task.fail(FluxStorageError)
        assert emulator.stats()["submits"] == 0


class TestJournal:
    def _stopped(self, emulator: EmulatorServer, tmp_path: Path) -> Batch:
        task = batch(tmp_path, prompts(6, "slow=1"), grace=0)
        with meanwhile(stop_after(emulator, task, 6)):
            task.fail(FluxBatchError)
        return task

    @pytest.mark.parametrize("damage", ["cut", "version", "foreign"])
    def test_what_cannot_be_read_is_not_paid_for_again(
        self, emulator: EmulatorServer, tmp_path: Path, damage: str
    ) -> None:
        task = batch(tmp_path, prompts(3))
        task.retry()
        (segment,) = task.segments()
        data = segment.read_bytes()
        damaged = {
            "cut": data[: len(data) // 2],
            "version": data.replace(b'"schema_version":1', b'"schema_version":2'),
            "foreign": b"<html>",
        }
        segment.write_bytes(damaged[damage])
        said = task.fail(AirflowFailException, "^FluxLedgerError: The journal .* cannot be read")
        assert segment.name in said
        assert emulator.stats()["submits"] == 3
        segment.unlink()
        assert task.retry()["landed"] == 3
        assert emulator.stats()["submits"] == 6

    @pytest.mark.parametrize("which", [0, 3])
    def test_a_missing_segment_is_noticed(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: int
    ) -> None:
        from airflow_provider_flux.ledger import journal

        monkeypatch.setattr(journal, "SEGMENT_BYTES", 2000)
        task = batch(tmp_path, prompts(16), max_active=4)
        task.retry()
        segments = task.segments()
        assert len(segments) > 4
        segments[which].unlink()
        task.fail(AirflowFailException, f"^FluxLedgerError: .*{segments[which].name}.* is missing")
        assert emulator.stats()["submits"] == 16

    def test_an_old_try_that_lives_stops_when_a_new_one_comes(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It was taken for dead. Both land what is in flight, and nothing is paid for twice."""
        from airflow_provider_flux.batch import run_setup
        from airflow_provider_flux.ledger import journal

        for module in (journal, run_setup):
            monkeypatch.setattr(module, "OWNER_CHECK_SECONDS", 0.5)
        rows = prompts(24, "slow=0.4")
        old, new = batch(tmp_path, rows, max_active=4), batch(tmp_path, rows, max_active=4)
        new.started, new.try_number = old.started, 1
        done: list[Any] = []

        def act() -> None:
            until(lambda: emulator.stats()["submits"] >= 8)
            done.append(new.retry(max_failed=None))

        with meanwhile(act):
            old.fail(
                AirflowFailException, "^FluxLedgerError: A later try of this task has taken over"
            )
        assert done[0]["landed"] + done[0]["uncertain"] == 24
        assert emulator.stats()["submits"] <= 24 + done[0]["uncertain_submits"]
        per_prompt = emulator.stats()["submits_per_prompt"]
        assert max(per_prompt.values()) == 1

    def test_a_try_that_was_taken_over_writes_no_manifest_any_more(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from airflow_provider_flux.ledger import journal

        monkeypatch.setattr(journal, "OWNER_CHECK_SECONDS", 0.0)
        task = batch(tmp_path, prompts(24, "slow=0.4"), max_active=4)
        manifest = task.folder / "manifest-hero.jsonl"

        def act() -> None:
            until(lambda: emulator.stats()["submits"] >= 4)
            (segment,) = task.segments()
            (segment.parent / "owner.json").write_text('{"session": "a later one"}')
            manifest.write_text("of a later try")

        with meanwhile(act):
            task.fail(
                AirflowFailException, "^FluxLedgerError: A later try of this task has taken over"
            )
        assert emulator.stats()["submits"] < 24
        assert manifest.read_text() == "of a later try"

    def test_a_try_that_was_killed_leaves_uncertain_rows_only_where_it_had_to(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = self._stopped(emulator, tmp_path)
        phases = [note["phase"] for note in task.notes()]
        assert phases.count("intent") == phases.count("submitted") == 6


class TestManifest:
    def test_parquet(self, emulator: EmulatorServer, tmp_path: Path) -> None:
        rows = [*prompts(3), *prompts(1, "moderated", 3)]
        task = batch(tmp_path, rows, manifest_path=f"{tmp_path}/m/manifest.parquet")
        assert task.retry()["manifest"] == f"{tmp_path}/m/manifest.parquet"
        found = pq.read_table(f"{tmp_path}/m/manifest.parquet").to_pylist()
        assert [row["index"] for row in found] == [0, 1, 2, 3]
        assert [row["outcome"] for row in found] == ["landed"] * 3 + ["moderated"]
        for row in found[:3]:
            assert hashlib.sha256(Path(row["uri"]).read_bytes()).hexdigest() == row["sha256"]
            assert isinstance(row["seconds"], float)
        assert found[3]["uri"] is None

    def test_it_is_written_while_the_batch_works(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        seen: list[dict[str, int]] = []
        task = batch(tmp_path, prompts(9, "slow=0.8"), max_active=3, manifest_interval=1)

        def act() -> None:
            until(lambda: (task.folder / "manifest-hero.jsonl").exists())
            while task.summary is None and len(seen) < 500:
                time.sleep(0.02)
                seen.append(task.counts())
                assert sum(seen[-1].values()) == 9

        with meanwhile(act):
            task.retry()
        assert any(counts.get("landed") and counts.get("pending") for counts in seen)
        assert task.counts() == {"landed": 9}
        assert not list(task.folder.glob(".*"))

    def test_one_that_cannot_be_written_now_is_written_by_the_retry(
        self, emulator: EmulatorServer, bucket: Bucket
    ) -> None:
        bucket.proxy.refuse("PUT", 403, "AccessDenied", part="manifest", times=99)
        task = bucket.batch(prompts(3))
        task.fail(FluxStorageError, r"manifest-hero.jsonl could not be written")
        assert bucket.outcomes() == []
        bucket.proxy._plans.clear()
        assert task.retry()["landed"] == emulator.stats()["submits"] == 3
        assert bucket.outcomes() == ["landed"] * 3

    def test_one_that_fails_at_the_end_does_not_hide_why_the_batch_has_ended(
        self, emulator: EmulatorServer, bucket: Bucket
    ) -> None:
        bucket.proxy.refuse("PUT", 403, "AccessDenied", part="manifest", times=99)
        task = bucket.batch([*prompts(1, "poll-403"), *prompts(29, start=1)], max_active=4)
        task.fail(AirflowFailException, "^FluxAuthenticationError: BFL refused the API key")
        assert task.summary
        assert task.summary["submitted"] == 1
        assert task.summary["landed"] + 1 == emulator.stats()["submits"]

    def test_a_checkpoint_that_fails_does_not_end_the_batch(
        self, emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The disk of this machine is full, on which it is put together."""
        from airflow_provider_flux.batch import run_loop

        write, tried = run_loop.write_manifest, list[int]()

        def full(*arguments: Any) -> None:
            tried.append(1)
            if len(tried) == 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            write(*arguments)

        monkeypatch.setattr(run_loop, "write_manifest", full)
        task = batch(tmp_path, prompts(9, "slow=0.8"), max_active=3, manifest_interval=1)
        assert task.retry()["landed"] == emulator.stats()["submits"] == 9
        assert len(tried) >= 2
        assert task.counts() == {"landed": 9}

    def test_there_is_one_of_rows_that_were_refused_for_the_money(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = batch(tmp_path, prompts(2), max_cost=1)
        task.fail(AirflowFailException, "FluxBudgetError")
        assert not (task.folder / "manifest-hero.jsonl").exists()


FATES = [
    "",
    "moderated",
    "error",
    "lost",
    "submit-lost",
    "submit-503-made",
    "detail-object",
    "poll-500=2",
    "cut",
]


@settings(
    max_examples=3,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**32))
@example(seed=635)  # gives up amid answers that are lost
def test_the_figures_add_up(emulator: EmulatorServer, tmp_path: Path, seed: int) -> None:
    emulator.reset()
    chance = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for number in range(20):
        fault, model = chance.choice(FATES), chance.choice(["flux-pro-1.1", "flux-2-pro"])
        row = {"prompt": f"fox {number}{f' [[fault:{fault}]]' if fault else ''}", "model": model}
        rows.append(row | ({"fallback_prompt": f"good {number}"} if chance.random() < 0.3 else {}))
    task = batch(tmp_path / uuid.uuid4().hex, rows, max_failed=None, on_invalid_row="skip")
    task.arguments["on_uncertain"] = chance.choice(["fail", "resubmit"])
    prices = {"flux-pro-1.1": 4.0, "flux-2-pro": 3.0}
    for attempt in range(2):
        with suppress(
            AirflowFailException, FluxBatchError
        ):  # so many answers in a row are lost that it gives up
            task.retry()
        summary, manifest = task.summary, task.manifest()
        assert summary
        assert {name: summary[name] for name in ALL_OUTCOMES if summary[name]} == task.counts()
        assert sum(summary[name] for name in ALL_OUTCOMES) == summary["rows"] == len(rows)
        unknown = sum(row["uncertain_submits"] * prices[row["model"]] for row in manifest)
        lost = sum(row["cost"] for row in manifest if row["outcome"] == "lost")
        assert summary["uncertain_submits"] == sum(row["uncertain_submits"] for row in manifest)
        assert summary["credits"] == pytest.approx(
            unknown + sum(row["cost"] or 0 for row in manifest)
        )
        assert summary["credits_wasted"] == pytest.approx(unknown + lost)
        assert summary["credits"] == pytest.approx(
            summary["credits_reported"] + summary["credits_estimated"]
        )
        reported = sum(row["cost"] for row in manifest if row["cost_source"] == "reported")
        assert summary["credits_reported"] == pytest.approx(reported)
        assert emulator.stats()["credits_spent"] == pytest.approx(summary["credits"]), attempt


def test_progress_is_kept_in_the_task_state_store(emulator: EmulatorServer, tmp_path: Path) -> None:
    kept: dict[str, Any] = {}

    class Store:
        def set(self, key: str, value: Any) -> None:
            kept[key] = json.loads(json.dumps(value))

    for rows in (prompts(4), [*prompts(4), {"prompt": "a fox", "width": "wide"}, ""]):
        task = batch(tmp_path, rows, on_invalid_row="skip")
        context = {**task.context(), "task_state_store": Store()}
        task.new_operator().execute(context)
        assert kept["flux.progress"]["done"] == kept["flux.progress"]["rows"] == len(rows)
        assert kept["flux.progress"]["images"] == 4


def test_a_batch_within_a_running_loop(emulator: EmulatorServer, tmp_path: Path) -> None:
    async def main() -> dict[str, Any]:
        return batch(tmp_path, prompts(2)).retry()

    assert asyncio.run(main())["landed"] == 2
