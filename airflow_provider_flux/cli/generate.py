"""The command ``generate``: one image or video, with the operator and the ledger of a task."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from airflow_provider_flux.bfl.errors import FluxBudgetError
from airflow_provider_flux.bfl.pricing import USD_PER_CREDIT
from airflow_provider_flux.bfl.request import GenerationRequest, estimate_cost
from airflow_provider_flux.cli.confirm import confirm
from airflow_provider_flux.cli.connections import use_database_connections
from airflow_provider_flux.cli.console import logs_on_stderr, print_rows, tell
from airflow_provider_flux.cli.exit_codes import INTERRUPTED, exit_on_error
from airflow_provider_flux.cli.progress import spinner
from airflow_provider_flux.cli.task_ids import (
    absolute_path,
    own_task_id,
    read_ids,
    read_json_option,
    refuse_other_ledger,
)
from airflow_provider_flux.configured_models import typical_seconds
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.observability.command_metrics import start_metrics
from airflow_provider_flux.operators.generate import FluxGenerateOperator

#: Options that are arguments of the operator with the same name and meaning.
_ARGUMENTS = (
    *("prompt", "model", "width", "height", "seed", "output_format"),
    *("ledger_path", "on_uncertain", "if_exists", "flux_conn_id", "priority"),
)
#: Options that differ by the image, so that each image has a ledger of its own.
_IDENTITY = ("prompt", "model", "width", "height", "seed", "output_format", "parameters")
#: Seconds between two looks for the answer to a submit that Ctrl-C must not cut off.
_LOOK_SECONDS = 0.2


def run(args: argparse.Namespace) -> None:
    """Generate one image, or land the one that the same command submitted before.

    :param args: the parsed options of the command.
    :raises SystemExit: with the code of :mod:`~airflow_provider_flux.cli.exit_codes`.
    """
    use_database_connections()
    start_metrics()
    with logs_on_stderr(is_verbose=args.verbose), exit_on_error("generate"):
        command = _GenerateCommand(args)
        try:
            with command.interruptible():
                generation = command.execute()
        except KeyboardInterrupt:
            tell(command.describe_interruption())
            raise SystemExit(INTERRUPTED) from None
    if not command.has_submitted:
        tell("Nothing was submitted: the image of an earlier run or task counts.")
    print_rows([_describe(generation)], args.output)


class _GenerateCommand:
    """One run of the command."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        output_path = absolute_path(args.output_path)
        identity = [getattr(args, name) for name in _IDENTITY]
        ids = read_ids(args, own_task_id("generate", *identity, output_path))
        arguments = {name: getattr(args, name) for name in _ARGUMENTS}
        if arguments["ledger_path"]:
            arguments["ledger_path"] = absolute_path(arguments["ledger_path"])
        self._operator = FluxGenerateOperator(
            task_id=ids.task_id,
            parameters=read_json_option("--parameters", args.parameters),
            output_path=output_path,
            sidecar=not args.no_sidecar,
            renditions=read_json_option("--renditions", args.renditions),
            deferrable=False,
            **arguments,
        )
        self._operator._confirm = self._confirm
        self._context: Any = {"ti": ids}
        self._progress = ExitStack()
        self.has_submitted = False
        self._is_interrupted = False

    def execute(self) -> Generation:
        """Run the operator."""
        with self._progress:
            return self._operator.execute(self._context)

    def describe_interruption(self) -> str:
        """Return what became of the request."""
        submission = self._operator._submission
        if submission is not None and submission.generation is not None:
            request_id = submission.generation["request_id"]
            return (
                f"Interrupted. Request {request_id} goes on and is billed. Run the same command "
                "again to land its image without paying again."
            )
        if self.has_submitted:
            return (
                "Interrupted during the submit, which BFL possibly billed. The same command "
                "submits nothing more, unless you add --on-uncertain resubmit."
            )
        return "Interrupted. Nothing was submitted."

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Let Ctrl-C wait for the answer to the submit, which would be lost otherwise."""
        before = [
            (signum, signal.signal(signum, handler))
            for signum, handler in (
                (signal.SIGINT, self._interrupt),
                (signal.SIGTERM, self._interrupt),
                (signal.SIGALRM, self._look_for_answer),
            )
        ]
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for signum, handler in before:
                signal.signal(signum, handler)

    def _interrupt(self, *_: object) -> None:
        if not self._is_sending or self._is_interrupted:
            raise KeyboardInterrupt
        self._is_interrupted = True
        tell("Waiting for the answer to the submit. Press Ctrl-C again to lose it.")
        if submission := self._operator._submission:
            submission.stop()
        signal.setitimer(signal.ITIMER_REAL, _LOOK_SECONDS, _LOOK_SECONDS)

    def _look_for_answer(self, *_: object) -> None:
        if not self._is_sending:
            raise KeyboardInterrupt

    @property
    def _is_sending(self) -> bool:
        submission = self._operator._submission
        return self.has_submitted and (submission is None or not submission.is_recorded)

    def _confirm(self, request: GenerationRequest) -> None:
        """Ask before the submit.

        :raises FluxConfigurationError: if the task of ``--as`` has another ledger.
        :raises FluxBudgetError: if the user declines, or ``--max-cost`` does not allow it.
        """
        refuse_other_ledger(self._args, self._context["ti"])
        estimate = estimate_cost(request)
        limit = self._args.max_cost
        if limit is not None and (estimate.credits is None or estimate.credits > limit):
            raise FluxBudgetError(
                f"{request.model}: {estimate}, more than --max-cost {limit:g} allows. Nothing was "
                "submitted."
            )
        refusal = confirm(f"1 request to {request.model}: {estimate}.", is_confirmed=self._args.yes)
        if refusal:
            raise refusal
        self.has_submitted = True
        seconds = typical_seconds(request.model)
        self._progress.enter_context(spinner(f"{request.model} usually takes {seconds:g} s"))


def _describe(generation: Generation) -> dict[str, Any]:
    landed = generation["image"] or generation["video"]
    cost = generation["cost"] if generation["cost"] is not None else generation["estimated_cost"]
    return {
        "uri": landed["uri"] if landed else None,
        "model": generation["model"],
        "seed": generation["seed"],
        "credits": cost,
        "usd": None if cost is None else round(cost * USD_PER_CREDIT, 4),
        "cost_source": generation["cost_source"],
        "reused": generation["reused"],
        "request_id": generation["request_id"],
    }
