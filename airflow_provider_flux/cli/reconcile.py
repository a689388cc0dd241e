"""The command ``reconcile``: explain the changes of a balance by ledgers and journals."""

from __future__ import annotations

import argparse
from typing import Any

from airflow_provider_flux.accounting.reconcile.account import AccountReport, reconcile_account
from airflow_provider_flux.accounting.reconcile.balance import Interval
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.cli.connections import use_database_connections
from airflow_provider_flux.cli.console import logs_on_stderr, one_line, print_rows, tell
from airflow_provider_flux.cli.exit_codes import INCOMPLETE, exit_on_error
from airflow_provider_flux.cli.task_ids import absolute_path
from airflow_provider_flux.hooks.flux import FluxHook

_AMOUNTS = ("spent", "explained", "uncertain", "unexplained", "added")
#: Lost submits and unreadable records that are named.
_MAX_NAMED = 50


def run(args: argparse.Namespace) -> None:
    """Print the intervals in which credits are not explained, and the sums of the period.

    :param args: the parsed options of the command.
    :raises SystemExit: with 1 if credits are unexplained, or if a record cannot be read; otherwise
        with the code of :mod:`~airflow_provider_flux.cli.exit_codes`.
    """
    use_database_connections()
    with logs_on_stderr(is_verbose=args.verbose), exit_on_error("reconcile"):
        if args.since and args.until and args.since >= args.until:
            raise FluxRequestError(f"--from {args.since} must be before --to {args.until}.")
        report = reconcile_account(
            FluxHook(args.flux_conn_id),
            [absolute_path(path) for path in args.paths],
            args.since,
            args.until,
            settle=args.settle,
        )
    print_rows(list(_rows(report)), args.output)
    _tell_report(report)
    if report.has_alert:
        raise SystemExit(INCOMPLETE)


def _rows(report: AccountReport) -> list[dict[str, Any]]:
    """Return a row for each interval that ledgers do not explain fully, and one for all."""
    intervals = report.reconciliation.intervals
    if not intervals:
        return []
    rows = [
        _row("interval", interval)
        for interval in intervals
        if interval.uncertain or interval.unexplained or interval.added
    ]
    return [*rows, _row("total", report.reconciliation.sum_up())]


def _row(kind: str, interval: Interval) -> dict[str, Any]:
    return {
        "row": kind,
        "from": interval.start.isoformat(timespec="seconds"),
        "to": interval.end.isoformat(timespec="seconds"),
        **{name: round(getattr(interval, name), 4) for name in (*_AMOUNTS, "in_flight")},
    }


def _tell_report(report: AccountReport) -> None:
    for problem in report.problems[:_MAX_NAMED]:
        tell(f"{type(problem.error).__name__}: {one_line(problem.error)}")
    if not report.reconciliation.intervals:
        tell(
            "There is only one reading of the balance, so there is nothing to compare. Run the "
            "command again after the next batch."
        )
        return
    tell(f"{report.readings} readings, {report.submits} submits that BFL accepted")
    for submit in report.lost[:_MAX_NAMED]:
        tell(one_line(submit.describe()))
    if report.unexplained:
        tell(report.describe_unexplained())
