"""The command ``batch``: a file of rows or a query, with engine and journal of a task."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from airflow_provider_flux.batch.report.monitor import ExpectedSubmits
from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.bfl.pricing import describe_credits
from airflow_provider_flux.cli.confirm import confirm
from airflow_provider_flux.cli.connections import use_database_connections
from airflow_provider_flux.cli.console import logs_on_stderr, print_rows, tell
from airflow_provider_flux.cli.exit_codes import INTERRUPTED, exit_on_error
from airflow_provider_flux.cli.progress import BatchBar
from airflow_provider_flux.cli.row_options import read_row_options
from airflow_provider_flux.cli.task_ids import (
    CommandTaskInstance,
    absolute_path,
    own_task_id,
    read_ids,
    read_json_list,
    read_json_option,
    refuse_other_ledger,
)
from airflow_provider_flux.observability.command_metrics import start_metrics
from airflow_provider_flux.operators.batch import SUMMARY_XCOM, FluxGenerateBatchOperator

#: Options that are arguments of the operator with the same name and meaning.
_ARGUMENTS = (
    *("model", "max_active", "max_cost", "max_failed", "max_moderated"),
    *("max_rerolls", "max_rejected", "check_timeout"),
    *("on_budget", "on_invalid_row", "on_uncertain", "if_exists", "flux_conn_id", "priority"),
    *("prompt", "keep_columns", "seed"),
)
#: Seconds that rows in flight have to land after the first Ctrl-C, after SIGTERM, and after a
#: second Ctrl-C.
_GRACE_SECONDS = 300.0
_SIGTERM_GRACE_SECONDS = 4.0
_SHORT_GRACE_SECONDS = 1.0


def run(args: argparse.Namespace) -> None:
    """Generate the images of rows, or go on with what an earlier run of the command left.

    :param args: the parsed options of the command.
    :raises SystemExit: with the code of :mod:`~airflow_provider_flux.cli.exit_codes`.
    """
    use_database_connections()
    start_metrics()
    with logs_on_stderr(is_verbose=args.verbose), exit_on_error("batch"):
        operator, ids = _new_operator(args)
        monitor = TerminalMonitor(is_confirmed=args.yes, max_cost=args.max_cost)
        monitor.check = partial(refuse_other_ledger, args, ids)
        operator._monitor = monitor
        context: Any = {"ti": ids}
        try:
            with monitor.watching_signals():
                operator.execute(context)
        except BaseException:
            monitor.close()
            _print_summary(ids, args.output)
            if monitor.is_interrupted:
                tell(monitor.describe_interruption())
                raise SystemExit(INTERRUPTED) from None
            raise
        monitor.close()
        _print_summary(ids, args.output)


def _new_operator(
    args: argparse.Namespace,
) -> tuple[FluxGenerateBatchOperator, CommandTaskInstance]:
    """Return the operator with the arguments of the command, and the ids of its ledger."""
    rows, output_path = read_row_options(args), absolute_path(args.output_path)
    ids = read_ids(args, own_task_id(rows.name, *rows.identity, output_path))
    paths: dict[str, Any] = {
        name: absolute_path(value)
        for name in ("manifest_path", "ledger_path", "failed_path")
        if (value := getattr(args, name))
    }
    operator = FluxGenerateBatchOperator(
        task_id=ids.task_id,
        **rows.arguments,
        output_path=output_path,
        columns=read_json_option("--columns", args.columns),
        defaults=read_json_option("--defaults", args.defaults),
        checks=read_json_list("--checks", args.checks),
        matrix=read_json_option("--matrix", args.matrix),
        sidecar=not args.no_sidecar,
        renditions=read_json_option("--renditions", args.renditions),
        **paths,
        **{name: getattr(args, name) for name in _ARGUMENTS},
    )
    return operator, ids


def _print_summary(ids: CommandTaskInstance, output: str) -> None:
    """Print the summary, also of a batch that failed: as one object, or a row for each figure."""
    summary = ids.xcom_pull(key=SUMMARY_XCOM)
    if summary is None:
        return
    if output in {"json", "yaml"}:
        print_rows([summary], output)
        return
    figures = [{"figure": name, "value": value} for name, value in summary.items() if value]
    print_rows(figures, output)


class TerminalMonitor:
    """Monitor of a batch on the terminal: asks, shows a bar, and stops the batch on Ctrl-C.

    :param is_confirmed: whether ``--yes`` was given.
    :param max_cost: credits that the batch may cost; ``None`` for no limit.
    :ivar check: called before the question; an error of it ends the batch before a submit.
    :ivar is_interrupted: whether a signal ended the batch.
    """

    def __init__(self, *, is_confirmed: bool, max_cost: float | None) -> None:
        self._is_confirmed = is_confirmed
        self._max_cost = max_cost
        self._stop: Callable[[float], None] | None = None
        self._bar = BatchBar()
        self.check: Callable[[], object] = lambda: None
        self.is_interrupted = False

    def confirm(self, expected: ExpectedSubmits) -> FluxError | None:
        """Ask whether to submit; see :class:`~airflow_provider_flux.batch.report.monitor`.

        :param expected: the submits, and what they cost.
        """
        if expected.to_resume:
            tell(f"{expected.to_resume} rows were submitted before, and land without a charge.")
        if not expected.to_submit:
            tell("No row has to be submitted.")
            return None
        models = ", ".join(
            f"{count} to {model} ({describe_credits(credits_)})"
            for model, count, credits_ in expected.models
        )
        unpriced = f", and {expected.unpriced} of unknown price" if expected.unpriced else ""
        self.check()
        question = (
            f"{expected.to_submit} of {expected.rows} rows are submitted, expected to cost "
            f"{describe_credits(expected.credits)}{unpriced}: {models}."
        )
        return confirm(question, is_confirmed=self._is_confirmed)

    def start(self, stop: Callable[[float], None]) -> None:
        """Take the way to stop the batch.

        :param stop: function that ends the submits, with the seconds to land.
        """
        self._stop = stop

    def update(self, report: Mapping[str, Any]) -> None:
        """Show the progress.

        :param report: report of the batch.
        """
        self._bar.show(report, self._max_cost)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()

    def describe_interruption(self) -> str:
        """Return how to go on after an interruption."""
        if self._stop is None:
            return "Interrupted. Nothing was submitted."
        return (
            "Interrupted. Run the same command again: it submits only the rows that were not "
            "submitted, and lands the others without paying again."
        )

    @contextmanager
    def watching_signals(self) -> Iterator[None]:
        """Stop the batch politely on Ctrl-C and SIGTERM inside the ``with`` block."""
        before = [
            (signum, signal.signal(signum, self._on_signal))
            for signum in (signal.SIGINT, signal.SIGTERM)
        ]
        try:
            yield
        finally:
            for signum, handler in before:
                signal.signal(signum, handler)

    def _on_signal(self, signum: int, _: object) -> None:
        is_repeated, self.is_interrupted = self.is_interrupted, True
        if self._stop is None:
            raise KeyboardInterrupt
        if signum == signal.SIGTERM:
            self._stop(_SIGTERM_GRACE_SECONDS)
        elif is_repeated:
            self._stop(_SHORT_GRACE_SECONDS)
        else:
            tell("Stopping. Rows in flight land now. Press Ctrl-C again to leave them for later.")
            self._stop(_GRACE_SECONDS)
