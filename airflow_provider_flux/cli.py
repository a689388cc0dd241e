"""``airflow flux``: commands of the provider. Also ``python -m airflow_provider_flux``, for Airflow before 3.2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from airflow.cli.cli_config import ARG_OUTPUT, ARG_VERBOSE, ActionCommand, Arg, GroupCommand, lazy_load_command
from airflow.utils.cli import suppress_logs_and_warning

_RECOVER_HELP = "Collect images that were paid for and that no task has collected"
_RECOVER_MORE = (
    "Lists what tasks have paid for and not returned, and lands what can be had. It pays for nothing, replaces no "
    "image, and can be repeated. Exits with 1 if something could not be read, or could not be landed for an error."
)
_RECOVER_OPTIONS: dict[str, dict[str, Any]] = {
    "--prefix": {
        "action": "append",
        "default": [],
        "metavar": "URI",
        "help": "Folder that output_path begins with, or ledger_path; repeatable. Without it, Airflow's database says "
        "where tasks keep their records",
    },
    "--dag-id": {"help": "Only what tasks of this DAG have paid for"},
    "--run-id": {"help": "Only what tasks of this DAG run have paid for"},
    "--output-path": {
        "help": "Where to land, in place of the output_path of the tasks; for tasks without one it is needed: "
        "s3://my_conn@bucket/{request_id}.{ext}, say",
    },
    "--dry-run": {"action": "store_true", "help": "List what would be collected, and change nothing"},
}
_RECOVER_ARGS = (
    *(Arg((flag,), **options) for flag, options in _RECOVER_OPTIONS.items()),  # type: ignore[no-untyped-call]
    ARG_OUTPUT,
    ARG_VERBOSE,
)


def get_flux_cli_commands() -> list[GroupCommand]:
    """Return the commands, for ``airflow``."""
    recover = ActionCommand(
        name="recover",
        help=_RECOVER_HELP,
        description=_RECOVER_MORE,
        func=lazy_load_command("airflow_provider_flux.cli.recover"),
        args=_RECOVER_ARGS,
    )
    return [GroupCommand(name="flux", help="FLUX image generation by Black Forest Labs", subcommands=(recover,))]


@suppress_logs_and_warning
def recover(args: argparse.Namespace) -> None:
    """Print what was paid for and not returned, and collect it unless it is a dry run."""
    # As Airflow's own commands do: without it, connections in its database are not looked for from 3.1 on.
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
    from airflow.cli.simple_table import AirflowConsole

    from airflow_provider_flux.bfl.errors import FluxRequestError
    from airflow_provider_flux.ledger.finding import Wanted, find_entries
    from airflow_provider_flux.ledger.recovery import recover as collect_all

    entries, unreadable = find_entries(Wanted(args.prefix, args.dag_id, args.run_id))
    try:
        findings = list(collect_all(entries, dry_run=args.dry_run, output_path=args.output_path))
    except FluxRequestError as error:
        raise SystemExit(f"--output-path: {error}") from None
    if findings:
        AirflowConsole().print_as(data=[finding.as_row() for finding in findings], output=args.output)
    for one in unreadable:
        print(f"{type(one.error).__name__}: {one.error}", file=sys.stderr)  # noqa: T201
    counts = {name: sum(one.outcome == name for one in findings) for name in dict.fromkeys(f.outcome for f in findings)}
    said = ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing to collect"
    print(f"{len(entries)} records: {said}; {len(unreadable)} could not be read", file=sys.stderr)  # noqa: T201
    if unreadable or counts.get("error"):
        raise SystemExit(1)


def main(argv: Sequence[str] | None = None) -> None:
    """Run ``python -m airflow_provider_flux``."""
    parser = argparse.ArgumentParser(prog="python -m airflow_provider_flux")
    command = parser.add_subparsers(required=True).add_parser("recover", help=_RECOVER_HELP, description=_RECOVER_MORE)
    for arg in _RECOVER_ARGS:
        arg.add_to_parser(command)
    recover(parser.parse_args(argv))
