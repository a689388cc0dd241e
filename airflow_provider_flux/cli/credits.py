"""The command ``credits``: the balance of an account, which BFL reports free of charge."""

from __future__ import annotations

import argparse

from airflow.utils.cli import suppress_logs_and_warning

from airflow_provider_flux.bfl.pricing import USD_PER_CREDIT
from airflow_provider_flux.cli.connections import use_database_connections
from airflow_provider_flux.cli.console import print_rows
from airflow_provider_flux.cli.exit_codes import exit_on_error
from airflow_provider_flux.hooks.flux import FluxHook


@suppress_logs_and_warning
def run(args: argparse.Namespace) -> None:
    """Print the balance in credits and US dollars.

    :param args: the parsed options of the command.
    :raises SystemExit: if the connection is wrong, or BFL does not return the balance.
    """
    use_database_connections()
    with exit_on_error("credits"):
        hook = FluxHook(args.flux_conn_id)
        balance = hook.get_conn().get_credits()
    row = {
        "connection": args.flux_conn_id,
        "host": hook.settings.base_url,
        "credits": round(balance, 4),
        "usd": round(balance * USD_PER_CREDIT, 4),
    }
    print_rows([row], args.output)
