"""The command ``recover``: land the images that no task returned."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from airflow.cli.simple_table import AirflowConsole
from airflow.utils.cli import suppress_logs_and_warning

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.redaction import escape_control
from airflow_provider_flux.cli.connections import use_database_connections
from airflow_provider_flux.recovery.find import FoundRecords, RecordFilter, find_records
from airflow_provider_flux.recovery.recover import RecoveryResult, recover_all


@suppress_logs_and_warning
def run(args: argparse.Namespace) -> None:
    """List the records that no task returned, and land their images unless it is a dry run.

    :param args: the parsed options of the command.
    :raises SystemExit: with a message if ``--output-path`` is not valid; with 1 if a record or
        folder cannot be read, or an image cannot be landed because of an error.
    """
    use_database_connections()
    found = find_records(RecordFilter(args.prefix, args.dag_id, args.run_id))
    try:
        results = list(
            recover_all(
                found.records,
                dry_run=args.dry_run,
                output_path=args.output_path,
                flux_conn_id=args.flux_conn_id,
            )
        )
    except FluxRequestError as error:
        raise SystemExit(f"--output-path: {error}") from None
    if results:
        # A record in a bucket may hold escape sequences, which a terminal would obey.
        rows = [
            {name: " ".join(escape_control(text).splitlines()) for name, text in row.items()}
            for row in (result.as_row() for result in results)
        ]
        AirflowConsole().print_as(data=rows, output=args.output)
    _print_summary(found, results)
    if found.unreadable or any(result.outcome == "error" for result in results):
        raise SystemExit(1)


def _print_summary(found: FoundRecords, results: Sequence[RecoveryResult]) -> None:
    """Print to stderr what cannot be read, and the number of records by outcome."""
    for unreadable in found.unreadable:
        message = escape_control(str(unreadable.error))
        print(f"{type(unreadable.error).__name__}: {message}", file=sys.stderr)  # noqa: T201
    counts = Counter(result.outcome for result in results)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
    print(  # noqa: T201
        f"{len(found.records)} records: {outcomes or 'nothing to recover'}; "
        f"{len(found.unreadable)} could not be read",
        file=sys.stderr,
    )
