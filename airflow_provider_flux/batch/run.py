"""One try of a batch, from its rows to its manifest."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_flux.batch.execution.engine import Engine
from airflow_provider_flux.batch.execution.prepare import Preparer, narrow_limits
from airflow_provider_flux.batch.input.rows import InputMapping, read_rows
from airflow_provider_flux.batch.report.counters import ALL_OUTCOMES, Counters
from airflow_provider_flux.batch.report.manifest import content_type_of
from airflow_provider_flux.batch.row_policy import RowPolicies
from airflow_provider_flux.batch.row_reader import RowReader
from airflow_provider_flux.batch.row_store import RowStore
from airflow_provider_flux.batch.run_loop import ManifestPlace, Runner, Ticker, quietly
from airflow_provider_flux.batch.run_setup import check_budget, fill, look_back
from airflow_provider_flux.batch.schedule.concurrency import ConcurrencyLimiter
from airflow_provider_flux.bfl.errors import (
    FluxBatchError,
    FluxBudgetError,
    FluxError,
    FluxInsufficientCreditsError,
)
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.ledger.journal import JOURNAL_SUFFIX, Journal
from airflow_provider_flux.ledger.journal_entries import SegmentHeader
from airflow_provider_flux.ledger.record_store import stem_of
from airflow_provider_flux.ledger.task_ledger import (
    clear_id_of,
    publish_ledger_folder,
    record_write_options,
)
from airflow_provider_flux.object_store.filesystem import open_path

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BatchSettings:
    """The rendered and checked arguments of the operator, and the durations that are no arguments.

    :param ledger: folder of the records.
    :param manifest: URI of the manifest.
    :param checkpoint: seconds between two manifests while the batch works.
    :param poll_interval: seconds between two polls of BFL's documented loop. The batch makes as many polls for an
        image, and places them where the image is likely to be ready.
    :param grace: seconds that images in flight have to land when the task is told to stop. Airflow kills it after 5.
    """

    requests: Any
    layout: InputMapping
    policies: RowPolicies
    max_active: int | None
    model_limits: Mapping[str, int]
    max_cost: float | None
    manifest: str
    ledger: str
    timeout: float | None
    checkpoint: float = 60.0
    poll_interval: float = 0.5
    grace: float = 4.0


class BatchRun:
    """Works through the rows of a batch, once.

    :param plan: where images land; what differs by row is filled in.
    :param folder: of this machine, for what is temporary.
    :ivar error: why not all rows were tried; ``None`` if they were.
    """

    def __init__(
        self,
        hook: FluxHook,
        settings: BatchSettings,
        context: Context,
        plan: LandingPlan,
        folder: Path,
    ) -> None:
        self._hook = hook
        self._settings = settings
        self._context = context
        self._plan = plan
        self._folder = folder
        self._began = time.monotonic()
        self._engine: Engine | None = None
        self._is_stopped = False
        self.error: FluxError | None = None

    def run(self) -> dict[str, Any]:
        """Try all rows, write the manifest, and return the summary.

        :raises FluxError: if nothing could be begun.
        """
        settings = self._settings
        publish_ledger_folder(self._context, settings.ledger)
        manner = self._plan.target.companion_write_options(content_type_of(settings.manifest))
        place = ManifestPlace(settings.manifest, manner, self._folder)
        open_path(settings.manifest, field="manifest_path")
        open_path(settings.ledger, field="ledger_path")
        self._hook.prepare_async()
        table = RowStore(self._folder / "rows.sqlite")
        try:
            preparer = Preparer(self._hook, self._plan, settings.layout.validate)
            count, invalid = fill(
                table, read_rows(settings.requests, settings.layout), preparer, settings.policies
            )
            limit = settings.max_active or self._hook.settings.max_active
            tally = Counters(count, limit, settings.max_cost)
            tally.outcomes["invalid"] = invalid
            journal = self._open_journal(table, tally, preparer)
            with RowReader(table.path) as reader:
                expected, unknown = reader.estimate()
                refusal = self._check_budget(reader, tally, expected, unknown)
                pacer = ConcurrencyLimiter(limit, narrow_limits(settings.model_limits))
                self._engine = engine = Engine(
                    self._hook, table, journal, tally, pacer, preparer,
                    settings.policies.on_uncertain, settings.poll_interval, settings.timeout,
                )  # fmt: skip
                if refusal:
                    engine.stop(float("inf"), refusal)
                if self._is_stopped:
                    self.stop()
                ticker = Ticker(
                    engine,
                    reader,
                    place,
                    settings.checkpoint,
                    self._context.get("task_state_store"),
                )
                self._work(table, engine, ticker)
                outcomes = dict.fromkeys(ALL_OUTCOMES, 0) | reader.counts()
            seconds = time.monotonic() - self._began
            summary = tally.summarize(outcomes, estimated=expected, seconds=seconds)
            summary["manifest"] = settings.manifest
            log.info(
                "Summary: %s",
                ", ".join(f"{name} {value}" for name, value in summary.items() if value),
            )
            return summary
        finally:
            table.close()

    def _work(self, table: RowStore, engine: Engine, ticker: Ticker) -> None:
        """Let the engine work, and write the manifest whatever happens."""
        try:
            with quietly():
                Runner(engine, ticker.tick, self._settings.grace).run()
        except BaseException:
            table.commit()
            ticker.try_manifest()
            raise
        table.commit()
        self.error = engine.error
        try:
            ticker.write_manifest()
        except FluxError as error:  # a retry writes it, and pays for nothing
            log.error("%s", error)
            self.error = self.error or error
        ticker.say()

    def stop(self) -> None:
        """Submit nothing more; what is in flight has a moment to land."""
        self._is_stopped = True
        if self._engine:
            self._engine.stop(
                self._settings.grace, FluxBatchError("The task was told to stop. A retry goes on.")
            )

    def _check_budget(
        self, reader: RowReader, tally: Counters, expected: float, unknown: int
    ) -> FluxError | None:
        """Refuse what cannot be paid; if there is something to collect, return the error, to be raised after that.

        BFL keeps it for minutes only.
        """
        try:
            check_budget(self._hook, tally, expected, unknown)
        except (FluxBudgetError, FluxInsufficientCreditsError) as error:
            if not reader.counts().get("submitted"):
                raise
            log.warning("%s What earlier tries have paid for is collected now", error)
            return error
        return None

    def _open_journal(self, table: RowStore, tally: Counters, preparer: Preparer) -> Journal:
        owner = self._plan.task
        header = SegmentHeader(
            owner=owner,
            clear_id=clear_id_of(self._context),
            flux_conn_id=self._hook.flux_conn_id,
            target=self._plan.target,
        )
        manner = record_write_options(self._settings.ledger, self._plan.target)
        folder = f"{stem_of(self._settings.ledger, owner)}{JOURNAL_SUFFIX}"
        look_back(
            table,
            tally,
            preparer,
            folder=folder,
            header=header,
            manner=manner,
            policies=self._settings.policies,
        )
        return Journal(folder, header, manner)
