"""A batch while it works: in a thread of its own, beside one that says how far it is and can be told to stop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from airflow_provider_flux.batch.execution.engine import Engine
from airflow_provider_flux.batch.report.manifest import write_manifest
from airflow_provider_flux.batch.report.progress import Progress, format_report
from airflow_provider_flux.batch.row_reader import RowReader
from airflow_provider_flux.object_store.backends import WriteOptions

log = logging.getLogger(__name__)

#: Key in the task state store of Airflow 3.3 under which the progress is kept.
PROGRESS_KEY = "flux.progress"
_TICK = 1.0
#: Seconds beyond the grace in which the engine ends what it has begun.
_ENDING = 30.0


class ManifestPlace(NamedTuple):
    """Where the manifest is written, and how; and a folder of this machine for a temporary file."""

    uri: str
    manner: WriteOptions
    folder: Path


class Ticker:
    """Says how far a batch is, and writes manifests meanwhile.

    :param checkpoint: seconds between two manifests.
    :param store: task state store of Airflow 3.3, ``None`` before.
    """

    def __init__(
        self,
        engine: Engine,
        reader: RowReader,
        manifest: ManifestPlace,
        checkpoint: float,
        store: Any,
    ) -> None:
        self._engine = engine
        self._reader = reader
        self._uri, self._manner, self._folder = manifest
        self._checkpoint = checkpoint
        self._store = store
        now = time.monotonic()
        self._progress = Progress(engine.tally, now)
        self._next_manifest = now + checkpoint

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self._progress.is_due(now):
            self.say()
        if now >= self._next_manifest:
            self.try_manifest()
            # A manifest of a million rows takes its time: most of it must be left for the images.
            self._next_manifest = time.monotonic() + max(
                self._checkpoint, 20 * (time.monotonic() - now)
            )

    def say(self) -> None:
        """Say how far it is."""
        report = self._progress.report(time.monotonic(), active=self._engine.active)
        log.info("%s", format_report(report, self._engine.tally.max_cost))
        if self._store is None:
            return
        try:
            self._store.set(PROGRESS_KEY, report)
        except Exception as error:
            log.debug("The progress could not be kept (%s)", type(error).__name__)
            self._store = None

    def write_manifest(self) -> None:
        """Write the manifest, unless a later try has taken over, whose manifest says more.

        :raises FluxStorageError: if it cannot be written.
        """
        if self._engine.journal.is_owner():
            write_manifest(self._reader, self._uri, self._manner, self._folder)
        else:
            log.warning("A later try of this task has taken over: its manifest is left as it is")

    def try_manifest(self) -> None:
        """Write the manifest if that is possible now: what the batch does must not end for that."""
        try:
            self.write_manifest()
        except Exception as error:
            log.warning(
                "The manifest could not be written now (%s). %s", type(error).__name__, error
            )


@dataclass
class Runner:
    """Runs an engine in a thread of its own, so that this one can be told to stop, and can say how far it is.

    :param tick: called about once a second.
    """

    engine: Engine
    tick: Callable[[float], Any]
    grace: float

    def run(self) -> None:
        """Return when the engine has ended. What breaks in, such as ``execution_timeout``, ends it first."""
        with ThreadPoolExecutor(1, thread_name_prefix="flux-batch") as pool:
            ended = pool.submit(asyncio.run, self.engine.run())
            try:
                while not self._has_ended(ended):
                    self.tick(time.monotonic())
            except BaseException:
                self.engine.stop(self.grace)
                with suppress(TimeoutError):  # it ends later; what broke in is what counts
                    ended.exception(self.grace + _ENDING)
                raise
            ended.result()

    def _has_ended(self, ended: Future[None]) -> bool:
        try:
            ended.exception(_TICK)
        except TimeoutError:
            return False
        return True


@contextmanager
def quietly() -> Iterator[None]:
    """Keep what is said of each single image out of the log."""
    talkers = [
        logging.getLogger(f"airflow_provider_flux.{name}")
        for name in ("landing", "object_store", "media")
    ]
    levels = [talker.level for talker in talkers]
    for talker in talkers:
        talker.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for talker, level in zip(talkers, levels, strict=True):
            talker.setLevel(level)
