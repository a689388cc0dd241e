"""``airflow flux``: commands of the provider. Also ``python -m airflow_provider_flux``, for Airflow before 3.2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from airflow.cli.cli_config import (
    ARG_OUTPUT,
    ARG_VERBOSE,
    ActionCommand,
    Arg,
    GroupCommand,
    lazy_load_command,
)
from airflow.utils.cli import suppress_logs_and_warning

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
    "--dry-run": {
        "action": "store_true",
        "help": "List what would be collected, and change nothing",
    },
}
_INIT_POOL_OPTIONS: dict[str, dict[str, Any]] = {
    "--pool": {"default": "flux", "metavar": "NAME", "help": "Name of the pool; flux by default"},
    "--slots": {
        "type": int,
        "help": "How many tasks may be active at once; by default max_active of the connection, or 24 if there is no "
        "connection flux_default",
    },
    "--flux-conn-id": {
        "default": "flux_default",
        "metavar": "CONN_ID",
        "help": "Connection whose max_active counts without --slots; flux_default by default",
    },
    "--dry-run": {"action": "store_true", "help": "Say what would be done, and change nothing"},
}


def _args(options: dict[str, dict[str, Any]], *common: Arg) -> tuple[Arg, ...]:
    own = (Arg((flag,), **given) for flag, given in options.items())  # type: ignore[no-untyped-call]
    return (*own, *common, ARG_VERBOSE)


@dataclass(frozen=True)
class _Command:
    """One command: its words, and the name of the function below that runs it."""

    name: str
    help: str
    description: str
    args: tuple[Arg, ...]
    function: str


_COMMANDS = (
    _Command(
        "recover",
        "Collect images that were paid for and that no task has collected",
        "Lists what tasks have paid for and not returned, and lands what can be had. It pays for nothing, replaces no "
        "image, and can be repeated. Exits with 1 if something could not be read, or could not be landed for an error.",
        _args(_RECOVER_OPTIONS, ARG_OUTPUT),
        "recover",
    ),
    _Command(
        "init-pool",
        "Create or update the pool that keeps tasks below the limit of the BFL account",
        "Creates an Airflow pool that counts deferred tasks, or gives the one that is there so many slots, and says "
        "what it has changed. It can be repeated. Tasks count when they have pool=NAME.",
        _args(_INIT_POOL_OPTIONS),
        "init_pool",
    ),
)


def get_flux_cli_commands() -> list[GroupCommand]:
    """Return the commands, for ``airflow``."""
    commands = [
        ActionCommand(
            name=one.name,
            help=one.help,
            description=one.description,
            func=lazy_load_command(f"{__name__}.{one.function}"),
            args=one.args,
        )
        for one in _COMMANDS
    ]
    return [
        GroupCommand(
            name="flux", help="FLUX image generation by Black Forest Labs", subcommands=commands
        )
    ]


@suppress_logs_and_warning
def recover(args: argparse.Namespace) -> None:
    """Print what was paid for and not returned, and collect it unless it is a dry run."""
    _use_connections_of_the_database()
    from airflow.cli.simple_table import AirflowConsole

    from airflow_provider_flux.bfl.errors import FluxRequestError
    from airflow_provider_flux.recovery.find import RecordFilter, find_entries
    from airflow_provider_flux.recovery.recover import recover as collect_all

    entries, unreadable = find_entries(RecordFilter(args.prefix, args.dag_id, args.run_id))
    try:
        findings = list(collect_all(entries, dry_run=args.dry_run, output_path=args.output_path))
    except FluxRequestError as error:
        raise SystemExit(f"--output-path: {error}") from None
    if findings:
        AirflowConsole().print_as(
            data=[finding.as_row() for finding in findings], output=args.output
        )
    for one in unreadable:
        print(f"{type(one.error).__name__}: {one.error}", file=sys.stderr)  # noqa: T201
    counts = {
        name: sum(one.outcome == name for one in findings)
        for name in dict.fromkeys(f.outcome for f in findings)
    }
    said = ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing to collect"
    print(f"{len(entries)} records: {said}; {len(unreadable)} could not be read", file=sys.stderr)  # noqa: T201
    if unreadable or counts.get("error"):
        raise SystemExit(1)


@suppress_logs_and_warning
def init_pool(args: argparse.Namespace) -> None:
    """Create or update the pool unless it is a dry run, and print what became of it."""
    _use_connections_of_the_database()
    from airflow_provider_flux.bfl.errors import FluxConfigurationError
    from airflow_provider_flux.cli import init_pool

    try:
        slots, source = (
            (args.slots, "--slots")
            if args.slots is not None
            else init_pool.slots_of_connection(args.flux_conn_id)
        )
        change = init_pool.init_pool(args.pool, slots, dry_run=args.dry_run)
    except (FluxConfigurationError, ValueError) as error:
        raise SystemExit(f"init-pool: {error}") from None
    print(f"{change.sentence(dry_run=args.dry_run)} ({source}).")  # noqa: T201
    if change.shrinks:
        print(  # noqa: T201
            "That is fewer than before: tasks that have started go on, and none starts before enough of them have "
            f"ended. A task whose pool_slots is above {slots} never starts.",
            file=sys.stderr,
        )


def _use_connections_of_the_database() -> None:
    """Look for connections as Airflow's own commands do: from 3.1 on, the database is left out without it."""
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"


def main(argv: Sequence[str] | None = None) -> None:
    """Run ``python -m airflow_provider_flux``."""
    runners: dict[str, Callable[[argparse.Namespace], None]] = {
        "recover": recover,
        "init_pool": init_pool,
    }
    parser = argparse.ArgumentParser(prog="python -m airflow_provider_flux")
    commands = parser.add_subparsers(required=True)
    for one in _COMMANDS:
        command = commands.add_parser(one.name, help=one.help, description=one.description)
        for arg in one.args:
            arg.add_to_parser(command)
        command.set_defaults(run=runners[one.function])
    args = parser.parse_args(argv)
    args.run(args)
