"""Readings of the balance: small objects below ``account_path``, by which reconcile works.

BFL reports the balance free of charge (``GET /v1/credits``). A reading is evidence only: nothing
that pays depends on it, so a reading that fails fails nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from airflow_provider_flux.account.folder import AccountFolder, account_folder
from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.object_store.filesystem import open_path, run_sync
from airflow_provider_flux.object_store.objects import list_uris, put, read_hint, remove

log = logging.getLogger(__name__)

#: Days for which a reading is kept.
KEEP_DAYS = 100
#: Readings of one period that are read. Of more, evenly chosen ones are.
MAX_READINGS = 2000
_FOLDER = "readings"
_MAX_BYTES = 4096
_MAX_CONCURRENT = 32
#: Old readings that are removed at once.
_MAX_REMOVED = 1000
#: One of so many readings removes old ones, so that few runs list the folder.
_PRUNE_SHARE = 64
_MAX_BALANCE = 1e12
_NAME = re.compile(r"/([0-9]{4}-[0-9]{2}-[0-9]{2})/([0-9]{6}\.[0-9]{6})-[0-9a-f]{8}\.json$")

ReadingSource = Literal["batch start", "batch end", "command"]


class Reading(BaseModel):
    """Version 1 of a reading of the balance.

    :param schema_version: 1.
    :param credits: the balance (1 credit = 0.01 USD).
    :param asked_at: time before the request.
    :param answered_at: time after the answer. The balance is that of a moment between both.
    :param source: who read it.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: Literal[1] = 1
    credits: Annotated[float, Field(ge=-_MAX_BALANCE, le=_MAX_BALANCE, allow_inf_nan=False)]
    asked_at: AwareDatetime
    answered_at: AwareDatetime
    source: ReadingSource

    @model_validator(mode="after")
    def _check_order(self) -> Reading:
        if self.answered_at < self.asked_at:
            raise ValueError("answered_at is before asked_at")
        return self


def read_balance(hook: FluxHook, source: ReadingSource, *, retry: bool = True) -> Reading:
    """Read the balance of an account, which is free.

    :param hook: hook of the connection.
    :param source: who reads it.
    :param retry: whether to retry transient errors, ``True`` by default.
    :raises FluxError: if BFL does not return the balance.
    """
    asked_at = datetime.now(UTC)
    balance = hook.get_conn().get_credits(retry=retry)
    return Reading(credits=balance, asked_at=asked_at, answered_at=datetime.now(UTC), source=source)


class ReadingStore:
    """The readings of one account.

    :param folder: folder of the account.
    """

    def __init__(self, folder: AccountFolder) -> None:
        self._folder = folder

    def add(self, reading: Reading) -> None:
        """Store a reading.

        :param reading: the reading.
        :raises FluxStorageError: if it cannot be written.
        """
        moment = reading.asked_at.astimezone(UTC)
        name = f"{moment:%H%M%S.%f}-{uuid.uuid4().hex[:8]}.json"
        uri = self._folder.uri(_FOLDER, f"{moment:%Y-%m-%d}", name)
        open_path(uri, field="account_path")
        run_sync(put(uri, reading.model_dump_json().encode(), self._folder.write_options))

    def read_with_last_before(self, since: datetime, until: datetime) -> list[Reading]:
        """Return the readings of a period, and the last one before it, in their order.

        An object that is no reading is skipped with a warning.

        :param since: the first moment.
        :param until: the moment after the last one.
        :return: all readings, or :data:`MAX_READINGS` evenly chosen ones if there are more.
        :raises FluxStorageError: if the store does not answer.
        """
        listed = [(uri, moment) for uri, moment in self._list() if moment < until]
        first = max(sum(moment < since for _, moment in listed) - 1, 0)
        uris = [uri for uri, _ in listed[first:]]
        chosen = choose_evenly(uris, MAX_READINGS)
        if len(chosen) < len(uris):
            log.warning(
                "Of %d readings of the balance in this period, %d are used", len(uris), len(chosen)
            )
        readings = run_sync(_read_all(chosen))
        return sorted(readings, key=lambda reading: reading.asked_at)

    def prune(self, now: datetime) -> int:
        """Remove readings that are older than :data:`KEEP_DAYS` days.

        :param now: the current time.
        :return: the number of removed readings.
        :raises FluxStorageError: if the store does not answer.
        """
        limit = now - timedelta(days=KEEP_DAYS)
        old = [uri for uri, moment in self._list() if moment < limit][:_MAX_REMOVED]
        for uri in old:
            run_sync(remove(uri))
        return len(old)

    def _list(self) -> list[tuple[str, datetime]]:
        """List the readings with the times in their names, in order."""
        root = f"{self._folder.uri(_FOLDER)}/"
        open_path(root, field="account_path")
        found = []
        for uri in run_sync(list_uris(root)):
            if match := _NAME.search(uri):
                try:
                    moment = datetime.strptime(f"{match[1]} {match[2]}", "%Y-%m-%d %H%M%S.%f")
                except ValueError:
                    continue
                found.append((uri, moment.replace(tzinfo=UTC)))
        return sorted(found, key=lambda item: item[1])


@contextmanager
def record_balance(hook: FluxHook) -> Iterator[None]:
    """Take a reading before and after a batch, if its connection has an ``account_path``.

    A reading that fails is logged, and fails nothing. A batch that is interrupted ends at once,
    without a second reading.

    :param hook: hook of the connection.
    """
    try_reading(hook, "batch start")
    yield
    try_reading(hook, "batch end")


def try_reading(hook: FluxHook, source: ReadingSource) -> None:
    """Take and store a reading, if the connection has an ``account_path``.

    :param hook: hook of the connection.
    :param source: who reads the balance.
    """
    try:
        folder = account_folder(hook.settings)
        if folder is None:
            return
        store = ReadingStore(folder)
        store.add(read_balance(hook, source, retry=False))
        if random.randrange(_PRUNE_SHARE) == 0:  # noqa: S311 - no secret
            store.prune(datetime.now(UTC))
    except FluxError as error:
        log.warning("The balance could not be recorded. The batch goes on. %s", error)
    except Exception as error:
        log.warning(
            "The balance could not be recorded (%s). The batch goes on", type(error).__name__
        )


def choose_evenly(items: Sequence[str], count: int) -> list[str]:
    """Return evenly chosen items, the first and the last one included.

    :param items: the items.
    :param count: number of items to choose at most, 2 or more.
    """
    if len(items) <= count:
        return list(items)
    step = (len(items) - 1) / (count - 1)
    return [items[round(number * step)] for number in range(count)]


async def _read_all(uris: Sequence[str]) -> list[Reading]:
    semaphore = asyncio.Semaphore(_MAX_CONCURRENT)

    async def read_one(uri: str) -> Reading | None:
        async with semaphore:
            data = await read_hint(uri, _MAX_BYTES)
        if data is None:
            return None
        try:
            return Reading.model_validate_json(data)
        except ValidationError:
            log.warning("%s is no reading of the balance, and is skipped", uri)
            return None

    readings = await asyncio.gather(*map(read_one, uris))
    return [reading for reading in readings if reading is not None]
