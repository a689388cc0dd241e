"""The commands of ``airflow flux``, and of ``python -m airflow_provider_flux``.

Airflow before 3.2 takes no commands of providers, so the package runs them by itself, too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from airflow.cli.cli_config import (
    ARG_OUTPUT,
    ARG_VERBOSE,
    ActionCommand,
    Arg,
    GroupCommand,
    lazy_load_command,
)

from airflow_provider_flux.cli import options
from airflow_provider_flux.emulator.options import OPTIONS as EMULATOR_OPTIONS


def _args(arguments: options.Options, *common: Arg) -> tuple[Arg, ...]:
    own = (Arg((flag,), **settings) for flag, settings in arguments.items())  # type: ignore[no-untyped-call]
    return (*own, *common, ARG_VERBOSE)


#: Airflow's own option, and CSV.
_ARG_OUTPUT_OR_CSV = Arg(  # type: ignore[no-untyped-call]
    ("-o", "--output"),
    help="Output format. Allowed values: table, json, csv, yaml, plain (default: table)",
    metavar="(table, json, csv, yaml, plain)",
    choices=("table", "json", "csv", "yaml", "plain"),
    default="table",
)


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
        "credits",
        "Print the balance of the BFL account",
        "Prints the balance in credits and US dollars, which BFL reports free of charge.",
        _args(options.CREDITS, ARG_OUTPUT),
        "airflow_provider_flux.cli.credits.run",
    ),
    Command(
        "budgets",
        "Show what the budgets of the account have left",
        "Prints for each budget of the connection what was spent and is reserved in its period, "
        "what is left, when it resets, and who spent most. It writes nothing.",
        _args(options.BUDGETS, ARG_OUTPUT),
        "airflow_provider_flux.cli.budgets.run",
    ),
    Command(
        "models",
        "List the models with their prices and limits",
        "Lists the models of this version and of the option [flux] models. It needs no key.",
        _args(options.MODELS, ARG_OUTPUT),
        "airflow_provider_flux.cli.models.run",
    ),
    Command(
        "estimate",
        "Price a file of rows by model",
        "Reads a file of rows, or the result of a query, as the batch does, and prints the "
        "expected cost by model. It needs no key, and calls nobody but the store or the database "
        "of the rows. Exits with 1 if a row is not valid.",
        _args(options.ESTIMATE, ARG_OUTPUT),
        "airflow_provider_flux.cli.estimate.run",
    ),
    Command(
        "generate",
        "Generate one image or video, and land it",
        "Generates one image with the operator and the ledger of a task. The same command again "
        "lands the same image and pays nothing. It prints the cost and asks before it submits.",
        _args(options.GENERATE, ARG_OUTPUT),
        "airflow_provider_flux.cli.generate.run",
    ),
    Command(
        "batch",
        "Generate an image for each row of a file or a query, and land them",
        "Works on rows with the engine and the journal of a task. The same command again works on "
        "unfinished rows only. It prints the cost and asks before it submits.",
        _args(options.BATCH, ARG_OUTPUT),
        "airflow_provider_flux.cli.batch.run",
    ),
    Command(
        "plan",
        "Say what a run of a task would pay, and pay nothing",
        "Renders a FluxGenerateBatchOperator as Airflow does, and prints its new, changed, "
        "unchanged and gone rows, and the price by model. It submits and writes nothing. Exits "
        "with 0 if a run would pay nothing, with 2 if it would pay, with 3 if max_cost, a budget "
        "or the balance is too low.",
        _args(options.PLAN),
        "airflow_provider_flux.cli.plan.run",
    ),
    Command(
        "costs",
        "Sum up what tasks have paid, by DAG, task, model, day or outcome",
        "Reads the records and journals of tasks, and prints what BFL charged in a period. Each "
        "submit counts once. It needs no key and does not call BFL. Exits with 1 if a record or "
        "folder cannot be read, so that costs are missing.",
        _args(options.COSTS, _ARG_OUTPUT_OR_CSV),
        "airflow_provider_flux.cli.costs.run",
    ),
    Command(
        "recover",
        "Land the images that BFL bills and that no task returned",
        "Lists the generations that tasks submitted and did not return, and lands their images. It "
        "submits nothing, replaces no image, and can be repeated. Exits with 1 if a record or "
        "folder cannot be read, or if an image cannot be landed because of an error.",
        _args(options.RECOVER, ARG_OUTPUT),
        "airflow_provider_flux.cli.recover.run",
    ),
    Command(
        "reconcile",
        "Explain the changes of the balance by the ledgers of all tasks",
        "Compares readings of the balance with ledgers and journals, per credit: explained, "
        "uncertain, unexplained. It submits nothing. Exits with 1 if credits are unexplained, or "
        "if a record or folder cannot be read.",
        _args(options.RECONCILE, ARG_OUTPUT),
        "airflow_provider_flux.cli.reconcile.run",
    ),
    Command(
        "gallery",
        "Write the images of a folder or a batch to one HTML file",
        "Finds manifests, sidecars and images below a folder, or the rows of one manifest, and "
        "writes a contact sheet: one file with the thumbnails in it, which needs no server.",
        _args(options.GALLERY),
        "airflow_provider_flux.cli.gallery.run",
    ),
    Command(
        "init-pool",
        "Create or update the pool that keeps tasks within the limit of the BFL account",
        "Creates an Airflow pool that counts deferred tasks, or updates the pool of that name, and "
        "prints what it changed. It can be repeated. Tasks with pool=NAME use the pool.",
        _args(options.INIT_POOL),
        "airflow_provider_flux.cli.init_pool.run",
    ),
    Command(
        "emulator",
        "Run a local BFL service for tests and demonstrations",
        "Runs an emulator of the BFL API until Ctrl-C. Any key like bfl_emulator works.",
        _args(EMULATOR_OPTIONS),
        "airflow_provider_flux.cli.emulator.run",
    ),
    Command(
        "doctor",
        "Check what a task needs, free of charge",
        "Checks the connection, the service, the store and Airflow, and says how to fix what is "
        "wrong. Exits with 1 if a check fails. Only --spend submits a request.",
        _args(options.DOCTOR, ARG_OUTPUT),
        "airflow_provider_flux.cli.doctor.command.run",
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
    try:
        args.run(args)
    except KeyboardInterrupt:  # before the command was imported
        from airflow_provider_flux.cli.exit_codes import INTERRUPTED

        raise SystemExit(INTERRUPTED) from None
