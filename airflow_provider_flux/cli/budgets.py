"""The command ``budgets``: what each budget of an account has spent, reserved and left."""

from __future__ import annotations

import argparse

from airflow.utils.cli import suppress_logs_and_warning

from airflow_provider_flux.account.budgets.account_budgets import list_budgets
from airflow_provider_flux.cli.connections import use_database_connections
from airflow_provider_flux.cli.console import print_rows, tell
from airflow_provider_flux.cli.exit_codes import exit_on_error
from airflow_provider_flux.hooks.flux import FluxHook


@suppress_logs_and_warning
def run(args: argparse.Namespace) -> None:
    """Print one row for each budget and its current period.

    :param args: the parsed options of the command.
    :raises SystemExit: if the connection is wrong, or the store does not answer.
    """
    use_database_connections()
    with exit_on_error("budgets"):
        rows = list_budgets(FluxHook(args.flux_conn_id).settings)
    if not rows:
        tell(f"The connection {args.flux_conn_id!r} has no budgets.")
    print_rows(rows, args.output)
