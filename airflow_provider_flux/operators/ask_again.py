"""Generate other candidates for a review: a small batch, with the journal and budget of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_flux.bfl.errors import (
    FluxBudgetError,
    FluxInsufficientCreditsError,
    FluxRequestError,
)
from airflow_provider_flux.operators.batch import SUMMARY_XCOM, FluxGenerateBatchOperator
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


@dataclass(frozen=True)
class OtherCandidates:
    """The result of one round.

    :param candidates: the new candidates.
    :param credits: credits that all rounds have cost.
    :param reason: why the round ended early; ``None`` if it did not.
    """

    candidates: list[Candidate]
    credits: float
    reason: str | None = None

    def describe_missing(self, count: int) -> str | None:
        """Return how many candidates have no image, and why; ``None`` if all have one.

        :param count: candidates that were asked for.
        """
        missing = count - len(self.candidates)
        if not missing:
            return None
        start = f"{missing} of {count} other candidates have no image"
        return f"{start}: {self.reason or 'they were moderated, or failed.'}"


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

    def run(self, context: Context, record: ReviewRecord, decision: Decision) -> OtherCandidates:
        """Generate the candidates that a decision asks for.

        :param context: context of the task.
        :param record: record of the review.
        :param decision: decision to ask again.
        :raises RefusedRoundError: if the budget, the account or the request does not allow any.
        """
        rows = self._rows(record, decision)
        batch = self._operator = FluxGenerateBatchOperator(requests=rows, **self._arguments)
        if self._is_stopped:
            batch.on_kill()
        reason = None
        try:
            summary = batch.execute(context)
        except Exception as error:
            cause = error.__cause__ or error
            if not isinstance(cause, _FOR_REVIEWERS):
                raise
            if not batch.task_files.image_count:
                raise RefusedRoundError(str(cause)) from error
            ti, reason = context["ti"], str(cause)
            summary = ti.xcom_pull(
                task_ids=batch.task_id, key=SUMMARY_XCOM, map_indexes=ti.map_index
            )
        others = read_manifest(summary["manifest"], record.round + 1)
        return OtherCandidates(others, float(summary["credits"]), reason)

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
