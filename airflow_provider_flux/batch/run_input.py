"""The input of one run: its rows are read, checked and stored."""

from __future__ import annotations

from airflow_provider_flux.batch.input.checked_columns import require_columns
from airflow_provider_flux.batch.input.rows import Row, read_rows
from airflow_provider_flux.batch.report.contact_sheet import sheet_uri
from airflow_provider_flux.batch.report.counters import Counters
from airflow_provider_flux.batch.row_store import RowStore
from airflow_provider_flux.batch.run_setup import load_rows
from airflow_provider_flux.batch.settings import BatchSettings
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.checks.check import text_columns
from airflow_provider_flux.gallery.manifest_cards import index_uri
from airflow_provider_flux.media.input_files import add_files_of
from airflow_provider_flux.observability.metrics import OUTCOMES, MetricBuffer
from airflow_provider_flux.observability.task_files import TaskFiles


def load_input(
    store: RowStore, settings: BatchSettings, files: TaskFiles, max_active: int
) -> Counters:
    """Store the rows of the input, and return the counters of a batch with them.

    :param store: an empty row store.
    :param settings: settings of the batch.
    :param files: files of the batch, to which those that the rows name are added.
    :param max_active: generations that the batch may have active.
    :raises FluxRequestError: if the input cannot be read, has too many rows, or has rows that are
        not valid with ``on_invalid_row="fail"``.
    """
    rows = read_rows(settings.requests, settings.mapping)
    if columns := text_columns(settings.checks.checks):
        rows = require_columns(rows, columns)
    metrics = MetricBuffer()

    def observe(row: Row) -> None:
        if row.request is None:
            metrics.count(OUTCOMES, row.model, outcome="invalid")
        elif row.request.catalog_model is not None:
            add_files_of(files.inputs, row.request.catalog_model, row.request.parameters)

    try:
        count, invalid = load_rows(
            store, rows, settings.policies, _reserved_uris(settings), observe
        )
    except BaseException:
        metrics.flush()
        raise
    if settings.max_rows is not None and count > settings.max_rows:
        raise FluxRequestError(
            f"The input has {count} rows, and with partition_by_key=True a batch may have "
            f"{settings.max_rows}. Split the rows over mapped tasks, or leave partition_by_key "
            "out."
        )
    counters = Counters(count, max_active, settings.max_cost, metrics=metrics)
    counters.outcomes["invalid"] = invalid
    return counters


def _reserved_uris(settings: BatchSettings) -> tuple[str, ...]:
    """Return the URIs of the batch's own files, which no image may have."""
    sheet = (sheet_uri(settings.manifest),) if settings.has_sheet else ()
    failed = (settings.failed,) if settings.failed else ()
    index = index_uri(settings.manifest)
    return (settings.manifest, index, settings.ledger, *sheet, *failed)
