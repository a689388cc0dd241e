"""A state that several tasks change: every change is made, and made once."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_flux.account.shared_state import SharedState
from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.object_store.backends import WriteOptions
from tests.support.conditional_stores import ConditionalStore

OPTIONS = WriteOptions("application/json", "private, no-store")
#: Changes that each of the writers makes; `make soak` makes more.
CHANGES = int(os.environ.get("FLUX_SHARED_CHANGES", "4"))
WRITERS = 4
remote = pytest.mark.parametrize("swapping", ["s3", "gs", "abfs"], indirect=True)
local = pytest.mark.parametrize("swapping", ["file"], indirect=True)


class Numbers(BaseModel):
    """The numbers that writers have appended, in order."""

    model_config = ConfigDict(extra="forbid")

    values: Annotated[list[int], Field(max_length=10_000)] = []


def numbers(uri: str, max_bytes: int = 100_000, seconds: float = 45.0) -> SharedState[Numbers]:
    return SharedState(uri, Numbers, Numbers, OPTIONS, max_bytes, seconds=seconds)


def append(value: int) -> Callable[[Numbers], Numbers]:
    return lambda state: Numbers(values=[*state.values, value])


def append_all(uri: str, writer: int) -> None:
    for number in range(CHANGES):
        numbers(uri).update_sync(append(100 * writer + number))


EXPECTED = sorted(100 * writer + number for writer in range(WRITERS) for number in range(CHANGES))


class TestUpdate:
    def test_threads_lose_no_change_and_make_none_twice(self, swapping: ConditionalStore) -> None:
        uri = swapping.uri()
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(append_all, [uri] * WRITERS, range(WRITERS)))
        values = numbers(uri).read_sync().values
        assert sorted(values) == EXPECTED
        for writer in range(WRITERS):  # the changes of one writer are in its order
            own = [value for value in values if value // 100 == writer]
            assert own == sorted(own)

    @remote
    def test_lost_answers_and_refusals_at_random_lose_no_change_and_make_none_twice(
        self, swapping: ConditionalStore
    ) -> None:
        assert swapping.proxy is not None
        swapping.proxy.lost = 0.1
        swapping.proxy.conflicts = 0.1
        uri = swapping.uri()
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(append_all, [uri] * WRITERS, range(WRITERS)))
        swapping.proxy.lost = 0.0
        assert sorted(numbers(uri).read_sync().values) == EXPECTED
        assert all(swapping.proxy.drawn.values())

    @local
    def test_processes_that_were_forked_lose_no_change(self, swapping: ConditionalStore) -> None:
        numbers(swapping.uri()).read_sync()  # so that the loop of the stores runs before the fork
        running = [
            multiprocessing.get_context("fork").Process(
                target=append_all, args=(swapping.uri(), writer)
            )
            for writer in range(WRITERS)
        ]
        for process in running:
            process.start()
        for process in running:
            process.join(300)
        assert [process.exitcode for process in running] == [0] * WRITERS
        assert sorted(numbers(swapping.uri()).read_sync().values) == EXPECTED

    @remote
    def test_a_change_whose_answer_was_lost_is_not_made_twice_after_others_changed_more(
        self, swapping: ConditionalStore
    ) -> None:
        assert swapping.proxy is not None
        uri = swapping.uri()
        numbers(uri).update_sync(append(1))

        def change_as_others() -> None:
            for value in (3, 4, 5):
                numbers(uri).update_sync(append(value))

        swapping.proxy.lose_next(change_as_others)
        assert numbers(uri).update_sync(append(2)).values == [1, 2, 3, 4, 5]

    @local
    async def test_changes_on_an_event_loop_run_at_the_same_time(
        self, swapping: ConditionalStore
    ) -> None:
        state = numbers(swapping.uri())
        await asyncio.gather(*(state.update(append(value)) for value in range(8)))
        assert sorted((await state.read()).values) == list(range(8))

    @local
    def test_a_change_that_raises_or_changes_nothing_writes_nothing(
        self, swapping: ConditionalStore
    ) -> None:
        state = numbers(swapping.uri())

        def refuse(_: Numbers) -> Numbers:
            raise KeyError("the cap")

        with pytest.raises(KeyError, match="the cap"):
            state.update_sync(refuse)
        assert state.update_sync(lambda numbers: numbers) == Numbers()
        assert swapping.read() is None

    @local
    def test_a_change_in_place_is_written(self, swapping: ConditionalStore) -> None:
        state = numbers(swapping.uri())

        def append_in_place(current: Numbers) -> Numbers:
            current.values.append(7)
            return current

        state.update_sync(append_in_place)
        assert state.read_sync().values == [7]

    @local
    def test_a_state_that_would_be_too_large_to_read_is_not_written(
        self, swapping: ConditionalStore
    ) -> None:
        state = numbers(swapping.uri(), max_bytes=200)
        state.update_sync(append(1))
        with pytest.raises(FluxStorageError, match="at most 200 are read"):
            state.update_sync(lambda _: Numbers(values=list(range(100))))
        assert state.read_sync().values == [1]

    @pytest.mark.parametrize("swapping", ["s3"], indirect=True)
    def test_a_writer_that_is_never_first_ends_with_an_error_that_names_the_object(
        self, swapping: ConditionalStore
    ) -> None:
        assert swapping.proxy is not None
        swapping.proxy.conflicts = 1.0
        with pytest.raises(FluxStorageError, match="other tasks were first each time") as caught:
            numbers(swapping.uri(), seconds=0.2).update_sync(append(1))
        assert swapping.uri() in str(caught.value)
        assert swapping.read() is None

    @local
    def test_more_changes_than_the_object_remembers_are_possible(
        self, swapping: ConditionalStore
    ) -> None:
        state = numbers(swapping.uri())
        for value in range(140):
            state.update_sync(append(value))
        assert state.read_sync().values == list(range(140))


class TestRead:
    @local
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "it is not JSON"),
            (b"[" * 100_000, "it is not JSON"),
            (b'{"state": {"values": [NaN]}}', "it is not JSON"),
            (b"[]", "the object: model_"),
            (b"{}", "state: missing"),
            (b'{"format": 2, "state": {}}', "format: literal_error"),
            (b'{"number": -1, "state": {}}', "number: greater_than_equal"),
            (b'{"recent": ["../x"], "state": {}}', "recent.0: string_pattern_mismatch"),
            (b'{"state": {"values": ["secret text"]}}', "state.values.0: int_parsing"),
            (b'{"state": {}, "more": 1}', "more: extra_forbidden"),
        ],
    )
    def test_an_object_of_somebody_else_is_never_taken_for_empty(
        self, content: bytes, reason: str, swapping: ConditionalStore, tmp_path: object
    ) -> None:
        with open(swapping.uri(), "wb") as file:
            file.write(content)
        for work in (
            numbers(swapping.uri()).read_sync,
            lambda: numbers(swapping.uri()).update_sync(append(1)),
        ):
            with pytest.raises(FluxStorageError, match="or remove it to begin") as caught:
                work()
            assert reason in str(caught.value)
            assert "secret" not in str(caught.value)
        assert swapping.read() == content

    def test_a_state_without_an_object_is_the_empty_one(self, swapping: ConditionalStore) -> None:
        assert numbers(swapping.uri()).read_sync() == Numbers()
