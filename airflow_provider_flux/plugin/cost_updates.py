"""Keep the index of costs up to date in the API server, while pages are shown.

One thread of one process reads ledgers. No page waits for it longer than a moment: it shows what
the index has, and says that more is being read.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from airflow_provider_flux.accounting.costs.index_file import cache_folder, open_index
from airflow_provider_flux.accounting.costs.refresh import Progress
from airflow_provider_flux.accounting.costs.report import Scope
from airflow_provider_flux.accounting.costs.sources import refresh_scope, scope_of_database
from airflow_provider_flux.bfl.errors import FluxError

log = logging.getLogger(__name__)

#: Seconds for which the ledgers are not listed again.
_FRESH_SECONDS = 30.0
#: Seconds that a page waits for the ledgers. Most refreshes take less.
_WAIT_SECONDS = 1.5
_LOCK_NAME = "costs.lock"


@dataclass(frozen=True)
class UpdateState:
    """The state of the index.

    :param scope: the ledgers that Airflow's database names; ``None`` if it was not asked yet.
    :param progress: the refresh that runs, or the last one; ``None`` until it has listed a ledger.
    :param is_running: whether this process reads ledgers, or waits for another one that does.
    :param error: why the last refresh failed; ``None`` if it did not.
    """

    scope: Scope | None = None
    progress: Progress | None = None
    is_running: bool = False
    error: str | None = None


class CostUpdates:
    """The refreshes of one process.

    :param fresh_seconds: seconds for which the ledgers are not listed again; 30 by default.
    """

    def __init__(self, fresh_seconds: float = _FRESH_SECONDS) -> None:
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._state = UpdateState()
        self._ended_at = float("-inf")
        self._ended: Future[None] = Future()

    async def update(self, max_wait: float = _WAIT_SECONDS) -> UpdateState:
        """Start a refresh if the last one is old, and wait a moment for it.

        :param max_wait: seconds to wait at most, 1.5 by default.
        """
        ended = self._start_if_old()
        await asyncio.wait([asyncio.wrap_future(ended)], timeout=max_wait)
        return self._state

    def _start_if_old(self) -> Future[None]:
        """Return a future that is done when the refresh ends that runs, or did run lately."""
        with self._lock:  # held for no longer than these lines
            is_fresh = time.monotonic() - self._ended_at < self._fresh_seconds
            if self._state.is_running or is_fresh:
                return self._ended
            self._state = replace(self._state, progress=None, is_running=True, error=None)
            ended = self._ended = Future()
        # A daemon, so that the server stops at once. The index keeps what was read.
        threading.Thread(target=self._run, args=[ended], name="flux-costs", daemon=True).start()
        return ended

    def _run(self, ended: Future[None]) -> None:
        error = None
        try:
            self._refresh()
        except FluxError as problem:
            error = problem.message
        except Exception as problem:  # the page says so, and the next one tries again
            log.exception("The index of costs could not be refreshed")
            error = f"{type(problem).__name__}, see the log of the API server"
        finally:
            self._ended_at = time.monotonic()
            self._state = replace(self._state, is_running=False, error=error)
            ended.set_result(None)

    def _refresh(self) -> None:
        scope = scope_of_database()
        self._state = replace(self._state, scope=scope)
        with _only_process(cache_folder() / _LOCK_NAME):
            index = open_index()
            try:
                refresh_scope(index, scope, self._set_progress)
            finally:
                index.close()

    def _set_progress(self, progress: Progress) -> None:
        self._state = replace(self._state, progress=replace(progress))


@contextmanager
def _only_process(path: Path) -> Iterator[None]:
    """Wait until no other process of this machine refreshes the index."""
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield  # the lock ends with the file
