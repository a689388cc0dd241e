"""Tests of the journal of a batch: entries share puts and are durable, and one try may submit."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.bfl.errors import FluxLedgerError, FluxStorageError
from airflow_provider_flux.ledger import journal as journals
from airflow_provider_flux.ledger import journal_owner, journal_segments
from airflow_provider_flux.ledger.journal import Journal
from airflow_provider_flux.ledger.journal_entries import SegmentHeader, SessionSummary, phase_entry
from airflow_provider_flux.ledger.journal_owner import claim_journal
from airflow_provider_flux.ledger.journal_segments import read_journal
from airflow_provider_flux.ledger.journaled_submit import fold_entries
from airflow_provider_flux.object_store import objects
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.blocking import pause
from airflow_provider_flux.object_store.filesystem import open_path
from tests.support.answering_proxy import AnsweringProxy
from tests.support.journal_samples import ACCEPTED, WRITE_OPTIONS, new_intent, segment_header
from tests.support.object_stores import S3Store, Store, s3_connection

NOTHING_SENT = FluxLedgerError("Nothing was sent.")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """A folder for a journal on this machine."""
    open_path(str(tmp_path))
    return f"{tmp_path}/hero.rows/"


@pytest.fixture
def proxy(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[AnsweringProxy]:
    """A proxy before S3; its root is a folder for a journal."""
    store = S3Store(s3)
    store.make_bucket()
    with AnsweringProxy(s3) as proxy:
        conn_id = f"proxied_{uuid.uuid4().hex[:8]}"
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", s3_connection(proxy.url))
        proxy.root = f"{store.root_by(conn_id)}/hero.rows/"
        open_path(proxy.root)
        yield proxy


@pytest.fixture
def short_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_RETRY_SECONDS", 0.1)


def journal_in(folder: str, session: str = "a" * 32, **more: Any) -> Journal:
    return Journal(folder, segment_header(session=session, **more), WRITE_OPTIONS)


def durable_entries(folder: str) -> list[str]:
    """Return the keys and phases that are durable."""
    return [
        f"{entry.key} {entry.phase}" for _, entries in read_journal(folder) for entry in entries
    ]


def segments_in(folder: str) -> list[Path]:
    return sorted(Path(folder).glob("*.jsonl"))


def puts(proxy: AnsweringProxy) -> int:
    return sum(request.startswith("PUT ") and ".jsonl" in request for request in proxy.received)


async def test_an_entry_is_durable_when_append_returns(folder: str) -> None:
    journal = journal_in(folder)
    first = new_intent()
    await journal.append(first)
    (segment,) = segments_in(folder)
    assert first["claim"] in segment.read_text()
    journal.append_soon(phase_entry(first["claim"], "0", "submitted", generation=ACCEPTED))
    await journal.close()
    assert segment.read_text().count("\n") == 3
    assert json.loads(segment.read_text().splitlines()[0])["is_closed"] is True


async def test_entries_that_arrive_together_share_a_put(proxy: AnsweringProxy) -> None:
    journal = journal_in(proxy.root)
    await asyncio.gather(*(journal.append(new_intent(str(number), number)) for number in range(40)))
    assert puts(proxy) <= 3
    await journal.close()
    assert await asyncio.to_thread(durable_entries, proxy.root) == [
        f"{number} intent" for number in range(40)
    ]


async def test_a_full_segment_is_closed_so_that_puts_stay_small(folder: str) -> None:
    journal = journal_in(folder)
    for start in range(0, 400, 20):
        await asyncio.gather(
            *(
                journal.append(new_intent(str(number), number))
                for number in range(start, start + 20)
            )
        )
    await journal.close()
    segments = segments_in(folder)
    assert len(segments) > 2
    assert [path.name.split(".")[1] for path in segments] == [
        f"{number:06d}" for number in range(len(segments))
    ]
    assert max(path.stat().st_size for path in segments) < 2 * journal_segments.SEGMENT_BYTES
    assert await asyncio.to_thread(durable_entries, folder) == [
        f"{number} intent" for number in range(400)
    ]


async def test_an_entry_whose_put_failed_is_written_with_the_next_one(
    proxy: AnsweringProxy, short_retries: None
) -> None:
    journal = journal_in(proxy.root)
    proxy.refuse("PUT", 403, "AccessDenied", part=".jsonl", times=2)
    first, second = new_intent("0"), new_intent("1")
    with pytest.raises(
        FluxStorageError, match=r"could not be written .*Forbidden|AccessDenied|denied"
    ):
        await journal.append(first)
    journal.append_soon(phase_entry(first["claim"], "0", "failed", error=NOTHING_SENT))
    await journal.append(second)
    await journal.close()
    assert await asyncio.to_thread(durable_entries, proxy.root) == [
        "0 intent",
        "0 failed",
        "1 intent",
    ]


async def test_an_entry_that_can_wait_shares_the_put_of_the_next_one(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents: list[bytes] = []
    put = journals.put

    async def count(uri: str, data: bytes, options: WriteOptions) -> None:
        contents.append(data)
        await put(uri, data, options)

    monkeypatch.setattr(journals, "put", count)
    journal, intent = journal_in(folder), new_intent("0")
    await journal.append(intent)
    journal.append_later(phase_entry(intent["claim"], "0", "failed", error=NOTHING_SENT))
    await journal.append(new_intent("1"))
    assert len(contents) == 2
    assert await asyncio.to_thread(durable_entries, folder) == ["0 intent", "0 failed", "1 intent"]


async def test_an_entry_that_can_wait_is_written_without_a_next_one(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "_LATER_SECONDS", 0.0)
    loop, has_later = asyncio.get_running_loop(), asyncio.Event()
    put = journals.put

    async def observe(uri: str, data: bytes, options: WriteOptions) -> None:
        await put(uri, data, options)
        if b"Nothing was sent" in data:
            loop.call_soon_threadsafe(has_later.set)

    monkeypatch.setattr(journals, "put", observe)
    journal, intent = journal_in(folder), new_intent("0")
    await journal.append(intent)
    journal.append_later(phase_entry(intent["claim"], "0", "failed", error=NOTHING_SENT))
    await asyncio.wait_for(has_later.wait(), 60)
    assert await asyncio.to_thread(durable_entries, folder) == ["0 intent", "0 failed"]
    await journal.close()


async def test_closing_the_journal_writes_an_entry_that_waits(folder: str) -> None:
    journal = journal_in(folder)
    intent = new_intent("0")
    await journal.append(intent)
    journal.append_later(phase_entry(intent["claim"], "0", "failed", error=NOTHING_SENT))
    await journal.close()
    assert await asyncio.to_thread(durable_entries, folder) == ["0 intent", "0 failed"]


async def test_an_entry_that_arrives_during_the_owner_check_is_written(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No later entry arrives that would wake up its caller."""
    read, is_reading = journal_owner.read_owner, asyncio.Event()
    loop = asyncio.get_running_loop()

    async def slow(folder: str) -> SessionSummary | None:
        loop.call_soon_threadsafe(is_reading.set)
        await pause(0.2)
        return await read(folder)

    monkeypatch.setattr(journal_owner, "read_owner", slow)
    journal = journal_in(folder)
    first = asyncio.create_task(journal.append(new_intent("0")))
    await is_reading.wait()
    await asyncio.wait_for(asyncio.gather(first, journal.append(new_intent("1"))), 5)
    await journal.close()
    assert await asyncio.to_thread(durable_entries, folder) == ["0 intent", "1 intent"]


async def test_an_entry_that_arrives_during_a_failing_owner_check_is_refused(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_reading = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def slow(folder: str) -> SessionSummary | None:
        loop.call_soon_threadsafe(is_reading.set)
        await pause(0.2)
        return SessionSummary(session="b" * 32)

    monkeypatch.setattr(journal_owner, "read_owner", slow)
    journal = journal_in(folder)
    first = asyncio.create_task(journal.append(new_intent("0")))
    await is_reading.wait()
    both = await asyncio.wait_for(
        asyncio.gather(first, journal.append(new_intent("1")), return_exceptions=True), 5
    )
    assert [type(result) for result in both] == [FluxLedgerError, FluxLedgerError]


async def test_the_log_names_a_generation_that_could_not_be_recorded(
    proxy: AnsweringProxy, short_retries: None, caplog: pytest.LogCaptureFixture
) -> None:
    journal = journal_in(proxy.root)
    first, second = new_intent("0"), new_intent("1", 1)
    await asyncio.gather(journal.append(first), journal.append(second))
    proxy.refuse("PUT", 403, "AccessDenied", part=".jsonl", times=9)
    journal.append_soon(phase_entry(first["claim"], "0", "submitted", generation=ACCEPTED))
    journal.append_soon(phase_entry(second["claim"], "1", "failed", error=NOTHING_SENT))
    with pytest.raises(FluxStorageError):
        await journal.close()
    (message,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert message.startswith("Row 0 was submitted, but its request could not be recorded")
    assert ACCEPTED["request_id"] in message
    assert ACCEPTED["polling_url"] in message


async def test_close_raises_and_counts_entries_that_could_not_be_written(
    proxy: AnsweringProxy, short_retries: None
) -> None:
    journal = journal_in(proxy.root)
    first = new_intent()
    await journal.append(first)
    proxy.refuse("PUT", 403, "AccessDenied", part=".jsonl", times=9)
    journal.append_soon(phase_entry(first["claim"], "0", "submitted", generation=ACCEPTED))
    with pytest.raises(FluxStorageError):
        await journal.close()
    assert journal.unwritten == 1
    assert await asyncio.to_thread(durable_entries, proxy.root) == ["0 intent"]


class TestTwoTries:
    """An old try lives on, although a new one took it for dead."""

    @pytest.fixture
    def set_check_seconds(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
        return lambda seconds: monkeypatch.setattr(journal_owner, "OWNER_CHECK_SECONDS", seconds)

    async def _claim_by_new_try(self, folder: str) -> SegmentHeader:
        new = segment_header(session="b" * 32)
        await asyncio.to_thread(claim_journal, folder, new, WRITE_OPTIONS)
        return new

    async def test_the_old_try_stops_before_its_next_submit(
        self, folder: str, set_check_seconds: Callable[[float], None]
    ) -> None:
        set_check_seconds(0.0)
        old = journal_in(folder)
        await asyncio.to_thread(
            claim_journal, folder, segment_header(session="a" * 32), WRITE_OPTIONS
        )
        await old.append(new_intent("0"))
        await self._claim_by_new_try(folder)
        for key in "12":
            with pytest.raises(FluxLedgerError, match="A later try of this task owns the journal"):
                await old.append(new_intent(key))

    async def test_the_old_try_checks_the_owner_only_now_and_then(
        self, folder: str, set_check_seconds: Callable[[float], None]
    ) -> None:
        set_check_seconds(60.0)
        old = journal_in(folder)
        await old.append(new_intent("0"))
        await self._claim_by_new_try(folder)
        await old.append(new_intent("1"))

    async def test_later_entries_of_the_old_try_can_be_read(
        self, folder: str, set_check_seconds: Callable[[float], None]
    ) -> None:
        """An entry of a refused submit needs its intent in the journal."""
        set_check_seconds(0.0)
        old = journal_in(folder)
        accepted = new_intent("0")
        await old.append(accepted)
        await self._claim_by_new_try(folder)
        for key in "123":
            entry = new_intent(key)
            with pytest.raises(FluxLedgerError):
                await old.append(entry)
            old.append_soon(phase_entry(entry["claim"], key, "failed", error=NOTHING_SENT))
        old.append_soon(phase_entry(accepted["claim"], "0", "submitted", generation=ACCEPTED))
        await old.close()
        submits = await asyncio.to_thread(lambda: list(fold_entries(read_journal(folder))))
        assert [(submit.key, submit.phase) for submit in submits] == [
            ("0", "submitted"), ("1", "failed"), ("2", "failed"), ("3", "failed"),
        ]  # fmt: skip

    async def test_a_slow_put_of_the_old_try_is_followed_by_an_owner_check(
        self,
        folder: str,
        set_check_seconds: Callable[[float], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """The new try has read the journal before the intent of the old one arrives in it."""
        set_check_seconds(0.2)
        put = journals.put

        async def slow(uri: str, data: bytes, options: WriteOptions) -> None:
            if ".jsonl" in uri:
                await pause(0.5)
            await put(uri, data, options)

        monkeypatch.setattr(journals, "put", slow)
        appended = asyncio.create_task(journal_in(folder).append(new_intent("0")))
        await asyncio.sleep(0.1)
        await self._claim_by_new_try(folder)
        with pytest.raises(FluxLedgerError, match="owns the journal"):
            await appended


def write(folder: str, name: str, data: bytes) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / name).write_bytes(data)


async def test_other_files_in_the_folder_are_no_segments(folder: str) -> None:
    journal = journal_in(folder)
    await journal.append(new_intent())
    write(folder, "owner.json", b"{")
    write(folder, f".{uuid.uuid4().hex}.tmp", b"half")
    write(folder, "notes.txt", b"mine")
    await journal.append(new_intent("1"))
    assert await asyncio.to_thread(durable_entries, folder) == ["0 intent", "1 intent"]


def test_a_journal_is_empty_before_the_first_try(folder: str, store: Store) -> None:
    assert list(read_journal(folder)) == []
    open_path(store.root)
    assert list(read_journal(f"{store.root}/hero.rows/")) == []


def test_a_segment_that_may_not_be_read_never_counts_as_no_segment(
    proxy: AnsweringProxy, short_retries: None
) -> None:
    async def fill() -> None:
        journal = journal_in(proxy.root)
        await journal.append(new_intent())
        await journal.close()

    asyncio.run(fill())
    proxy.refuse("GET", 403, "AccessDenied", part=".jsonl", times=9)
    with pytest.raises(FluxLedgerError, match=r"may not read it. Nothing is submitted"):
        list(read_journal(proxy.root))
