"""The main loop of a batch: progress reports while the engine works in its thread."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_flux.batch.account_quota import LiveQuota
from airflow_provider_flux.batch.execution.engine import Engine
from airflow_provider_flux.batch.report.manifest import InputColumns, write_manifest
from airflow_provider_flux.batch.report.monitor import BatchMonitor
from airflow_provider_flux.batch.report.progress import Progress, format_report
from airflow_provider_flux.batch.row_reader import RowReader
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.observability.metrics import record_quota_share

log = logging.getLogger(__name__)

#: Key of the progress in the task state store of Airflow 3.3.
PROGRESS_KEY = "flux.progress"
_TICK_SECONDS = 1.0
#: Seconds beyond the grace in which the engine has to end.
_END_SECONDS = 30.0
#: A manifest may take this part of the time at most, so that the images have the rest.
_MAX_MANIFEST_SHARE = 1 / 20
_IMAGE_LOGGERS = ("landing", "object_store", "media")


@dataclass(frozen=True)
class ManifestTarget:
    """Location of the manifest.

    :param uri: URI of the manifest.
    :param write_options: how it is written.
    :param folder: local folder for its temporary file.
    :param with_prompts: whether its index has the prompts, ``False`` by default.
    :param input_columns: columns of the input that it has; none by default.
    """

    uri: str
    write_options: WriteOptions
    folder: Path
    with_prompts: bool = False
    input_columns: InputColumns = ()

    def write(self, reader: RowReader) -> None:
        """Write the manifest, and its index.

        :param reader: reader of the rows.
        :raises FluxStorageError: if the manifest cannot be written.
        """
        write_manifest(
            reader,
            self.uri,
            self.write_options,
            self.folder,
            with_prompts=self.with_prompts,
            input_columns=self.input_columns,
        )


class ProgressReporter:
    """Reporter that logs the progress of a batch and writes its interim manifests.

    :param engine: the engine that works on the batch.
    :param reader: reader of its rows.
    :param manifest: location of the manifest.
    :param manifest_interval: seconds between two manifests.
    :param state_store: task state store of Airflow 3.3; ``None`` on an older Airflow.
    :param monitor: user who watches the batch; ``None`` if nobody does.
    :param quota: limits that may change while the batch runs; ``None`` (default) if they do not.
    """

    def __init__(
        self,
        engine: Engine,
        reader: RowReader,
        manifest: ManifestTarget,
        manifest_interval: float,
        state_store: Any,
        monitor: BatchMonitor | None = None,
        quota: LiveQuota | None = None,
    ) -> None:
        self._engine = engine
        self._quota = quota
        self._reader = reader
        self._manifest = manifest
        self._manifest_interval = manifest_interval
        self._state_store = state_store
        self._monitor = monitor
        now = time.monotonic()
        #: Whether this try has written a manifest.
        self.has_manifest = False
        self._progress = Progress(engine.counters, now)
        self._next_manifest = now + manifest_interval

    def tick(self, now: float) -> None:
        """Report the progress and write the manifest, each if it is due.

        :param now: time of the monotonic clock.
        """
        if self._quota:
            self._quota.update(now)
        if self._monitor:
            self._monitor.update(self._progress.report(now, active=self._engine.active))
        self._send_metrics()
        if self._progress.is_due(now):
            self.report()
        if now >= self._next_manifest:
            self.try_manifest()
            ended = time.monotonic()
            pause = max(self._manifest_interval, (ended - now) / _MAX_MANIFEST_SHARE)
            self._next_manifest = ended + pause

    def _send_metrics(self) -> None:
        counters = self._engine.counters
        counters.metrics.flush()
        record_quota_share(self._engine.active / max(counters.max_active, 1))

    def report(self) -> None:
        """Send the metrics, log the progress, and set it in the task state store."""
        self._send_metrics()
        report = self._progress.report(time.monotonic(), active=self._engine.active)
        log.info("%s", format_report(report, self._engine.counters.max_cost))
        if self._monitor:
            self._monitor.update(report)
        if self._state_store is None:
            return
        try:
            self._state_store.set(PROGRESS_KEY, report)
        except Exception as error:
            log.debug("The progress could not be stored (%s)", type(error).__name__)
            self._state_store = None

    def write_manifest(self) -> None:
        """Write the manifest, unless a later try of the task claimed the journal.

        :raises FluxStorageError: if it cannot be written.
        """
        if self._engine.journal.is_owner():
            self._manifest.write(self._reader)
            self.has_manifest = True
        else:
            log.warning("A later try of this task works on the batch: its manifest is kept")

    def try_manifest(self) -> None:
        """Write the manifest, and only log an error: the batch goes on without it."""
        try:
            self.write_manifest()
        except Exception as error:
            log.warning(
                "The manifest could not be written now (%s). %s", type(error).__name__, error
            )


@dataclass(frozen=True)
class EngineThread:
    """Thread of an engine. Its caller can report progress meanwhile, and be interrupted.

    :param engine: the engine.
    :param tick: called about once a second, with the time of the monotonic clock.
    :param grace: seconds that rows in flight have to land after an interruption.
    """

    engine: Engine
    tick: Callable[[float], object]
    grace: float

    def run(self) -> None:
        """Run the engine to its end. An interruption, such as ``execution_timeout``, stops it.

        :raises BaseException: the interruption, after the engine has ended or had its time.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="flux-batch") as pool:
            ended = pool.submit(asyncio.run, self.engine.run())
            try:
                wait_for(ended, self.tick)
            except BaseException:
                self.engine.stop(self.grace)
                with suppress(TimeoutError):  # the interruption counts, not that the end is late
                    ended.exception(self.grace + _END_SECONDS)
                raise


@contextmanager
def frozen_modules() -> Iterator[None]:
    """Keep the garbage collector from looking at what is in memory already, mostly modules.

    Airflow and its providers are a million objects, which each full collection would visit.
    """
    is_frozen = gc.get_freeze_count() > 0  # by Airflow itself, before it forked this process
    gc.freeze()
    try:
        yield
    finally:
        if not is_frozen:
            gc.unfreeze()


def wait_for(ended: Future[None], tick: Callable[[float], object] = lambda now: None) -> None:
    """Wait for work in a thread, so that a signal can interrupt the wait.

    :param ended: the work.
    :param tick: called about once a second, with the time of the monotonic clock.
    :raises BaseException: the error that ended the work.
    """
    while not _has_ended(ended):
        tick(time.monotonic())
    ended.result()


def _has_ended(future: Future[None]) -> bool:
    try:
        future.exception(_TICK_SECONDS)
    except TimeoutError:
        return False
    return True


@contextmanager
def silence_image_logs() -> Iterator[None]:
    """Keep log lines about single images out of the log of the batch."""
    loggers = [logging.getLogger(f"airflow_provider_flux.{name}") for name in _IMAGE_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
