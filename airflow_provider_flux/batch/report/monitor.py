"""The user who watches a batch: a command asks first, shows progress, and may stop it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from airflow_provider_flux.bfl.errors import FluxError


@dataclass(frozen=True)
class ExpectedSubmits:
    """The submits that a batch is about to make.

    :param rows: rows of the input.
    :param models: name, rows to submit and their credits for each model, the dearest first.
    :param credits: expected credits of the rows to submit, without those of unknown price.
    :param unpriced: rows to submit whose price is not known before.
    :param to_resume: rows that were submitted before and have not landed. They cost nothing more.
    """

    rows: int
    models: tuple[tuple[str, int, float], ...]
    credits: float
    unpriced: int
    to_resume: int

    @property
    def to_submit(self) -> int:
        """Number of rows to submit."""
        return sum(count for _, count, _ in self.models)


class BatchMonitor(Protocol):
    """Monitor of one batch. The thread that runs the batch calls its methods."""

    def confirm(self, expected: ExpectedSubmits) -> FluxError | None:
        """Ask whether to submit.

        :param expected: the submits, and what they cost.
        :return: the reason not to submit; ``None`` to submit. The rows to resume land in any case.
        """

    def start(self, stop: Callable[[float], None]) -> None:
        """Take the way to stop the batch, before its first submit.

        :param stop: function that ends the submits. Its argument is the number of seconds that rows
            in flight have to land. Any thread, and a signal handler, may call it.
        """

    def update(self, report: Mapping[str, Any]) -> None:
        """Show the progress, about once a second.

        :param report: report of ``Progress.report``.
        """
