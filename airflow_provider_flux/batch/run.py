"""One try of a batch, from its rows to its manifest."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_flux.account.governor.open_quota import new_keeper, open_quota
from airflow_provider_flux.account.governor.quota import Quota
from airflow_provider_flux.account.governor.shares import QuotaLimits
from airflow_provider_flux.account.limit_groups import limits_by_group
from airflow_provider_flux.account.live_settings import LiveReader
from airflow_provider_flux.account.readings import record_balance
from airflow_provider_flux.account.shared_state import SharedState
from airflow_provider_flux.batch.account_budget import (
    open_batch_budgets,
    settle_earlier_tries,
)
from airflow_provider_flux.batch.execution.engine import Engine, EngineOptions
from airflow_provider_flux.batch.execution.row_budgets import BatchBudgets
from airflow_provider_flux.batch.input.checked_columns import require_columns
from airflow_provider_flux.batch.input.requests import restore_request
from airflow_provider_flux.batch.input.rows import Row, read_rows
from airflow_provider_flux.batch.lost_journal import check_lost_journal
from airflow_provider_flux.batch.plan import BatchPlan
from airflow_provider_flux.batch.prune import Pruner
from airflow_provider_flux.batch.report.contact_sheet import sheet_uri
from airflow_provider_flux.batch.report.counters import ALL_OUTCOMES, WITH_IMAGE, Counters
from airflow_provider_flux.batch.report.manifest import ManifestRow, to_manifest_row
from airflow_provider_flux.batch.report.monitor import BatchMonitor
from airflow_provider_flux.batch.row_reader import RowReader
from airflow_provider_flux.batch.row_states import RowBuilder
from airflow_provider_flux.batch.row_store import RowStore
from airflow_provider_flux.batch.run_loop import LiveQuota, ManifestTarget, ProgressReporter
from airflow_provider_flux.batch.run_output import (
    BatchOutput,
    check_stores,
    file_of,
    new_failed_rows,
    open_stores,
    run_and_report,
)
from airflow_provider_flux.batch.run_setup import load_rows, resume_earlier_tries
from airflow_provider_flux.batch.run_survey import BatchSurvey
from airflow_provider_flux.batch.schedule.concurrency import ConcurrencyLimiter
from airflow_provider_flux.batch.settings import BatchSettings
from airflow_provider_flux.batch.survey import NO_FIGURES
from airflow_provider_flux.bfl.errors import (
    FluxBatchError,
    FluxError,
    FluxRequestError,
)
from airflow_provider_flux.bfl.request import GenerationRequest
from airflow_provider_flux.checks.check import text_columns
from airflow_provider_flux.checks.process import prove_checks
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.gallery.manifest_cards import index_uri
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.output_path import fixed_folder
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.ledger.clear_id import clear_id_of
from airflow_provider_flux.ledger.journal import Journal
from airflow_provider_flux.ledger.journal_entries import SegmentHeader, phase_entry
from airflow_provider_flux.ledger.journal_segments import JOURNAL_SUFFIX
from airflow_provider_flux.ledger.ledger_folder import publish_ledger_folder
from airflow_provider_flux.ledger.ledger_host import open_ledger_host
from airflow_provider_flux.ledger.record_files import record_write_options, stem_of
from airflow_provider_flux.media.input_files import add_files_of
from airflow_provider_flux.observability.metrics import OUTCOMES, MetricBuffer
from airflow_provider_flux.observability.task_files import TaskFiles

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

log = logging.getLogger(__name__)

__all__ = ["BatchRun", "BatchSettings"]

#: Name of the row store in the local folder of the run.
ROWS_FILE = "rows.sqlite"


class BatchRun:
    """One try of a batch. It runs once.

    :param hook: hook of the connection.
    :param settings: arguments of the operator.
    :param context: context of the task.
    :param plan: landing plan of the batch. Each row gets its own index, key and request.
    :param folder: local folder for temporary files.
    :param monitor: user who watches the batch; ``None`` if nobody does.
    :ivar files: files of the batch, for links and lineage.
    :ivar error: the error that ended the try before all rows were tried; ``None`` if they were.
    """

    def __init__(
        self,
        hook: FluxHook,
        settings: BatchSettings,
        context: Context,
        plan: LandingPlan,
        folder: Path,
        monitor: BatchMonitor | None = None,
    ) -> None:
        self._hook = hook
        self._settings = settings
        self._context = context
        self._plan = plan
        self._folder = folder
        self._monitor = monitor
        self._models = dict(known_models())
        self._began = time.monotonic()
        self._ledger_host = open_ledger_host(context, settings.ledger)
        self._engine: Engine | None = None
        self._survey: BatchSurvey | None = None
        self._quota: SharedState[Quota] | None = None
        self._budgets: BatchBudgets | None = None
        self._is_stopped = False
        self.files = TaskFiles(
            rows_file=file_of(settings.requests),
            folder=fixed_folder(plan.target.path) or None,
            manifest=settings.manifest,
        )
        self.error: FluxError | None = None

    def run(self) -> dict[str, Any]:
        """Try all rows, write the manifest, and return the summary.

        :raises FluxError: if nothing could be submitted or resumed.
        """
        settings, target = self._settings, self._plan.target
        output = self._open_output()
        publish_ledger_folder(self._context, settings.ledger)
        check_stores(target, settings)
        prove_checks(settings.checks.checks)
        live = LiveReader(self._hook.flux_conn_id, settings.live_interval)
        first_limits = live.read_first(time.monotonic())
        self._quota = open_quota(self._hook.settings)
        self._hook.prepare_async()
        with closing(self._new_store()) as store:
            counters = self._load_rows(store)
            journal = self._open_journal(store, counters)
            if self._budgets:
                settle_earlier_tries(self._budgets, store.history)
            survey = self._new_survey(store, counters)
            with RowReader(store.path) as reader:
                survey.load_previous(settings.manifest)
                refusal, before_submits = survey.prepare(reader, self._monitor)
                engine = self._build_engine(store, journal, counters, before_submits)
                if self._monitor:
                    self._monitor.start(self.stop)
                if refusal:
                    engine.stop(float("inf"), refusal)
                elif self._ledger_host:
                    self._ledger_host.remember()
                quota = LiveQuota(engine, live, settings.max_active)
                quota.apply(first_limits)
                reporter = ProgressReporter(
                    engine,
                    reader,
                    output.manifest,
                    settings.manifest_interval,
                    self._context.get("task_state_store"),
                    self._monitor,
                    quota,
                )
                self._run_engine(store, engine, reporter)
                if reporter.has_manifest and not self._is_stopped:
                    output.write_sheet(reader)
                    self.error = self.error or output.write_failed(reader, journal)
                return self._summarize(counters, reader, survey)

    def plan(self) -> BatchPlan:
        """Return the rows and the price of a run, without a submit, a claim or any write.

        :raises FluxError: if the rows, the journal or the previous manifest cannot be read.
        """
        open_stores(self._settings)
        self._hook.prepare_async()
        with closing(self._new_store()) as store:
            counters = self._load_rows(store)
            self._read_journal(store, counters, is_read_only=True)
            survey = self._new_survey(store, counters, is_plan=True)
            survey.load_previous(self._settings.manifest)
            survey.run()
            return survey.build_plan(self._settings.manifest)

    def prune(self, summary: dict[str, Any]) -> None:
        """Delete the images of gone rows after :meth:`run`, if ``prune`` says so and it is safe.

        :param summary: the summary of the run, to which the number of deleted images is added.
        :raises FluxStorageError: if the manifest cannot be written again.
        """
        summary["pruned"] = 0
        survey, engine = self._survey, self._engine
        if self._settings.prune != "delete" or survey is None or engine is None:
            return
        is_complete = self.error is None and not (summary["pending"] or summary["submitted"])
        pruner = Pruner(self._folder / ROWS_FILE, self._plan, self._open_output().manifest)
        summary["pruned"] = pruner.run(
            survey, is_complete=is_complete, is_owner=engine.journal.is_owner
        )

    def stop(self, grace: float | None = None) -> None:
        """Submit nothing more. Rows in flight have a moment to land.

        :param grace: seconds that they have; ``None`` for those of the settings.
        """
        self._is_stopped = True
        if self._survey:
            self._survey.stop()
        if self._engine:
            self._engine.stop(
                self._settings.grace if grace is None else grace,
                FluxBatchError("The task was stopped. A retry resumes the batch."),
            )

    def rows_with_image(self) -> Iterator[ManifestRow]:
        """Yield the rows that have an image, in the order of the input, after :meth:`run`."""
        with RowReader(self._folder / ROWS_FILE) as reader:
            for ended in reader.all_rows():
                if ended.outcome in WITH_IMAGE:
                    yield to_manifest_row(ended)

    def _open_output(self) -> BatchOutput:
        """Open the stores of the manifest and of the journal."""
        settings, target = self._settings, self._plan.target
        content_type = open_stores(settings)
        # A prompt of the input may not be that of an image which an earlier try submitted.
        is_known = settings.policies.on_change == "new"
        manifest = ManifestTarget(
            settings.manifest,
            target.companion_write_options(content_type),
            self._folder,
            with_prompts=is_known and not target.options.hides_prompt,
            input_columns=settings.mapping.columns_to_keep,
        )
        title = self._plan.task.task_id or "Images"
        failed = new_failed_rows(settings, target, self._folder)
        return BatchOutput(manifest, target.folder, title, settings.has_sheet, failed)

    def _new_store(self) -> RowStore:
        builder = RowBuilder(self._plan, self._restore_request)
        return RowStore(self._folder / ROWS_FILE, builder)

    def _new_survey(
        self, store: RowStore, counters: Counters, *, is_plan: bool = False
    ) -> BatchSurvey:
        settings = self._settings
        self._survey = BatchSurvey(
            self._hook,
            store,
            counters,
            on_budget=settings.on_budget,
            prune=settings.prune,
            checks=settings.checks.checks,
            max_rerolls=settings.policies.max_rerolls,
            is_plan=is_plan,
            budgets=self._budgets,
        )
        return self._survey

    def _restore_request(self, model: str, parameters: Mapping[str, Any]) -> GenerationRequest:
        """Rebuild the request of a row that was checked before."""
        request = restore_request(
            model, parameters, validate=self._settings.mapping.validate, models=self._models
        )
        return self._hook.with_webhook_secret(request)

    @property
    def _max_active(self) -> int:
        return self._settings.max_active or self._hook.settings.max_active

    def _load_rows(self, store: RowStore) -> Counters:
        settings = self._settings
        rows = read_rows(settings.requests, settings.mapping)
        if columns := text_columns(settings.checks.checks):
            rows = require_columns(rows, columns)
        sheet = (sheet_uri(settings.manifest),) if settings.has_sheet else ()
        failed = (settings.failed,) if settings.failed else ()
        index = index_uri(settings.manifest)
        reserved = (settings.manifest, index, settings.ledger, *sheet, *failed)
        metrics = MetricBuffer()

        def observe(row: Row) -> None:
            if row.request is None:
                metrics.count(OUTCOMES, row.model, outcome="invalid")
            elif row.request.catalog_model is not None:
                add_files_of(self.files.inputs, row.request.catalog_model, row.request.parameters)

        try:
            count, invalid = load_rows(store, rows, settings.policies, reserved, observe)
        except BaseException:
            metrics.flush()
            raise
        if settings.max_rows is not None and count > settings.max_rows:
            raise FluxRequestError(
                f"The input has {count} rows, and with partition_by_key=True a batch may have "
                f"{settings.max_rows}. Split the rows over mapped tasks, or leave partition_by_key "
                "out."
            )
        counters = Counters(count, self._max_active, settings.max_cost, metrics=metrics)
        counters.outcomes["invalid"] = invalid
        return counters

    def _open_journal(self, store: RowStore, counters: Counters) -> Journal:
        folder, header = self._read_journal(store, counters)
        write_options = record_write_options(self._settings.ledger, self._plan.target)
        returned = [
            phase_entry(submit.claim, submit.key, "returned")
            for submit in store.history.find_recovered()
        ]
        return Journal(folder, header, write_options, returned)

    def _read_journal(
        self, store: RowStore, counters: Counters, *, is_read_only: bool = False
    ) -> tuple[str, SegmentHeader]:
        """Plan the rows by their earlier submits, and claim the journal unless it is only read.

        :return: folder of the journal, and the header of the segments of this try.
        """
        owner, target = self._plan.task, self._plan.target
        header = SegmentHeader(
            owner=owner,
            clear_id=clear_id_of(self._context),
            flux_conn_id=self._hook.flux_conn_id,
            target=target,
        )
        folder = f"{stem_of(self._settings.ledger, owner)}{JOURNAL_SUFFIX}"
        self._budgets = open_batch_budgets(
            self._hook, self._context, folder, header, is_read_only=is_read_only
        )
        check_lost_journal(self._ledger_host, folder, self._settings.policies)
        header = resume_earlier_tries(
            store,
            counters,
            folder=folder,
            header=header,
            write_options=record_write_options(self._settings.ledger, target),
            policies=self._settings.policies,
            is_read_only=is_read_only,
        )
        return folder, header

    def _build_engine(
        self,
        store: RowStore,
        journal: Journal,
        counters: Counters,
        before_submits: Callable[[], Awaitable[FluxError | None]] | None,
    ) -> Engine:
        settings = self._settings
        groups = limits_by_group(settings.model_limits)
        limits = QuotaLimits(self._hook.settings.max_active, groups)
        engine = Engine(
            self._hook,
            store,
            journal,
            counters,
            ConcurrencyLimiter(self._max_active, groups),
            EngineOptions(
                settings.policies.on_uncertain,
                settings.timeout,
                settings.poll_interval,
                settings.checks,
                settings.policies.max_rerolls,
                settings.on_budget,
            ),
            before_submits,
            new_keeper(self._quota, limits, settings.priority),
            self._budgets,
        )
        self._engine = engine
        if self._is_stopped:
            self.stop()
        return engine

    def _run_engine(self, store: RowStore, engine: Engine, reporter: ProgressReporter) -> None:
        """Run the engine, and write the manifest however it ends."""
        try:
            with record_balance(self._hook):
                self.error = run_and_report(store, engine, reporter, self._settings.grace)
        finally:
            engine.counters.metrics.flush()
            self.files.image_count = engine.counters.images
            if reporter.has_manifest:
                self.files.manifest_rows = engine.counters.rows

    def _summarize(
        self, counters: Counters, reader: RowReader, survey: BatchSurvey
    ) -> dict[str, Any]:
        outcomes = dict.fromkeys(ALL_OUTCOMES, 0) | reader.count_outcomes()
        summary = counters.summarize(
            outcomes, estimated=survey.expected, seconds=time.monotonic() - self._began
        )
        is_trim = self._settings.on_budget == "trim" and self.error is None
        summary["trimmed"] = outcomes["pending"] if is_trim else 0
        summary |= survey.counts.figures() if survey.counts else NO_FIGURES
        summary["manifest"] = self._settings.manifest
        if self._settings.failed:
            summary["failed_path"] = self._settings.failed
        figures = ", ".join(f"{name} {value}" for name, value in summary.items() if value)
        log.info("Summary: %s", figures)
        return summary
