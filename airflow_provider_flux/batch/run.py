"""One try of a batch, from its rows to its manifest."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_flux.account.readings import record_balance
from airflow_provider_flux.batch.account_budget import open_batch_budgets, settle_earlier_tries
from airflow_provider_flux.batch.account_quota import (
    AccountQuota,
    LiveQuota,
    open_account_quota,
)
from airflow_provider_flux.batch.execution.engine import Engine
from airflow_provider_flux.batch.execution.row_budgets import BatchBudgets
from airflow_provider_flux.batch.input.requests import restore_request
from airflow_provider_flux.batch.plan import BatchPlan
from airflow_provider_flux.batch.prune import Pruner
from airflow_provider_flux.batch.report.counters import WITH_IMAGE, Counters
from airflow_provider_flux.batch.report.manifest import ManifestRow, to_manifest_row
from airflow_provider_flux.batch.report.monitor import BatchMonitor
from airflow_provider_flux.batch.row_reader import RowReader
from airflow_provider_flux.batch.row_states import RowBuilder
from airflow_provider_flux.batch.row_store import RowStore
from airflow_provider_flux.batch.run_input import load_input
from airflow_provider_flux.batch.run_journal import RunJournal, find_journal
from airflow_provider_flux.batch.run_loop import ProgressReporter, frozen_modules
from airflow_provider_flux.batch.run_output import (
    BatchOutput,
    check_stores,
    file_of,
    open_output,
    open_stores,
    run_and_report,
)
from airflow_provider_flux.batch.run_summary import summarize_run
from airflow_provider_flux.batch.run_survey import BatchSurvey
from airflow_provider_flux.batch.settings import BatchSettings
from airflow_provider_flux.bfl.errors import FluxBatchError, FluxError
from airflow_provider_flux.bfl.request import GenerationRequest
from airflow_provider_flux.checks.process import prove_checks
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.output_path import fixed_folder
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.ledger.journal import Journal
from airflow_provider_flux.ledger.ledger_folder import publish_ledger_folder
from airflow_provider_flux.ledger.ledger_host import open_ledger_host
from airflow_provider_flux.observability.task_files import TaskFiles

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

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
        quota = open_account_quota(self._hook, settings)
        self._hook.prepare_async()
        with frozen_modules(), closing(self._new_store()) as store:
            counters = load_input(store, settings, self.files, self._max_active)
            found = self._find_journal()
            budgets = open_batch_budgets(self._hook, self._context, found.folder, found.header)
            journal = found.open(store, counters)
            if budgets:
                settle_earlier_tries(budgets, store.history)
            survey = self._new_survey(store, counters, budgets)
            with RowReader(store.path) as reader:
                survey.load_previous(settings.manifest)
                refusal, before_submits = survey.prepare(reader, self._monitor)
                engine = self._build_engine(
                    store, journal, counters, quota, budgets, before_submits
                )
                if self._monitor:
                    self._monitor.start(self.stop)
                if refusal:
                    engine.stop(float("inf"), refusal)
                elif self._ledger_host:
                    self._ledger_host.remember()
                reporter = self._new_reporter(engine, reader, output, quota.follow(engine))
                self._run_engine(store, engine, reporter)
                if reporter.has_manifest and not self._is_stopped:
                    output.write_sheet(reader)
                    self.error = self.error or output.write_failed(reader, journal)
                return summarize_run(
                    settings,
                    counters,
                    reader,
                    survey,
                    began=self._began,
                    has_error=self.error is not None,
                )

    def plan(self) -> BatchPlan:
        """Return the rows and the price of a run, without a submit, a claim or any write.

        :raises FluxError: if the rows, the journal or the previous manifest cannot be read.
        """
        open_stores(self._settings)
        self._hook.prepare_async()
        with closing(self._new_store()) as store:
            counters = load_input(store, self._settings, self.files, self._max_active)
            found = self._find_journal()
            budgets = open_batch_budgets(
                self._hook, self._context, found.folder, found.header, is_read_only=True
            )
            found.read(store, counters)
            survey = self._new_survey(store, counters, budgets, is_plan=True)
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
        return open_output(self._settings, self._plan, self._folder)

    def _find_journal(self) -> RunJournal:
        return find_journal(
            self._context,
            self._settings,
            self._plan,
            self._hook.flux_conn_id,
            self._ledger_host,
        )

    def _new_store(self) -> RowStore:
        builder = RowBuilder(self._plan, self._restore_request)
        return RowStore(self._folder / ROWS_FILE, builder)

    def _new_survey(
        self,
        store: RowStore,
        counters: Counters,
        budgets: BatchBudgets | None,
        *,
        is_plan: bool = False,
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
            budgets=budgets,
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

    def _build_engine(
        self,
        store: RowStore,
        journal: Journal,
        counters: Counters,
        quota: AccountQuota,
        budgets: BatchBudgets | None,
        before_submits: Callable[[], Awaitable[FluxError | None]] | None,
    ) -> Engine:
        engine = Engine(
            self._hook,
            store,
            journal,
            counters,
            quota.new_limiter(counters.max_active),
            self._settings.engine_options,
            before_submits,
            quota.new_keeper(),
            budgets,
        )
        self._engine = engine
        if self._is_stopped:
            self.stop()
        return engine

    def _new_reporter(
        self, engine: Engine, reader: RowReader, output: BatchOutput, quota: LiveQuota
    ) -> ProgressReporter:
        return ProgressReporter(
            engine,
            reader,
            output.manifest,
            self._settings.manifest_interval,
            self._context.get("task_state_store"),
            self._monitor,
            quota,
        )

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
