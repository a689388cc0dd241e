"""A pydantic model in one object, which tasks of several machines change by compare-and-swap.

Every write has an id, and the object lists the ids of the last writes. A writer whose answer was
lost finds its own id there, even if others wrote since. So each change is made once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model
from pydantic_core import from_json
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.conditional import (
    VersionConflictError,
    read_version,
    replace_version,
)
from airflow_provider_flux.object_store.filesystem import run_async, run_sync

#: Seconds for which a change is tried again after others were first.
UPDATE_SECONDS = 45.0
#: Seconds after which a change ends whatever happens: an attempt may retry transient errors.
_MAX_SECONDS = 90.0
#: Ids of writes that the object lists: more than can happen while one answer is awaited.
_MAX_RECENT = 128

_WriteId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
T = TypeVar("T", bound=BaseModel)


class _Stored(BaseModel):
    """The object as it is stored; each model adds its field ``state``.

    :param format: version of this layout.
    :param number: number of writes so far.
    :param recent: ids of the last writes, the newest last.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format: Literal[1] = 1
    number: Annotated[int, Field(ge=0, lt=2**53)] = 0
    recent: Annotated[tuple[_WriteId, ...], Field(max_length=_MAX_RECENT)] = ()


@dataclass(frozen=True)
class _Attempt:
    """A write that may have succeeded: its id, and its number among all writes."""

    id: str
    number: int


class SharedState(Generic[T]):
    """One model in one object.

    The coroutines can be awaited on any event loop. They work on the loop of the stores, and
    functions that they are given are called there.

    :param uri: URI of the object, in an open store that can compare and swap.
    :param model: its type. The object is data of strangers: bound every text, list and number.
    :param empty: returns the state before the first change.
    :param options: how to store the object.
    :param max_bytes: size in bytes above which the object is neither read nor written.
    :param seconds: seconds for which a change is tried again after others were first.
    """

    def __init__(
        self,
        uri: str,
        model: type[T],
        empty: Callable[[], T],
        options: WriteOptions,
        max_bytes: int,
        *,
        seconds: float = UPDATE_SECONDS,
    ) -> None:
        self.uri = uri
        self._empty = empty
        self._options = options
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._stored_model: Any = create_model(
            f"Stored{model.__name__}", __base__=_Stored, state=(model, ...)
        )

    async def read(self) -> T:
        """Read the state; the empty one if there is no object.

        :raises FluxStorageError: if the store does not answer, or if the object is not valid.
        """
        return await run_async(self._read())

    def read_sync(self) -> T:
        """Read the state as :meth:`read` does, on a thread without an event loop."""
        return run_sync(self._read())

    async def update(self, change: Callable[[T], T]) -> T:
        """Change the state. The change is made exactly once.

        :param change: returns the new state. It is called again with a newer state after another
            writer was first, so it has no other effects. It may raise, and then nothing is written.
            If it returns an equal state, nothing is written.
        :return: the state after the change, which may have changes of others since.
        :raises FluxStorageError: if the store does not answer, if others are always first, or if
            the object is not valid. If an answer of the store was lost, the change may have been
            made.
        """
        return await run_async(self._update(change))

    def update_sync(self, change: Callable[[T], T]) -> T:
        """Change the state as :meth:`update` does, on a thread without an event loop.

        :param change: see :meth:`update`.
        """
        return run_sync(self._update(change))

    async def _read(self) -> T:
        state: T = (await self._load())[0].state
        return state

    async def _update(self, change: Callable[[T], T]) -> T:
        attempts: list[_Attempt] = []
        retry = AsyncRetrying(
            stop=stop_after_delay(self._seconds),
            wait=wait_random_exponential(multiplier=0.05, max=1),
            retry=retry_if_exception_type(VersionConflictError),
            reraise=True,
        )
        try:
            async with asyncio.timeout(_MAX_SECONDS):
                state: T = await retry(self._update_once, change, attempts)
        except VersionConflictError:
            raise FluxStorageError(
                f"{self.uri} could not be changed in {self._seconds:g} seconds: other tasks were "
                f"first each time ({len(attempts)} attempts). Nothing was changed."
            ) from None
        except TimeoutError:
            raise FluxStorageError(
                f"{self.uri} could not be changed in {_MAX_SECONDS:g} seconds: the store does not "
                "answer. It is not known whether it was changed."
            ) from None
        return state

    async def _update_once(self, change: Callable[[T], T], attempts: list[_Attempt]) -> T:
        stored, version = await self._load()
        if attempts and self._is_applied(attempts[-1], stored):
            state: T = stored.state
            return state
        before = stored.state.model_dump_json()
        state = change(stored.state)
        if state.model_dump_json() == before:
            return state
        attempt = _Attempt(uuid4().hex[:16], stored.number + 1)
        new = self._stored_model(
            number=attempt.number,
            recent=(*stored.recent, attempt.id)[-_MAX_RECENT:],
            state=state,
        )
        data = new.model_dump_json().encode()
        if len(data) > self._max_bytes:
            raise FluxStorageError(
                f"{self.uri} would have {len(data)} bytes, and at most {self._max_bytes} are read. "
                "It is unchanged."
            )
        attempts.append(attempt)
        await replace_version(self.uri, data, version, self._options)
        return state

    def _is_applied(self, attempt: _Attempt, stored: Any) -> bool:
        """Whether a write succeeded although the store then refused it, because it came twice."""
        later = stored.number - attempt.number
        if later >= len(stored.recent):
            raise FluxStorageError(
                f"{self.uri} was changed {later} times while one answer was awaited. It is not "
                "known whether it was changed by this task, too."
            )
        return later >= 0 and bool(stored.recent[-1 - later] == attempt.id)

    async def _load(self) -> tuple[Any, str | None]:
        """Return the object with its version; the empty one, without a version, if there is none.

        :raises FluxStorageError: if it is not valid. It is never taken for empty: a limit that it
            holds would be lost.
        """
        found = await read_version(self.uri, max_bytes=self._max_bytes)
        if found is None:
            return self._stored_model(state=self._empty()), None
        try:
            from_json(found.data, allow_inf_nan=False)
            return self._stored_model.model_validate_json(found.data), found.version
        except (ValidationError, ValueError) as error:
            raise FluxStorageError(
                f"{self.uri} is not what this version of airflow-provider-flux writes "
                f"({_describe(error)}). A newer version or something else wrote it. Nothing is "
                "assumed about it, because a limit could be lost. Upgrade this installation, "
                "restore an earlier version of the object, or remove it to begin with an empty one."
            ) from None


def _describe(error: ValueError) -> str:
    """Return what is wrong with the object, without its content."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part)[:40] for part in first["loc"][:4]) or "the object"
        return f"{place}: {first['type']}"
    return "it is not JSON"
