"""The command ``costs``: what tasks have paid, by DAG, task, model, day or outcome."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from airflow_provider_flux.accounting.costs.csv_output import as_csv
from airflow_provider_flux.accounting.costs.index_file import open_index
from airflow_provider_flux.accounting.costs.period import Period, parse_period
from airflow_provider_flux.accounting.costs.refresh import OnStep, Progress
from airflow_provider_flux.accounting.costs.report import (
    KEYS,
    CostReport,
    CostRow,
    Scope,
    read_report,
)
from airflow_provider_flux.accounting.costs.sources import (
    check_folders,
    describe_problems,
    refresh_scope,
    scope_of_database,
    scope_of_folders,
)
from airflow_provider_flux.cli.connections import use_database_connections
from airflow_provider_flux.cli.console import logs_on_stderr, one_line, print_rows, tell
from airflow_provider_flux.cli.exit_codes import INCOMPLETE, exit_on_error
from airflow_provider_flux.cli.task_ids import absolute_path
from airflow_provider_flux.gallery.page_filters import show_cost

#: Objects that do not count and are named.
_MAX_LISTED = 20
#: Objects to read from which on a person waits long enough to be told.
_MANY = 2000


def run(args: argparse.Namespace) -> None:
    """Print the costs of a period by group.

    :param args: the parsed options of the command.
    :raises SystemExit: with 1 if an object or folder cannot be read, so that costs are missing;
        with the code of :mod:`~airflow_provider_flux.cli.exit_codes` for other errors.
    """
    use_database_connections()
    with logs_on_stderr(is_verbose=args.verbose), exit_on_error("costs"):
        period = parse_period(args.start, args.end, args.timezone)
        scope = _scope_of(args)
        index = open_index()
        try:
            progress = refresh_scope(index, scope, _tell_of_many())
            report = read_report(index.connection, scope, args.by, period)
            count, reasons = describe_problems(index, scope, _MAX_LISTED)
        finally:
            index.close()
    _print_report(report, args.output)
    _tell_total(report.total, period)
    problems = [*progress.unlisted, *reasons]
    for problem in problems:
        tell(one_line(problem))
    if count > len(reasons):
        tell(f"... and {count - len(reasons)} more objects that do not count")
    if progress.not_utf8:
        tell(f"{progress.not_utf8} objects do not count: their names are not UTF-8.")
    if problems:
        raise SystemExit(INCOMPLETE)


def _scope_of(args: argparse.Namespace) -> Scope:
    """Return the submits that the options choose."""
    folders = [folder if folder == "/" else absolute_path(folder) for folder in args.path]
    check_folders(folders)
    scope = scope_of_folders(folders) if folders else scope_of_database()
    dag_ids = {args.dag_id} if args.dag_id else None
    return replace(scope, dag_ids=dag_ids, flux_conn_id=args.flux_conn_id)


def _tell_of_many() -> OnStep:
    """Return a step that tells once that many objects are read."""
    has_told = False

    def on_step(progress: Progress) -> None:
        nonlocal has_told
        if progress.changed - progress.read > _MANY and not has_told:
            has_told = True
            tell("Reading the ledgers. The next call reads only what has changed ...")

    return on_step


def _print_report(report: CostReport, output: str) -> None:
    rows, total = report.as_table(), report.total.as_values()
    if output == "csv":
        sys.stdout.write(as_csv([*KEYS[report.by], *total], rows))
        return
    if output == "table":
        rows.append({**dict(zip(KEYS[report.by], report.total.key, strict=True)), **total})
    print_rows(rows, output)


def _tell_total(total: CostRow, period: Period) -> None:
    """Print what was paid, how sure that is, and for which period, to stderr."""
    tell(f"{show_cost(total.credits)} for {total.submits} submits, {period}.")
    if total.estimated:
        tell(f"{total.estimated_share:.1%} of the credits are estimated: BFL did not report them.")
    if total.uncertain:
        tell(
            f"{total.uncertain} submits are uncertain: BFL may have charged up to "
            f"{show_cost(total.possible)} more for them."
        )
    if total.unpriced:
        tell(f"The price of {total.unpriced} submits is not known. They count as 0 credits.")
