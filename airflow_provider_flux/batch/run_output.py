"""The files that a batch writes: manifest, index, contact sheet, and the rows that failed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_flux.batch.execution.engine import Engine
from airflow_provider_flux.batch.input.excel_format import split_sheet
from airflow_provider_flux.batch.report.contact_sheet import sheet_uri, try_write_sheet
from airflow_provider_flux.batch.report.failed_rows import (
    FailedRows,
    check_failed_path,
    check_other_path,
)
from airflow_provider_flux.batch.report.manifest import content_type_of
from airflow_provider_flux.batch.row_reader import RowReader
from airflow_provider_flux.batch.row_store import RowStore
from airflow_provider_flux.batch.run_loop import (
    EngineThread,
    ManifestTarget,
    ProgressReporter,
    silence_image_logs,
)
from airflow_provider_flux.batch.settings import BatchSettings
from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.bfl.inputs import is_path
from airflow_provider_flux.gallery.manifest_cards import index_uri
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.ledger.journal import Journal
from airflow_provider_flux.object_store.filesystem import check_writable, open_path
from airflow_provider_flux.object_store.write_probe import prove_writable

log = logging.getLogger(__name__)


def open_stores(settings: BatchSettings) -> str:
    """Open the stores of manifest, journal and failed rows, and return the manifest's MIME type.

    :param settings: settings of the batch.
    :raises FluxRequestError: if the name of a file has no known ending, or is that of another.
    :raises FluxConfigurationError: if a store cannot be used.
    """
    content_type = content_type_of(settings.manifest)
    open_path(settings.manifest, field="manifest_path")
    open_path(settings.ledger, field="ledger_path")
    if settings.failed:
        check_failed_path(settings.failed)
        others = {
            "the manifest": settings.manifest,
            "the index of the manifest": index_uri(settings.manifest),
            "the contact sheet": sheet_uri(settings.manifest) if settings.has_sheet else None,
            "a file of the journal": settings.ledger,
            "the input": file_of(settings.requests),
        }
        check_other_path(settings.failed, others)
        open_path(settings.failed, field="failed_path")
    return content_type


def check_stores(target: Target, settings: BatchSettings) -> None:
    """Prove before the first submit that images and the other files of a batch can be written.

    :param target: target of the batch.
    :param settings: settings of the batch.
    :raises FluxConfigurationError: if a bucket does not exist, or a folder cannot be written.
    :raises FluxStorageError: if the store refuses the write, or does not answer.
    """
    check_writable(settings.manifest, field="manifest_path")
    if settings.failed:
        check_writable(settings.failed, field="failed_path")
    write_options = target.companion_write_options("text/plain")
    prove_writable(
        target.path, root=target.root, ledger=settings.ledger, write_options=write_options
    )


def new_failed_rows(settings: BatchSettings, target: Target, folder: Path) -> FailedRows | None:
    """Return the file of the rows that did not work; ``None`` if there is to be none.

    :param settings: settings of the batch.
    :param target: target of the batch.
    :param folder: local folder for a temporary file.
    """
    if settings.failed is None:
        return None
    write_options = target.companion_write_options(check_failed_path(settings.failed))
    return FailedRows(settings.failed, write_options, folder, settings.mapping)


@dataclass(frozen=True)
class BatchOutput:
    """The files of a batch, and how they are written.

    :param manifest: location of the manifest.
    :param root: folder of the images.
    :param title: title of the contact sheet.
    :param has_sheet: whether there is a contact sheet.
    :param failed: file of the rows that did not work; ``None`` for none.
    """

    manifest: ManifestTarget
    root: str
    title: str
    has_sheet: bool
    failed: FailedRows | None = None

    def write_failed(self, reader: RowReader, journal: Journal) -> FluxError | None:
        """Write the rows that did not work, unless a later try claimed the journal.

        :param reader: reader of the rows.
        :param journal: journal of this try.
        :return: the error if they could not be written. The manifest is written already, so a retry
            writes the file and submits nothing.
        """
        if self.failed is None:
            return None
        try:
            if journal.is_owner():
                self.failed.write(reader)
        except FluxError as error:
            log.error("%s", error)
            return error
        return None

    def write_sheet(self, reader: RowReader) -> None:
        """Write the contact sheet, if there is to be one; an error is only logged.

        :param reader: reader of the rows.
        """
        if self.has_sheet:
            try_write_sheet(
                reader,
                self.manifest.uri,
                self.manifest.write_options,
                self.manifest.folder,
                root=self.root,
                title=self.title,
                with_prompts=self.manifest.with_prompts,
            )


def open_output(settings: BatchSettings, plan: LandingPlan, folder: Path) -> BatchOutput:
    """Open the stores of the manifest and of the journal, and return the files of a batch.

    :param settings: settings of the batch.
    :param plan: landing plan of the batch.
    :param folder: local folder for temporary files.
    :raises FluxRequestError: if the name of a file has no known ending, or is that of another.
    :raises FluxConfigurationError: if a store cannot be used.
    """
    target = plan.target
    content_type = open_stores(settings)
    # A prompt of the input may not be that of an image which an earlier try submitted.
    is_known = settings.policies.on_change == "new"
    manifest = ManifestTarget(
        settings.manifest,
        target.companion_write_options(content_type),
        folder,
        with_prompts=is_known and not target.options.hides_prompt,
        input_columns=settings.mapping.columns_to_keep,
    )
    title = plan.task.task_id or "Images"
    failed = new_failed_rows(settings, target, folder)
    return BatchOutput(manifest, target.folder, title, settings.has_sheet, failed)


def run_and_report(
    store: RowStore, engine: Engine, reporter: ProgressReporter, grace: float
) -> FluxError | None:
    """Run the engine, and write the manifest however it ends.

    :param store: the rows of the batch.
    :param engine: the engine.
    :param reporter: reports its progress.
    :param grace: seconds that rows in flight have to land after an interruption.
    :return: the error that ended the try before all rows were tried; ``None`` if they were.
    """
    try:
        with silence_image_logs():
            EngineThread(engine, reporter.tick, grace).run()
    except BaseException:
        store.commit()
        reporter.try_manifest()
        raise
    store.commit()
    error = engine.error
    try:
        reporter.write_manifest()
    except FluxError as problem:  # a retry writes it, and submits nothing
        log.error("%s", problem)
        error = error or problem
    reporter.report()
    return error


def file_of(requests: Any) -> str | None:
    """Return the path of the file of rows; ``None`` for a list, and for text that is no path.

    :param requests: rows of the input, the path of a file, or a query.
    """
    is_text = isinstance(requests, str) or is_path(requests)
    text, _ = split_sheet(str(requests).strip() if is_text else "")
    return text if text.startswith("/") or "://" in text.partition("\n")[0][:32] else None
