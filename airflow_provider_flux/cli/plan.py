"""The command ``plan``: what a run of a task would pay now."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from airflow.providers.common.compat.sdk import AirflowException

from airflow_provider_flux.bfl.errors import FluxError, FluxRequestError
from airflow_provider_flux.bfl.redaction import escape_control
from airflow_provider_flux.cli.connections import use_database_connections
from airflow_provider_flux.cli.console import logs_on_stderr, tell
from airflow_provider_flux.cli.exit_codes import (
    INCOMPLETE,
    INTERRUPTED,
    NOT_PAID,
    OK,
    USAGE,
    exit_code_of,
)
from airflow_provider_flux.cli.rendered_task import PlannedRun, render_task
from airflow_provider_flux.cli.task_ids import read_json_option

#: The run would pay. CI asks for this code, as it does of other tools that plan.
PAYS = 2


def run(args: argparse.Namespace) -> None:
    """Print what a run would pay, without a submit and without any write.

    :param args: the parsed options of the command.
    :raises SystemExit: with 0 if a run would pay nothing, 2 if it would pay, 3 if it would be
        refused. An error has the code of :mod:`~airflow_provider_flux.cli.exit_codes`, with 1 in
        place of 2.
    """
    use_database_connections()
    with logs_on_stderr(is_verbose=args.verbose):
        try:
            plan = _plan(args)
        except (FluxError, AirflowException) as error:
            tell(f"plan: {error.message if isinstance(error, FluxError) else error}")
            code = exit_code_of(error)
            raise SystemExit(INCOMPLETE if code == USAGE else code) from None
        except KeyboardInterrupt:
            tell("plan: interrupted.")
            raise SystemExit(INTERRUPTED) from None
    text = json.dumps(plan.as_dict(), indent=2) if args.format == "json" else plan.describe()
    print(escape_control(text), file=sys.stdout, flush=True)  # noqa: T201
    raise SystemExit(NOT_PAID if plan.refusal else PAYS if plan.pays else OK)


def _plan(args: argparse.Namespace) -> Any:
    from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator

    conf = read_json_option("--conf", args.conf)
    if args.run_id and (conf is not None or args.logical_date):
        raise FluxRequestError("--run-id excludes --logical-date and --conf: the run has its own.")
    planned = PlannedRun(args.run_id, args.logical_date, conf, args.map_index)
    operator, context = render_task(args.dag_id, args.task_id, planned)
    if not isinstance(operator, FluxGenerateBatchOperator):
        raise FluxRequestError(
            f"{args.dag_id}.{args.task_id} is a {type(operator).__name__}. A plan is about a "
            "FluxGenerateBatchOperator."
        )
    return operator.plan(context)
