"""One try of a batch, from its rows to its manifest."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_flux.batch.execution.engine import Engine, EngineOptions
from airflow_provider_flux.batch.execution.inspect import CheckOptions
from airflow_provider_flux.batch.input.checked_columns import require_columns
from airflow_provider_flux.batch.input.excel_format import split_sheet
from airflow_provider_flux.batch.input.mapping import InputMapping
from airflow_provider_flux.batch.input.requests import restore_request
from airflow_provider_flux.batch.input.rows import Row, read_rows
from airflow_provider_flux.batch.limit_groups import limits_by_group
from airflow_provider_flux.batch.lost_journal import check_lost_journal
from airflow_provider_flux.batch.report.contact_sheet import sheet_uri, try_write_sheet
from airflow_provider_flux.batch.report.counters import ALL_OUTCOMES, WITH_IMAGE, Counters
from airflow_provider_flux.batch.report.manifest import (
    ManifestRow,
    content_type_of,
    to_manifest_row,
)
from airflow_provider_flux.batch.report.monitor import BatchMonitor, ExpectedSubmits
from airflow_provider_flux.batch.row_policy import RowPolicies
from airflow_provider_flux.batch.row_reader import RowReader
from airflow_provider_flux.batch.row_states import RowBuilder
from airflow_provider_flux.batch.row_store import RowStore
from airflow_provider_flux.batch.run_loop import (
    EngineThread,
    ManifestTarget,
    ProgressReporter,
    silence_image_logs,
)
from airflow_provider_flux.batch.run_setup import (
    check_budget,
    load_rows,
    resume_earlier_tries,
)
from airflow_provider_flux.batch.schedule.concurrency import ConcurrencyLimiter
from airflow_provider_flux.bfl.errors import (
    FluxBatchError,
    FluxBudgetError,
    FluxError,
    FluxInsufficientCreditsError,
    FluxRequestError,
)
from airflow_provider_flux.bfl.inputs import is_path
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
from airflow_provider_flux.media.input_files import add_input_files
from airflow_provider_flux.object_store.filesystem import check_writable, open_path
from airflow_provider_flux.object_store.write_probe import prove_writable
from airflow_provider_flux.observability.metrics import OUTCOMES, MetricBuffer
from airflow_provider_flux.observability.task_files import TaskFiles

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

log = logging.getLogger(__name__)

#: Name of the row store in the local folder of the run.
ROWS_FILE = "rows.sqlite"


@dataclass(frozen=True)
class BatchSettings:
    """The rendered and checked arguments of the operator, and durations that are no arguments.

    :param requests: rows of the input, the path of a file, or a query.
    :param mapping: how rows become requests.
    :param policies: choices of the user about rows.
    :param max_active: active generations at most; ``None`` for the limit of the connection.
    :param model_limits: active generations at most, by model.
    :param max_cost: credits that the batch may cost over all tries; ``None`` for no limit.
    :param manifest: URI of the manifest.
    :param ledger: URI of the folder of the journal, with a slash at its end.
    :param timeout: seconds from the submit of a row after which the try stops waiting for it;
        ``None`` for the default of its model.
    :param has_sheet: whether to write a contact sheet beside the manifest.
    :param max_rows: most rows that the input may have; ``None`` for any number.
    :param checks: checks of the results.
    :param manifest_interval: seconds between two manifests while the batch works.
    :param poll_interval: seconds between two polls of BFL's documented loop. The schedule of a
        model makes about as many polls, at the times at which its generations usually end.
    :param grace: seconds that rows in flight have to land if the task is stopped. Airflow kills it
        5 seconds after SIGTERM.
    """

    requests: Any
    mapping: InputMapping
    policies: RowPolicies
    max_active: int | None
    model_limits: Mapping[str, int]
    max_cost: float | None
    manifest: str
    ledger: str
    timeout: float | None
    has_sheet: bool = False
    max_rows: int | None = None
    checks: CheckOptions = field(default_factory=CheckOptions)
    manifest_interval: float = 60.0
    poll_interval: float = 0.5
    grace: float = 4.0


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
        self._is_stopped = False
        self.files = TaskFiles(
            rows_file=_file_of(settings.requests),
            folder=fixed_folder(plan.target.path) or None,
            manifest=settings.manifest,
        )
        self.error: FluxError | None = None

    def run(self) -> dict[str, Any]:
        """Try all rows, write the manifest, and return the summary.

        :raises FluxError: if nothing could be submitted or resumed.
        """
        manifest = self._open_output()
        self._hook.prepare_async()
        builder = RowBuilder(self._plan, self._restore_request)
        with closing(RowStore(self._folder / ROWS_FILE, builder)) as store:
            counters = self._load_rows(store)
            journal = self._open_journal(store, counters)
            with RowReader(store.path) as reader:
                expected, _ = reader.expected_cost()
                refusal = self._check_budget(reader, counters) or self._ask(reader, counters)
                engine = self._build_engine(store, journal, counters)
                if self._monitor:
                    self._monitor.start(self.stop)
                if refusal:
                    engine.stop(float("inf"), refusal)
                elif self._ledger_host:
                    self._ledger_host.remember()
                reporter = self._build_reporter(engine, reader, manifest)
                self._run_engine(store, engine, reporter)
                if self._settings.has_sheet and reporter.has_manifest and not self._is_stopped:
                    self._write_sheet(reader, manifest)
                return self._summarize(counters, reader, expected)

    def stop(self, grace: float | None = None) -> None:
        """Submit nothing more. Rows in flight have a moment to land.

        :param grace: seconds that they have; ``None`` for those of the settings.
        """
        self._is_stopped = True
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

    def _open_output(self) -> ManifestTarget:
        """Check that the stores of the manifest and of the journal can be used."""
        settings = self._settings
        publish_ledger_folder(self._context, settings.ledger)
        content_type = content_type_of(settings.manifest)
        write_options = self._plan.target.companion_write_options(content_type)
        open_path(settings.manifest, field="manifest_path")
        check_writable(settings.manifest, field="manifest_path")
        open_path(settings.ledger, field="ledger_path")
        prove_checks(settings.checks.checks)
        target = self._plan.target
        prove_writable(
            target.path,
            root=target.root,
            ledger=settings.ledger,
            write_options=target.companion_write_options("text/plain"),
        )
        # A prompt of the input may not be that of an image which an earlier try submitted.
        is_known = settings.policies.on_change == "new"
        with_prompts = is_known and not target.options.hides_prompt
        return ManifestTarget(settings.manifest, write_options, self._folder, with_prompts)

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
        reserved = (settings.manifest, index_uri(settings.manifest), settings.ledger, *sheet)
        metrics = MetricBuffer()

        def observe(row: Row) -> None:
            if row.request is None:
                metrics.count(OUTCOMES, row.model, outcome="invalid")
            else:
                add_input_files(self.files.inputs, row.request.model, row.request.parameters)

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
        owner, target = self._plan.task, self._plan.target
        header = SegmentHeader(
            owner=owner,
            clear_id=clear_id_of(self._context),
            flux_conn_id=self._hook.flux_conn_id,
            target=target,
        )
        write_options = record_write_options(self._settings.ledger, target)
        folder = f"{stem_of(self._settings.ledger, owner)}{JOURNAL_SUFFIX}"
        check_lost_journal(self._ledger_host, folder, self._settings.policies)
        header = resume_earlier_tries(
            store,
            counters,
            folder=folder,
            header=header,
            write_options=write_options,
            policies=self._settings.policies,
        )
        returned = [
            phase_entry(submit.claim, submit.key, "returned")
            for submit in store.history.find_recovered()
        ]
        return Journal(folder, header, write_options, returned)

    def _check_budget(self, reader: RowReader, counters: Counters) -> FluxError | None:
        """Refuse a batch that costs more than ``max_cost`` or the balance.

        If there are rows to resume, the error is returned, to be raised after they have landed:
        BFL keeps their results for minutes only.
        """
        try:
            check_budget(self._hook, counters, reader)
        except (FluxBudgetError, FluxInsufficientCreditsError) as error:
            if not reader.count_outcomes().get("submitted"):
                raise
            log.warning("%s The rows that earlier tries submitted are resumed now", error)
            return error
        return None

    def _ask(self, reader: RowReader, counters: Counters) -> FluxError | None:
        """Ask the user who watches the batch. A refusal is one of :meth:`_check_budget`."""
        if self._monitor is None:
            return None
        credits_, unpriced = reader.expected_cost()
        models = tuple(reader.expected_by_model())
        submitted = reader.count_outcomes().get("submitted", 0)
        expected = ExpectedSubmits(counters.rows, models, credits_, unpriced, submitted)
        refusal = self._monitor.confirm(expected)
        if refusal and not submitted:
            raise refusal
        return refusal

    def _build_engine(self, store: RowStore, journal: Journal, counters: Counters) -> Engine:
        settings = self._settings
        engine = Engine(
            self._hook,
            store,
            journal,
            counters,
            ConcurrencyLimiter(self._max_active, limits_by_group(settings.model_limits)),
            EngineOptions(
                settings.policies.on_uncertain,
                settings.timeout,
                settings.poll_interval,
                settings.checks,
                settings.policies.max_rerolls,
            ),
        )
        self._engine = engine
        if self._is_stopped:
            self.stop()
        return engine

    def _build_reporter(
        self, engine: Engine, reader: RowReader, manifest: ManifestTarget
    ) -> ProgressReporter:
        return ProgressReporter(
            engine,
            reader,
            manifest,
            self._settings.manifest_interval,
            self._context.get("task_state_store"),
            self._monitor,
        )

    def _write_sheet(self, reader: RowReader, manifest: ManifestTarget) -> None:
        try_write_sheet(
            reader,
            manifest.uri,
            manifest.write_options,
            manifest.folder,
            root=self._plan.target.folder,
            title=self._plan.task.task_id or "Images",
            with_prompts=manifest.with_prompts,
        )

    def _run_engine(self, store: RowStore, engine: Engine, reporter: ProgressReporter) -> None:
        """Run the engine, and write the manifest however it ends."""
        try:
            self._run_and_report(store, engine, reporter)
        finally:
            engine.counters.metrics.flush()
            self.files.image_count = engine.counters.images
            if reporter.has_manifest:
                self.files.manifest_rows = engine.counters.rows

    def _run_and_report(self, store: RowStore, engine: Engine, reporter: ProgressReporter) -> None:
        try:
            with silence_image_logs():
                EngineThread(engine, reporter.tick, self._settings.grace).run()
        except BaseException:
            store.commit()
            reporter.try_manifest()
            raise
        store.commit()
        self.error = engine.error
        try:
            reporter.write_manifest()
        except FluxError as error:  # a retry writes it, and submits nothing
            log.error("%s", error)
            self.error = self.error or error
        reporter.report()

    def _summarize(self, counters: Counters, reader: RowReader, expected: float) -> dict[str, Any]:
        summary = counters.summarize(
            dict.fromkeys(ALL_OUTCOMES, 0) | reader.count_outcomes(),
            estimated=expected,
            seconds=time.monotonic() - self._began,
        )
        summary["manifest"] = self._settings.manifest
        figures = ", ".join(f"{name} {value}" for name, value in summary.items() if value)
        log.info("Summary: %s", figures)
        return summary


def _file_of(requests: Any) -> str | None:
    """Return the path of the file of rows; ``None`` for a list, and for text that is no path."""
    is_text = isinstance(requests, str) or is_path(requests)
    text, _ = split_sheet(str(requests).strip() if is_text else "")
    return text if text.startswith("/") or "://" in text.partition("\n")[0][:32] else None
