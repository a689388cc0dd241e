"""The command ``models``: the catalog with prices and limits."""

from __future__ import annotations

import argparse
from typing import Any

from airflow.utils.cli import suppress_logs_and_warning

from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.cli.console import print_rows
from airflow_provider_flux.cli.exit_codes import exit_on_error
from airflow_provider_flux.configured_models import known_models


@suppress_logs_and_warning
def run(args: argparse.Namespace) -> None:
    """Print each model of the catalog and of ``[flux] models``.

    :param args: the parsed options of the command.
    :raises SystemExit: if ``[flux] models`` cannot be read.
    """
    with exit_on_error("models"):
        models = known_models()
    print_rows([_describe(model) for _, model in sorted(models.items())], args.output)


def _describe(model: Model) -> dict[str, Any]:
    return {
        "model": model.name,
        "output": model.output,
        "inputs": ", ".join(field.name for field in model.media),
        "credits": model.price.describe(),
        "max_active": model.max_active,
        "seconds": model.typical_seconds,
    }
