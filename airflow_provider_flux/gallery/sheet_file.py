"""Write a contact sheet to a store, with the thumbnails of that store or of another one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_flux.gallery.contact_sheet import (
    MAX_THUMB_BYTES,
    SheetCards,
    SheetSummary,
    write_sheet,
)
from airflow_provider_flux.gallery.sheet_thumbs import read_thumbs
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import open_path, run_sync
from airflow_provider_flux.object_store.uploads import put_file

CONTENT_TYPE = "text/html; charset=utf-8"
_HTML = WriteOptions(CONTENT_TYPE)


@dataclass(frozen=True)
class SheetTarget:
    """Location and size of a sheet.

    :param uri: URI or absolute path of the HTML file.
    :param write_options: how it is written.
    :param max_thumb_bytes: most bytes of thumbnails, 64 MiB by default.
    """

    uri: str
    write_options: WriteOptions = _HTML
    max_thumb_bytes: int = MAX_THUMB_BYTES


def put_sheet(
    cards: SheetCards,
    target: SheetTarget,
    *,
    root: str,
    title: str,
    notices: Iterable[str] = (),
    temporary: str | None = None,
) -> SheetSummary:
    """Write the contact sheet of some cards, in one put that replaces an earlier one.

    :param cards: the cards.
    :param target: where to write the sheet.
    :param root: folder of the images, with a slash at its end, whose store is open. Nothing outside
        of it is read, and nothing is read if it is empty.
    :param title: title of the sheet.
    :param notices: sentences above the tiles.
    :param temporary: local folder for a temporary file; that of the system by default.
    :return: what the sheet has.
    :raises FluxConfigurationError: if the store of the sheet cannot be opened.
    :raises FluxStorageError: if the sheet cannot be written.
    """
    open_path(target.uri, field="contact_sheet")
    with tempfile.TemporaryDirectory(prefix="flux-sheet-", dir=temporary) as folder:
        local = Path(folder) / "sheet.html"
        with local.open("w", encoding="utf-8", newline="\n") as stream:
            summary = write_sheet(
                stream,
                cards,
                read_thumbs(cards, root),
                title=title,
                folder=target.uri[: target.uri.rindex("/") + 1],
                notices=notices,
                max_thumb_bytes=target.max_thumb_bytes,
            )
        run_sync(put_file(target.uri, local, target.write_options))
    return summary
