"""The queue of pending rows: in the order of the input, as far as limits and preparation allow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from airflow_provider_flux.batch.execution.queue import RowQueue
from airflow_provider_flux.batch.execution.waiting_rows import WaitingRows
from airflow_provider_flux.batch.row_states import PendingRow
from airflow_provider_flux.batch.row_store import RowStore
from tests.support.batch_rows import CHEAP_MODEL, MODEL, build_row, row_builder


class Preparer:
    """Prepares the rows of the cheap model, once the test releases it, and ends one of them."""

    def __init__(self) -> None:
        self.released = asyncio.Event()

    def must_prepare(self, row: PendingRow) -> bool:
        return row.group == CHEAP_MODEL

    async def prepare(self, row: PendingRow) -> PendingRow | None:
        await self.released.wait()
        return None if row.index == 1 else row

    def release(self, row: PendingRow) -> None:
        row.release()


@asynccontextmanager
async def open_queue(
    tmp_path: Path, preparer: Preparer, on_prepared: Callable[[], None] = lambda: None
) -> AsyncIterator[RowQueue]:
    """Open a queue of six rows, of which those with an odd index need preparation."""
    store = RowStore(tmp_path / "rows.sqlite", row_builder())
    for index in range(6):
        store.add(build_row(index, CHEAP_MODEL if index % 2 else MODEL))
    store.commit()
    queue = RowQueue(store, store.open_groups(), preparer, on_prepared, WaitingRows(0.5))
    yield queue
    await queue.close()
    store.close()


def take_all(queue: RowQueue) -> list[int]:
    rows = iter(lambda: queue.take(lambda group: True), None)
    return [row.index for row in rows]


async def test_rows_that_are_not_prepared_yet_do_not_hold_up_the_others(tmp_path: Path) -> None:
    prepared = asyncio.Event()
    async with open_queue(tmp_path, preparer := Preparer(), prepared.set) as queue:
        assert take_all(queue) == [0, 2, 4]
        assert not queue.is_empty
        preparer.released.set()
        await asyncio.wait_for(prepared.wait(), 5)
        await asyncio.sleep(0)
        assert take_all(queue) == [3, 5]
        assert queue.is_empty


async def test_a_group_at_its_limit_does_not_hold_up_the_others(tmp_path: Path) -> None:
    async with open_queue(tmp_path, Preparer()) as queue:
        assert queue.take(lambda group: group != MODEL) is None
        row = queue.take(lambda group: group == MODEL)
        assert row
        assert row.index == 0


async def test_a_row_that_is_put_back_is_the_next_of_its_group(tmp_path: Path) -> None:
    async with open_queue(tmp_path, Preparer()) as queue:
        first = queue.take(lambda group: True)
        second = queue.take(lambda group: True)
        assert first
        assert second
        queue.put_back(first)
        assert queue.take(lambda group: True) is first


async def test_a_row_that_is_added_before_its_turn_is_taken_once(tmp_path: Path) -> None:
    """A submit of an earlier try may be moderated or rejected before its row is read."""
    store = RowStore(tmp_path / "rows.sqlite", row_builder())
    for index in range(40):
        store.add(build_row(index, MODEL))
    store.commit()
    queue = RowQueue(store, store.open_groups(), Preparer(), lambda: None, WaitingRows(0.5))
    first = queue.take(lambda group: True)
    assert first
    [late] = store.pending_rows(MODEL, after=34, limit=1)
    queue.add(late)
    assert sorted([first.index, *take_all(queue)]) == list(range(40))
    await queue.close()
    store.close()
