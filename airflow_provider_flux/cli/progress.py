"""Progress on stderr: bars of rich on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from airflow_provider_flux.cli.console import tell

_T = TypeVar("_T")
#: Seconds between two lines that are not on a terminal.
_LINE_SECONDS = 15.0
#: Widths of a bar and of the time, so that a narrow terminal shortens the text alone.
_BAR_CHARS = 16
_ELAPSED_CHARS = 7


def _new_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    # A description may quote the service, so it is no markup.
    text = TextColumn("{task.description}", markup=False)
    elapsed = TimeElapsedColumn(table_column=Column(min_width=_ELAPSED_CHARS))
    bar = BarColumn(bar_width=_BAR_CHARS)
    return Progress(SpinnerColumn(), bar, elapsed, text, console=Console(stderr=True))


class BatchBar:
    """Progress of a batch."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._next_line = time.monotonic() + _LINE_SECONDS

    def show(self, report: Mapping[str, Any], max_cost: float | None) -> None:
        """Show a report.

        :param report: report of a batch.
        :param max_cost: credits that the batch may spend; ``None`` for no limit.
        """
        from airflow_provider_flux.batch.report.progress import format_report

        text = format_report(report, max_cost)
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = _new_bar()
                self._bar.start()
                self._bar.add_task("", total=None)
            self._bar.update(
                self._bar.task_ids[0],
                description=text,
                total=report["rows"],
                completed=report["done"],
            )
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_SECONDS
            tell(text)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


@contextmanager
def spinner(text: str) -> Iterator[None]:
    """Show that the command waits, with the time since its beginning.

    :param text: what it waits for, and how long that usually takes.
    """
    if not sys.stderr.isatty():
        tell(text)
        yield
        return
    with _new_bar() as bar:
        bar.add_task(text, total=None)
        yield


def count_rows(rows: Iterable[_T]) -> Iterator[_T]:
    """Yield rows, and show how many on a terminal.

    :param rows: any rows.
    """
    if not sys.stderr.isatty():
        yield from rows
        return
    with _new_bar() as bar:
        task = bar.add_task("Reading rows", total=None)
        for number, row in enumerate(rows, start=1):
            if number % 500 == 0:
                bar.update(task, description=f"Reading rows: {number:,}")
            yield row


def progress_of(steps: Iterable[_T], names: Sequence[str]) -> Iterator[_T]:
    """Yield the results of steps, and show the name of the current one on a terminal.

    :param steps: results, each of which is computed when it is asked for.
    :param names: the name of each step.
    """
    if not sys.stderr.isatty():
        yield from steps
        return
    with _new_bar() as bar:
        task = bar.add_task(names[0], total=len(names))
        for number, result in enumerate(steps, start=1):
            name = names[number] if number < len(names) else ""
            bar.update(task, completed=number, description=name)
            yield result
