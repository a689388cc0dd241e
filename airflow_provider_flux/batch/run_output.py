"""The files that a batch writes: the manifest, its index and the contact sheet."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from airflow_provider_flux.batch.execution.engine import Engine
from airflow_provider_flux.batch.report.contact_sheet import try_write_sheet
from airflow_provider_flux.batch.report.manifest import content_type_of
from airflow_provider_flux.batch.row_reader import RowReader
from airflow_provider_flux.batch.row_store import RowStore
from airflow_provider_flux.batch.run_loop import (
    EngineThread,
    ManifestTarget,
    ProgressReporter,
    silence_image_logs,
)
from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.object_store.filesystem import check_writable, open_path
from airflow_provider_flux.object_store.write_probe import prove_writable

log = logging.getLogger(__name__)


def open_stores(manifest: str, ledger: str) -> str:
    """Open the stores of the manifest and of the journal, and return the MIME type of the former.

    :param manifest: URI of the manifest.
    :param ledger: URI of the folder of the journal.
    :raises FluxRequestError: if the name of the manifest has no known ending.
    :raises FluxConfigurationError: if a store cannot be used.
    """
    content_type = content_type_of(manifest)
    open_path(manifest, field="manifest_path")
    open_path(ledger, field="ledger_path")
    return content_type


def check_stores(target: Target, manifest: str, ledger: str) -> None:
    """Prove before the first submit that images, the manifest and the journal can be written.

    :param target: target of the batch.
    :param manifest: URI of the manifest.
    :param ledger: URI of the folder of the journal.
    :raises FluxConfigurationError: if a bucket does not exist, or a folder cannot be written.
    :raises FluxStorageError: if the store refuses the write, or does not answer.
    """
    check_writable(manifest, field="manifest_path")
    write_options = target.companion_write_options("text/plain")
    prove_writable(target.path, root=target.root, ledger=ledger, write_options=write_options)


@dataclass(frozen=True)
class BatchOutput:
    """The files of a batch, and how they are written.

    :param manifest: location of the manifest.
    :param root: folder of the images.
    :param title: title of the contact sheet.
    :param has_sheet: whether there is a contact sheet.
    """

    manifest: ManifestTarget
    root: str
    title: str
    has_sheet: bool

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
