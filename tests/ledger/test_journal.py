"""The journal in a store: many lines in one put, durable before they count, and one writer that may submit."""

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
from airflow_provider_flux.ledger.journal_entries import SegmentHeader, phase_entry
from airflow_provider_flux.ledger.journal_owner import claim_journal
from airflow_provider_flux.ledger.journal_segments import read_journal
from airflow_provider_flux.ledger.journaled_submit import fold_entries
from airflow_provider_flux.object_store import objects
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import open_path
from tests.ledger.test_journal_entries import PAID, header, opened
from tests.support.answering_proxy import AnsweringProxy
from tests.support.object_stores import S3Store, Store, s3_connection

MANNER = WriteOptions("application/json")
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
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_RETRY_SECONDS", 0.1)


def on(folder: str, session: str = "a" * 32, **more: Any) -> Journal:
    return Journal(folder, header(session=session, **more), MANNER)


def lines(folder: str) -> list[str]:
    """Return the keys and phases that are durable."""
    return [f"{note.key} {note.phase}" for _, notes in read_journal(folder) for note in notes]


def segments_in(folder: str) -> list[Path]:
    return sorted(Path(folder).glob("*.jsonl"))


def puts(proxy: AnsweringProxy) -> int:
    return sum(one.startswith("PUT ") and ".jsonl" in one for one in proxy.asked)


async def test_a_line_is_durable_when_it_was_noted(folder: str) -> None:
    journal = on(folder)
    first = opened()
    await journal.append(first)
    (segment,) = segments_in(folder)
    assert first["claim"] in segment.read_text()
    journal.append_soon(phase_entry(first["claim"], "0", "submitted", generation=PAID))
    await journal.close()
    assert segment.read_text().count("\n") == 3
    assert json.loads(segment.read_text().splitlines()[0])["is_closed"] is True


async def test_lines_that_come_together_are_written_together(proxy: AnsweringProxy) -> None:
    journal = on(proxy.root)
    await asyncio.gather(*(journal.append(opened(str(number), number)) for number in range(40)))
    assert puts(proxy) <= 3
    await journal.close()
    assert await asyncio.to_thread(lines, proxy.root) == [
        f"{number} intent" for number in range(40)
    ]


async def test_a_full_segment_is_left_and_what_is_put_stays_small(folder: str) -> None:
    journal = on(folder)
    for start in range(0, 400, 20):
        await asyncio.gather(
            *(journal.append(opened(str(number), number)) for number in range(start, start + 20))
        )
    await journal.close()
    segments = segments_in(folder)
    assert len(segments) > 2
    assert [one.name.split(".")[1] for one in segments] == [
        f"{number:06d}" for number in range(len(segments))
    ]
    assert max(one.stat().st_size for one in segments) < 2 * journal_segments.SEGMENT_BYTES
    assert await asyncio.to_thread(lines, folder) == [f"{number} intent" for number in range(400)]


async def test_a_store_that_fails_says_so_and_gets_the_lines_later(
    proxy: AnsweringProxy, impatient: None
) -> None:
    journal = on(proxy.root)
    proxy.refuse("PUT", 403, "AccessDenied", part=".jsonl", times=2)
    first, second = opened("0"), opened("1")
    with pytest.raises(
        FluxStorageError, match=r"could not be written .*Forbidden|AccessDenied|denied"
    ):
        await journal.append(first)
    journal.append_soon(phase_entry(first["claim"], "0", "failed", error=NOTHING_SENT))
    await journal.append(second)
    await journal.close()
    assert await asyncio.to_thread(lines, proxy.root) == ["0 intent", "0 failed", "1 intent"]


async def test_a_line_that_comes_while_the_owner_is_read_is_waited_for(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written along with those before it, and nothing comes after it that would wake up who waits for it."""
    read, is_reading = journal_owner.read_owner, asyncio.Event()
    loop = asyncio.get_running_loop()

    async def slow(folder: str) -> str | None:
        loop.call_soon_threadsafe(is_reading.set)
        await asyncio.sleep(0.2)
        return await read(folder)

    monkeypatch.setattr(journal_owner, "read_owner", slow)
    journal = on(folder)
    first = asyncio.create_task(journal.append(opened("0")))
    await is_reading.wait()
    await asyncio.wait_for(asyncio.gather(first, journal.append(opened("1"))), 5)
    await journal.close()
    assert await asyncio.to_thread(lines, folder) == ["0 intent", "1 intent"]


async def test_a_line_that_comes_while_the_owner_turns_out_to_be_another_is_refused_too(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_reading = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def slow(folder: str) -> str | None:
        loop.call_soon_threadsafe(is_reading.set)
        await asyncio.sleep(0.2)
        return "b" * 32

    monkeypatch.setattr(journal_owner, "read_owner", slow)
    journal = on(folder)
    first = asyncio.create_task(journal.append(opened("0")))
    await is_reading.wait()
    both = await asyncio.wait_for(
        asyncio.gather(first, journal.append(opened("1")), return_exceptions=True), 5
    )
    assert [type(one) for one in both] == [FluxLedgerError, FluxLedgerError]


async def test_what_was_paid_for_and_cannot_be_recorded_is_told_in_the_log(
    proxy: AnsweringProxy, impatient: None, caplog: pytest.LogCaptureFixture
) -> None:
    journal = on(proxy.root)
    first, second = opened("0"), opened("1", 1)
    await asyncio.gather(journal.append(first), journal.append(second))
    proxy.refuse("PUT", 403, "AccessDenied", part=".jsonl", times=9)
    journal.append_soon(phase_entry(first["claim"], "0", "submitted", generation=PAID))
    journal.append_soon(phase_entry(second["claim"], "1", "failed", error=NOTHING_SENT))
    with pytest.raises(FluxStorageError):
        await journal.close()
    (said,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert said.startswith("Row 0 was submitted, but its request could not be recorded")
    assert PAID["request_id"] in said
    assert PAID["polling_url"] in said


async def test_a_store_that_is_down_at_the_end(proxy: AnsweringProxy, impatient: None) -> None:
    journal = on(proxy.root)
    first = opened()
    await journal.append(first)
    proxy.refuse("PUT", 403, "AccessDenied", part=".jsonl", times=9)
    journal.append_soon(phase_entry(first["claim"], "0", "submitted", generation=PAID))
    with pytest.raises(FluxStorageError):
        await journal.close()
    assert journal.unwritten == 1
    assert await asyncio.to_thread(lines, proxy.root) == ["0 intent"]


class TestTwoTries:
    """An old try was taken for dead, and is not."""

    @pytest.fixture
    def fence(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
        return lambda seconds: monkeypatch.setattr(journal_owner, "OWNER_CHECK_SECONDS", seconds)

    async def _takes_over(self, folder: str) -> SegmentHeader:
        new = header(session="b" * 32)
        await asyncio.to_thread(claim_journal, folder, new, MANNER)
        return new

    async def test_the_old_one_stops_before_its_next_submit(
        self, folder: str, fence: Callable[[float], None]
    ) -> None:
        fence(0.0)
        old = on(folder)
        await asyncio.to_thread(claim_journal, folder, header(session="a" * 32), MANNER)
        await old.append(opened("0"))
        await self._takes_over(folder)
        for key in "12":
            with pytest.raises(FluxLedgerError, match="A later try of this task owns the journal"):
                await old.append(opened(key))

    async def test_it_looks_once_in_a_while_only(
        self, folder: str, fence: Callable[[float], None]
    ) -> None:
        fence(60.0)
        old = on(folder)
        await old.append(opened("0"))
        await self._takes_over(folder)
        await old.append(opened("1"))

    async def test_what_the_old_one_writes_later_can_be_read(
        self, folder: str, fence: Callable[[float], None]
    ) -> None:
        """It says of each refused intent that nothing was sent: the intent must be there, too."""
        fence(0.0)
        old = on(folder)
        paid = opened("0")
        await old.append(paid)
        await self._takes_over(folder)
        for key in "123":
            line = opened(key)
            with pytest.raises(FluxLedgerError):
                await old.append(line)
            old.append_soon(phase_entry(line["claim"], key, "failed", error=NOTHING_SENT))
        old.append_soon(phase_entry(paid["claim"], "0", "submitted", generation=PAID))
        await old.close()
        submits = await asyncio.to_thread(lambda: list(fold_entries(read_journal(folder))))
        assert [(one.key, one.phase) for one in submits] == [
            ("0", "submitted"), ("1", "failed"), ("2", "failed"), ("3", "failed"),
        ]  # fmt: skip

    async def test_a_write_that_takes_long_is_no_leave_to_submit(
        self, folder: str, fence: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The new one has read the journal when the intent arrives in it."""
        fence(0.2)
        put = journals.put

        async def slow(uri: str, data: bytes, manner: WriteOptions) -> None:
            if ".jsonl" in uri:
                await asyncio.sleep(0.5)
            await put(uri, data, manner)

        monkeypatch.setattr(journals, "put", slow)
        noted = asyncio.create_task(on(folder).append(opened("0")))
        await asyncio.sleep(0.1)
        await self._takes_over(folder)
        with pytest.raises(FluxLedgerError, match="owns the journal"):
            await noted


def write(folder: str, name: str, data: bytes) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / name).write_bytes(data)


async def test_other_files_are_no_segments(folder: str) -> None:
    journal = on(folder)
    await journal.append(opened())
    write(folder, "owner.json", b"{")
    write(folder, f".{uuid.uuid4().hex}.tmp", b"half")
    write(folder, "notes.txt", b"mine")
    await journal.append(opened("1"))
    assert await asyncio.to_thread(lines, folder) == ["0 intent", "1 intent"]


def test_there_is_nothing_to_read_before_the_first_try(folder: str, store: Store) -> None:
    assert list(read_journal(folder)) == []
    open_path(store.root)
    assert list(read_journal(f"{store.root}/hero.rows/")) == []


def test_a_segment_that_may_not_be_read_is_not_taken_for_none(
    proxy: AnsweringProxy, impatient: None
) -> None:
    async def fill() -> None:
        journal = on(proxy.root)
        await journal.append(opened())
        await journal.close()

    asyncio.run(fill())
    proxy.refuse("GET", 403, "AccessDenied", part=".jsonl", times=9)
    with pytest.raises(FluxLedgerError, match=r"may not read it. Nothing is submitted"):
        list(read_journal(proxy.root))
