"""The command ``gallery``: a contact sheet of the images below a folder."""

from __future__ import annotations

import argparse

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.cli.connections import use_database_connections
from airflow_provider_flux.cli.console import logs_on_stderr, tell
from airflow_provider_flux.cli.exit_codes import exit_on_error
from airflow_provider_flux.cli.task_ids import absolute_path
from airflow_provider_flux.gallery.contact_sheet import default_title
from airflow_provider_flux.gallery.find_cards import find_cards
from airflow_provider_flux.gallery.page_filters import show_count
from airflow_provider_flux.gallery.sheet_file import SheetTarget, put_sheet

_MIB = 1024 * 1024


def run(args: argparse.Namespace) -> None:
    """Write the contact sheet of a folder or of a manifest.

    :param args: the parsed options of the command.
    :raises SystemExit: with the code of :mod:`~airflow_provider_flux.cli.exit_codes`.
    """
    use_database_connections()
    with logs_on_stderr(is_verbose=args.verbose), exit_on_error("gallery"):
        if not 0 <= args.max_size <= 4096:
            raise FluxRequestError("--max-size must be from 0 to 4096 MiB.")
        place = absolute_path(args.prefix)
        target = SheetTarget(absolute_path(args.sheet), max_thumb_bytes=int(args.max_size * _MIB))
        found = find_cards(place)
        for notice in found.notices:
            tell(notice)
        summary = put_sheet(
            found.cards,
            target,
            root=found.root,
            title=args.title or default_title(place),
            notices=found.notices,
        )
        totals = found.cards.totals
        tell(
            f"{args.sheet}: {show_count(totals.cards, 'row')}, "
            f"{show_count(totals.images, 'image')}, {show_count(summary.thumbs, 'thumbnail')}"
        )
