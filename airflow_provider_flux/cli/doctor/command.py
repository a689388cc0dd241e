"""The command ``doctor``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial

from airflow.utils.cli import suppress_logs_and_warning

from airflow_provider_flux.bfl.request import estimate_cost
from airflow_provider_flux.cli.confirm import confirm
from airflow_provider_flux.cli.connections import use_database_connections
from airflow_provider_flux.cli.console import print_rows, tell
from airflow_provider_flux.cli.doctor import airflow_checks, spend
from airflow_provider_flux.cli.doctor.check import Check, Finding, as_row, run_checks
from airflow_provider_flux.cli.doctor.service import ServiceChecks
from airflow_provider_flux.cli.doctor.storage import StorageChecks
from airflow_provider_flux.cli.exit_codes import INCOMPLETE, exit_on_error
from airflow_provider_flux.cli.progress import progress_of
from airflow_provider_flux.cli.task_ids import absolute_path


@suppress_logs_and_warning
def run(args: argparse.Namespace) -> None:
    """Make all checks, and print what each found.

    :param args: the parsed options of the command.
    :raises SystemExit: with 1 if a check failed.
    """
    use_database_connections()
    with exit_on_error("doctor"):
        checks = list(_checks(args))
        findings = list(progress_of(run_checks(checks), [check.name for check in checks]))
    print_rows([as_row(name, finding) for name, finding in findings], args.output)
    failed = [name for name, finding in findings if finding.status == "failed"]
    if failed:
        tell(f"{len(failed)} of {len(findings)} checks failed: {', '.join(failed)}")
        raise SystemExit(INCOMPLETE)


def _checks(args: argparse.Namespace) -> Iterator[Check]:
    service = ServiceChecks(args.flux_conn_id)
    storage = StorageChecks(
        absolute_path(args.output_path) if args.output_path else None,
        absolute_path(args.ledger_path) if args.ledger_path else None,
    )
    functions: dict[str, Callable[[], Finding]] = {
        "versions": airflow_checks.check_versions,
        "connection": service.check_connection,
        "balance": service.check_balance,
        "region": service.check_region,
        "budgets": service.check_budgets,
        "proxy": service.check_proxy,
        "clock": service.check_clock,
        "trusted hosts": service.check_trusted_hosts,
        "store": storage.check_store,
        "ledger": storage.check_ledger,
        "database": airflow_checks.check_database,
        "pool": partial(airflow_checks.check_pool, args.pool, args.flux_conn_id),
        "triggerer": airflow_checks.check_triggerer,
    }
    for name, function in functions.items():
        yield Check(name, function, args.timeout)
    if args.spend:
        yield _spend(args)


def _spend(args: argparse.Namespace) -> Check:
    """Return the check that pays, or one that is skipped if the user declines."""
    request = spend.cheapest_request()
    question = f"1 request to {request.model}: {estimate_cost(request)}."
    if refusal := confirm(question, is_confirmed=args.yes):
        finding = Finding("skipped", refusal.message)
        return Check("spend", lambda: finding, args.timeout)
    generate = partial(spend.generate_one, args.flux_conn_id)
    return Check("spend", generate, spend.SPEND_SECONDS)
