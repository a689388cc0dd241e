"""Generate other candidates for a review: a small batch, with the journal and budget of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_flux.bfl.errors import (
    FluxBudgetError,
    FluxInsufficientCreditsError,
    FluxRequestError,
)
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.review.answer import Decision, revise_prompt, seeds_for
from airflow_provider_flux.review.candidates import Candidate, read_manifest
from airflow_provider_flux.review.record import ReviewRecord

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

#: Errors that a reviewer can act upon, so they are told instead of losing their review.
_FOR_REVIEWERS = (FluxBudgetError, FluxInsufficientCreditsError, FluxRequestError)
_SOURCE_DIGITS = 8


class RefusedRoundError(Exception):
    """Other candidates cannot be generated; the message tells the reviewers why."""


class CandidateBatch:
    """Generates the candidates of one round. A killed try resumes it, and nothing is paid twice.

    :param arguments: arguments of the batch that are the same in all rounds.
    :param prompt: prompt of the task.
    :param count: candidates of a round.
    """

    def __init__(self, arguments: Mapping[str, Any], prompt: str, count: int) -> None:
        self._arguments = arguments
        self._prompt = prompt
        self._count = count
        self._operator: FluxGenerateBatchOperator | None = None
        self._is_stopped = False

    def run(
        self, context: Context, record: ReviewRecord, decision: Decision
    ) -> tuple[list[Candidate], float]:
        """Generate the candidates that a decision asks for.

        :param context: context of the task.
        :param record: record of the review.
        :param decision: decision to ask again.
        :return: the new candidates, and the credits that all rounds have cost.
        :raises RefusedRoundError: if the budget, the account or the request does not allow it.
        """
        rows = self._rows(record, decision)
        self._operator = FluxGenerateBatchOperator(requests=rows, **self._arguments)
        if self._is_stopped:
            self._operator.on_kill()
        try:
            summary = self._operator.execute(context)
        except Exception as error:
            reason = error.__cause__ or error
            if isinstance(reason, _FOR_REVIEWERS):
                raise RefusedRoundError(str(reason)) from error
            raise
        others = read_manifest(summary["manifest"], record.round + 1)
        return others, float(summary["credits"])

    def stop(self) -> None:
        """Submit nothing more."""
        self._is_stopped = True
        if self._operator:
            self._operator.on_kill()

    def _rows(self, record: ReviewRecord, decision: Decision) -> list[dict[str, Any]]:
        """Return a row for each candidate, with a key that no other round has."""
        prompt = revise_prompt(self._prompt, decision)
        source = record.source[:_SOURCE_DIGITS]
        rows: list[dict[str, Any]] = []
        for number, seed in enumerate(seeds_for(decision, self._count), 1):
            row = {"key": f"again{record.round + 1}-{number}-{source}", "prompt": prompt}
            rows.append(row if seed is None else {**row, "seed": seed})
        return rows
