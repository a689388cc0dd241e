"""Contact sheet of a batch, beside its manifest."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from airflow_provider_flux.batch.report.manifest import to_card, to_manifest_row
from airflow_provider_flux.batch.row_reader import RowReader
from airflow_provider_flux.gallery.card import Card
from airflow_provider_flux.gallery.filters import Totals
from airflow_provider_flux.gallery.sheet_file import CONTENT_TYPE, SheetTarget, put_sheet
from airflow_provider_flux.object_store.backends import WriteOptions

log = logging.getLogger(__name__)


def sheet_uri(manifest: str) -> str:
    """Return the URI of the contact sheet of a manifest: ``shop.html`` for ``shop.jsonl``.

    :param manifest: URI of the manifest.
    """
    return f"{manifest.rpartition('.')[0]}.html"


@dataclass(frozen=True)
class _RowCards:
    """The cards of a batch, read from its row store each time.

    :param reader: reader of the rows.
    :param with_prompts: whether cards have the prompts.
    """

    reader: RowReader
    with_prompts: bool

    @cached_property
    def totals(self) -> Totals:
        """Totals of all cards."""
        return Totals.of(self)

    def __iter__(self) -> Iterator[Card]:
        for ended in self.reader.all_rows(with_prompts=self.with_prompts):
            yield to_card(to_manifest_row(ended), ended.prompt)


def try_write_sheet(
    reader: RowReader,
    manifest: str,
    write_options: WriteOptions,
    folder: Path,
    *,
    root: str,
    title: str,
    with_prompts: bool,
) -> None:
    """Write the contact sheet of a batch, and only log an error: the images have landed.

    :param reader: reader of the rows of the batch.
    :param manifest: URI of the manifest.
    :param write_options: how the manifest is written.
    :param folder: local folder for a temporary file.
    :param root: folder below which all images are, with a slash at its end; empty if there is none.
    :param title: title of the sheet.
    :param with_prompts: whether the sheet has the prompts.
    """
    options = replace(write_options, content_type=CONTENT_TYPE)
    target = SheetTarget(sheet_uri(manifest), options)
    cards = _RowCards(reader, with_prompts)
    try:
        summary = put_sheet(cards, target, root=root, title=title, temporary=str(folder))
    except Exception as error:
        log.warning(
            "The contact sheet could not be written (%s). %s Run airflow flux gallery to write it",
            type(error).__name__,
            error,
        )
        return
    log.info("Contact sheet with %d thumbnails: %s", summary.thumbs, target.uri)
