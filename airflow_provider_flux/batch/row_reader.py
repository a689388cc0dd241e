"""Reading the working table of a batch, beside the thread that writes it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_flux.batch.input.rows import Row
from airflow_provider_flux.batch.row_policy import Outcome
from airflow_provider_flux.bfl.request import GenerationRequest


@dataclass(frozen=True)
class Ended:
    """A row, and what became of it.

    :param is_charged: whether BFL charges for what was submitted, if anything was.
    """

    n: int
    key: str
    outcome: Outcome
    reason: str
    model: str
    estimate: float | None
    generation: Mapping[str, Any] | None
    is_fallback: bool
    uncertain: int
    latency: float | None
    is_charged: bool


class RowReader:
    """Reads a table, as it is at that moment; for one thread, beside the one that writes."""

    def __init__(self, path: Path) -> None:
        self._db = connect(path)

    def __enter__(self) -> RowReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def to_do(
        self, restore: Callable[[str, Mapping[str, Any]], GenerationRequest]
    ) -> Iterator[Row]:
        """Yield the rows that are valid and not done, in the order of the input.

        :param restore: rebuilds a request from its model and parameters.
        """
        found = self._db.execute(
            "SELECT n, key, model, parameters, fallback FROM rows WHERE outcome IS NULL ORDER BY n"
        )
        for n, key, model, parameters, fallback in found:
            other = pair_of(fallback)
            request = restore(model, json.loads(parameters))
            yield Row(n, key, model, request, restore(*other) if other else None, None)

    def invalid(self) -> Iterator[Row]:
        """Yield the rows that are not valid."""
        found = self._db.execute(
            "SELECT n, key, model, reason FROM rows WHERE outcome = 'invalid' ORDER BY n"
        )
        for n, key, model, reason in found:
            yield Row(n, key, model, None, None, reason)

    def in_order(self) -> Iterator[Ended]:
        """Yield all rows with what became of them, in the order of the input."""
        found = self._db.execute(
            "SELECT n, key, outcome, reason, model, estimate, generation, is_fallback, uncertain, latency, claim "
            "FROM rows ORDER BY n"
        )
        for (
            n,
            key,
            outcome,
            reason,
            model,
            estimate,
            generation,
            is_fallback,
            uncertain,
            latency,
            claim,
        ) in found:
            ended: Outcome = outcome or ("pending" if claim is None else "submitted")
            made = None if generation is None else json.loads(generation)
            is_free = ended == "moderated" or (ended == "failed" and claim is None)
            yield Ended(
                n,
                key,
                ended,
                reason,
                model,
                estimate,
                made,
                bool(is_fallback),
                uncertain,
                latency,
                not is_free,
            )

    def counts(self) -> dict[Outcome, int]:
        """Return how many rows there are of each outcome, those that have not ended included."""
        ended = "coalesce(outcome, CASE WHEN claim IS NULL THEN 'pending' ELSE 'submitted' END)"
        return dict(self._db.execute(f"SELECT {ended} AS ended, count(*) FROM rows GROUP BY ended"))  # noqa: S608

    def estimate(self) -> tuple[float, int]:
        """Return the credits that the rows to submit are expected to cost, and of how many that is not known."""
        total, unknown = self._db.execute(
            "SELECT coalesce(sum(estimate), 0), sum(estimate IS NULL) FROM rows WHERE outcome IS NULL AND claim IS NULL"
        ).fetchone()
        return float(total), int(unknown or 0)


def connect(path: Path) -> sqlite3.Connection:
    """Open the file; what it holds is gone with its try, so nothing is synced."""
    db = sqlite3.connect(path, check_same_thread=False, timeout=60)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = OFF")
    return db


def pair_of(text: str | None) -> tuple[str, dict[str, Any]] | None:
    """Return a fallback as it was stored."""
    if text is None:
        return None
    model, parameters = json.loads(text)
    return model, parameters
