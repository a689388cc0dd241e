"""The commands of ``airflow flux``, and of ``python -m airflow_provider_flux``.

Airflow before 3.2 takes no commands of providers, so the package runs them by itself, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
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

_RECOVER_OPTIONS: dict[str, dict[str, Any]] = {
    "--prefix": {
        "action": "append",
        "default": [],
        "metavar": "URI",
        "help": "Folder at the beginning of output_path or ledger_path; repeatable. By default, "
        "Airflow's database names the folders in which tasks keep their records",
    },
    "--dag-id": {"help": "Recover only what tasks of this DAG submitted"},
    "--run-id": {"help": "Recover only what tasks of this DAG run submitted"},
    "--output-path": {
        "help": "Where to land instead of the output_path of each task, for example "
        "s3://my_conn@bucket/{request_id}.{ext}. Needed for tasks without output_path",
    },
    "--flux-conn-id": {
        "metavar": "CONN_ID",
        "help": "Connection to BFL for all records. By default that of each task by Airflow's "
        "database, or flux_default. A record in a bucket cannot choose one",
    },
    "--dry-run": {
        "action": "store_true",
        "help": "List the records that would be recovered, and change nothing",
    },
}
_INIT_POOL_OPTIONS: dict[str, dict[str, Any]] = {
    "--pool": {"default": "flux", "metavar": "NAME", "help": "Name of the pool; flux by default"},
    "--slots": {
        "type": int,
        "help": "Number of slots, 1 or more. By default max_active of the connection, or 24 if the "
        "connection flux_default does not exist",
    },
    "--flux-conn-id": {
        "default": "flux_default",
        "metavar": "CONN_ID",
        "help": "Connection whose max_active counts without --slots; flux_default by default",
    },
    "--dry-run": {
        "action": "store_true",
        "help": "Print what would be changed, and change nothing",
    },
}


def _args(options: dict[str, dict[str, Any]], *common: Arg) -> tuple[Arg, ...]:
    own = (Arg((flag,), **settings) for flag, settings in options.items())  # type: ignore[no-untyped-call]
    return (*own, *common, ARG_VERBOSE)


@dataclass(frozen=True)
class Command:
    """A command of the provider.

    :param name: its name on the command line.
    :param help: its line in the list of commands.
    :param description: the text of ``--help``.
    :param args: its options.
    :param function: import path of the function that runs it, which takes the parsed options.
    """

    name: str
    help: str
    description: str
    args: tuple[Arg, ...]
    function: str


COMMANDS = (
    Command(
        "recover",
        "Land the images that BFL bills and that no task returned",
        "Lists the generations that tasks submitted and did not return, and lands their images. It "
        "submits nothing, replaces no image, and can be repeated. Exits with 1 if a record or "
        "folder cannot be read, or if an image cannot be landed because of an error.",
        _args(_RECOVER_OPTIONS, ARG_OUTPUT),
        "airflow_provider_flux.cli.recover.run",
    ),
    Command(
        "init-pool",
        "Create or update the pool that keeps tasks within the limit of the BFL account",
        "Creates an Airflow pool that counts deferred tasks, or updates the pool of that name, and "
        "prints what it changed. It can be repeated. Tasks with pool=NAME use the pool.",
        _args(_INIT_POOL_OPTIONS),
        "airflow_provider_flux.cli.init_pool.run",
    ),
)


def get_flux_cli_commands() -> list[GroupCommand]:
    """Return the commands, for ``airflow``."""
    subcommands = [
        ActionCommand(
            name=command.name,
            help=command.help,
            description=command.description,
            func=lazy_load_command(command.function),
            args=command.args,
        )
        for command in COMMANDS
    ]
    return [
        GroupCommand(
            name="flux",
            help="FLUX image generation by Black Forest Labs",
            subcommands=subcommands,
        )
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Run ``python -m airflow_provider_flux``.

    :param argv: the command and its options; those of the process by default.
    """
    parser = argparse.ArgumentParser(prog="python -m airflow_provider_flux")
    subparsers = parser.add_subparsers(required=True)
    for command in COMMANDS:
        subparser = subparsers.add_parser(
            command.name, help=command.help, description=command.description
        )
        for arg in command.args:
            arg.add_to_parser(subparser)
        subparser.set_defaults(run=lazy_load_command(command.function))
    args = parser.parse_args(argv)
    args.run(args)
