"""Readings of the balance: kept below ``account_path``, and never in the way of a batch."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_provider_flux.account import readings
from airflow_provider_flux.account.folder import AccountFolder, account_folder
from airflow_provider_flux.account.readings import (
    KEEP_DAYS,
    Reading,
    ReadingStore,
    choose_evenly,
)
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.hooks.flux import FluxHook
from tests.conftest import KEY
from tests.support.batch_tries import batch, emulated, prompts, quick
from tests.support.object_stores import Store

__all__ = ["emulated", "quick"]

pytestmark = pytest.mark.usefixtures("quick")

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
Emulated = Callable[..., EmulatorServer]


def reading(moment: datetime, credits_: float = 1.0) -> Reading:
    return Reading(credits=credits_, asked_at=moment, answered_at=moment, source="command")


@pytest.fixture
def kept(emulated: Emulated, tmp_path: Path) -> ReadingStore:
    emulated(extra={"account_path": f"{tmp_path}/account"})
    folder = account_folder(FluxHook().settings)
    assert folder is not None
    return ReadingStore(folder)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("account/_flux_account/*/readings/*/*.json"))


class TestBatches:
    def test_a_batch_reads_the_balance_before_its_first_submit_and_at_its_end(
        self, emulated: Emulated, tmp_path: Path
    ) -> None:
        emulated(extra={"account_path": f"{tmp_path}/account"})
        batch(tmp_path, prompts(3)).retry()
        found = [json.loads(path.read_text()) for path in files(tmp_path)]
        assert [(item["credits"], item["source"]) for item in found] == [
            (1000, "batch start"),
            (988, "batch end"),
        ]
        assert not any(KEY in str(path) or KEY in path.read_text() for path in files(tmp_path))

    def test_a_batch_without_account_path_keeps_no_reading(
        self, emulated: Emulated, tmp_path: Path
    ) -> None:
        emulated()
        batch(tmp_path, prompts(1)).retry()
        assert files(tmp_path) == []

    @pytest.mark.parametrize("cause", ["the store", "the service"])
    def test_a_reading_that_fails_does_not_fail_the_batch(
        self,
        cause: str,
        emulated: Emulated,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        emulated(extra={"account_path": f"{tmp_path}/account"})
        if cause == "the store":
            folder = account_folder(FluxHook().settings)
            assert folder is not None
            Path(folder.uri("readings")).write_text("no folder")
        else:
            monkeypatch.setattr(
                readings, "read_balance", lambda *_, **__: json.loads("an answer that is no JSON")
            )
        assert batch(tmp_path, prompts(2)).retry()["landed"] == 2
        assert "The balance could not be recorded" in caplog.text


class TestStore:
    def test_a_period_begins_at_the_last_reading_before_it(self, kept: ReadingStore) -> None:
        moments = [NOON + timedelta(hours=hours) for hours in range(6)]
        for moment in reversed(moments):
            kept.add(reading(moment))
        since, until = NOON + timedelta(minutes=150), NOON + timedelta(minutes=270)
        found = kept.read_with_last_before(since, until)
        assert [item.asked_at for item in found] == moments[2:5]
        assert len(kept.read_with_last_before(NOON, until)) == 5

    def test_what_is_no_reading_is_skipped(self, kept: ReadingStore, tmp_path: Path) -> None:
        for hours, content in enumerate(("{}", "[" * 5000, '{"credits": NaN}', "x" * 9000)):
            kept.add(reading(NOON + timedelta(hours=hours)))
            files(tmp_path)[-1].write_text(content)
        kept.add(reading(NOON + timedelta(hours=5), 7))
        (files(tmp_path)[0].parent / "notes.txt").write_text("by a person")
        (found,) = kept.read_with_last_before(NOON, NOON + timedelta(days=1))
        assert found.credits == 7

    def test_old_readings_are_removed(self, kept: ReadingStore, tmp_path: Path) -> None:
        now = NOON + timedelta(days=KEEP_DAYS)
        for days in (-1, 0, 1):
            kept.add(reading(NOON + timedelta(days=days)))
        assert kept.prune(now) == 1
        assert len(files(tmp_path)) == 2


def test_readings_are_listed_read_and_removed_in_each_kind_of_store(store: Store) -> None:
    readings_of_store = ReadingStore(AccountFolder(f"{store.root}/account"))
    now = NOON + timedelta(days=KEEP_DAYS)
    for days in (-1, 1, 2):
        readings_of_store.add(reading(NOON + timedelta(days=days), days + 1))
    assert readings_of_store.prune(now) == 1
    found = readings_of_store.read_with_last_before(NOON, now)
    assert [item.credits for item in found] == [2, 3]


@pytest.mark.parametrize("count", [2, 3, 7, 99])
def test_of_many_readings_the_first_and_the_last_one_count(count: int) -> None:
    items = [str(number) for number in range(100)]
    chosen = choose_evenly(items, count)
    assert len(set(chosen)) == len(chosen) == count
    assert (chosen[0], chosen[-1]) == ("0", "99")
    assert choose_evenly(items, 200) == items
