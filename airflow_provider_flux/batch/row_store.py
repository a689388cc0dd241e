"""A store of the rows of a batch, in a temporary sqlite file.

Memory holds only the rows in flight, so that a batch may have any number of rows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow_provider_flux.account.limit_groups import group_of
from airflow_provider_flux.batch.history_store import HistoryStore
from airflow_provider_flux.batch.input.rows import Row
from airflow_provider_flux.batch.previous_rows import PreviousRows
from airflow_provider_flux.batch.rejected import RejectedImages
from airflow_provider_flux.batch.row_policy import RowOutcome, RowPlan
from airflow_provider_flux.batch.row_reader import open_database
from airflow_provider_flux.batch.row_states import PendingRow, RowBuilder, SubmittedRow
from airflow_provider_flux.bfl.request import GenerationRequest, estimate_cost
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.landing.provenance import RequestSummary

_SCHEMA = """
CREATE TABLE rows (
    n INTEGER PRIMARY KEY, key TEXT NOT NULL, limit_group TEXT NOT NULL,
    model TEXT NOT NULL, parameters TEXT NOT NULL, fallback TEXT, estimate REAL,
    outcome TEXT, reason TEXT NOT NULL DEFAULT '', claim TEXT, generation TEXT,
    is_fallback INTEGER NOT NULL DEFAULT 0, uncertain_submits INTEGER NOT NULL DEFAULT 0,
    latency REAL, summary TEXT, is_unpriced INTEGER NOT NULL DEFAULT 0, data TEXT,
    rejected TEXT, signature TEXT,
    previous_uri TEXT, is_trimmed INTEGER NOT NULL DEFAULT 0,
    path TEXT, fingerprint TEXT, is_copy INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX open_rows ON rows (limit_group, n) WHERE outcome IS NULL;
"""
_ROWS_PER_COMMIT = 500
#: Seconds for which readers may not see the last changes of rows.
_COMMIT_SECONDS = 0.2
_PENDING_COLUMNS = (
    "n, key, model, parameters, fallback, is_fallback, uncertain_submits, rejected, path"
)


class RowStore:
    """All rows of a batch with their outcomes.

    For one thread at a time. Other threads read it by a
    :class:`~airflow_provider_flux.batch.row_reader.RowReader`.

    :param path: file to create. The caller removes its folder.
    :param builder: builds the open rows that the store returns.
    :ivar history: journal entries of earlier tries, by row.
    :ivar previous: rows of the previous manifest.
    """

    def __init__(self, path: Path, builder: RowBuilder) -> None:
        self.path = path
        self.builder = builder
        self._db = open_database(path)
        self._db.executescript(_SCHEMA)
        self.history = HistoryStore(self._db, builder.plan.target.folder)
        self.previous = PreviousRows(self._db, builder.plan.target.folder)
        self._uncommitted = 0
        self._committed_at = time.monotonic()
        self._groups_commits = False

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def group_commits(self) -> None:
        """Commit changes of rows together, when :meth:`commit_if_due` is called.

        A commit for each change would cost more than the changes. The caller commits the last ones
        by :meth:`commit`.
        """
        self._groups_commits = True

    def commit(self) -> None:
        """Let readers see everything that was stored."""
        self._db.commit()
        self._uncommitted = 0
        self._committed_at = time.monotonic()

    def commit_if_due(self) -> None:
        """Let readers see the stored rows, if the last commit is not a recent one."""
        if time.monotonic() - self._committed_at >= _COMMIT_SECONDS:
            self.commit()

    def add(self, row: Row) -> None:
        """Store a row of the input.

        :param row: the next row in the order of the input, valid or not.
        """
        request, fallback = row.request, row.fallback
        estimate = estimate_cost(request).credits if request else None
        is_unpriced = (request is not None and _is_unpriced(request, estimate)) or (
            fallback is not None and _is_unpriced(fallback, estimate_cost(fallback).credits)
        )
        self._db.execute(
            "INSERT INTO rows "
            "(n, key, limit_group, model, parameters, fallback, estimate, outcome, reason, "
            "is_unpriced, data, path) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row.index,
                row.key,
                group_of(row.model, request.catalog_model if request else None),
                row.model,
                json.dumps(request.parameters if request else {}),
                json.dumps([fallback.model, fallback.parameters]) if fallback else None,
                estimate,
                None if request else "invalid",
                row.problem or "",
                is_unpriced,
                json.dumps(row.data) if row.data else None,
                row.path,
            ),
        )
        self._commit_sometimes()

    def apply_plan(self, row: Row, plan: RowPlan) -> None:
        """Store the decision about a row that earlier tries submitted.

        :param row: the row.
        :param plan: the decision.
        """
        submit = plan.submit
        generation = submit.generation if submit else None
        resumed = submit if plan.action == "resume" else None
        self._db.execute(
            "UPDATE rows SET outcome = ?, reason = ?, claim = ?, generation = ?, is_fallback = ?, "
            "uncertain_submits = ?, summary = ?, rejected = ?, signature = ? WHERE n = ?",
            (
                plan.outcome,
                plan.reason,
                resumed.claim if resumed else None,
                json.dumps(generation) if generation else None,
                plan.is_fallback,
                plan.uncertain,
                resumed.facts.request.model_dump_json() if resumed else None,
                plan.rejected.encode(),
                submit.signature if submit else None,
                row.index,
            ),
        )
        if plan.is_fallback and row.fallback:
            estimate = estimate_cost(row.fallback).credits
            self._db.execute(
                "UPDATE rows SET limit_group = ?, estimate = ?, is_unpriced = ? WHERE n = ?",
                (
                    group_of(row.fallback.model, row.fallback.catalog_model),
                    estimate,
                    _is_unpriced(row.fallback, estimate),
                    row.index,
                ),
            )
        self._commit_sometimes()

    def open_groups(self) -> list[str]:
        """Return the limit groups of the rows that have not ended."""
        groups = self._db.execute(
            "SELECT DISTINCT limit_group FROM rows WHERE outcome IS NULL AND NOT is_trimmed"
        )
        return [group for (group,) in groups]

    def pending_rows(self, group: str, *, after: int = -1, limit: int = -1) -> list[PendingRow]:
        """Return the next rows of a limit group that are to be submitted.

        :param group: the limit group.
        :param after: index of the row before the first one to return; -1 for none.
        :param limit: how many rows to return at most; -1 for all.
        """
        rows = self._db.execute(
            f"SELECT {_PENDING_COLUMNS} FROM rows "  # noqa: S608
            "WHERE limit_group = ? AND n > ? AND outcome IS NULL AND claim IS NULL "
            "AND NOT is_trimmed ORDER BY n LIMIT ?",
            (group, after, limit),
        )
        return [self._build_pending(*row) for row in rows]

    def set_prepared(self, row: PendingRow) -> None:
        """Store price and fingerprint of a row that was prepared, and is not submitted yet.

        :param row: the prepared row.
        """
        self._db.execute(
            "UPDATE rows SET estimate = ?, fingerprint = ? WHERE n = ?",
            (row.estimate, row.request.fingerprint, row.index),
        )
        self._commit_sometimes()

    def mark_copies(self) -> None:
        """Mark rows whose request is that of an earlier row, whose image they get for free."""
        self._db.execute(
            "UPDATE rows SET is_copy = 1 WHERE outcome IS NULL AND claim IS NULL "
            "AND fingerprint IS NOT NULL AND n NOT IN (SELECT min(n) FROM rows "
            "WHERE outcome IS NULL AND fingerprint IS NOT NULL GROUP BY fingerprint)"
        )
        self.commit()

    def trim(self, first: int, reason: str) -> None:
        """Leave the rows to submit from one row on to a later try.

        :param first: index of the first such row.
        :param reason: explanation for the manifest.
        """
        self._db.execute(
            "UPDATE rows SET is_trimmed = 1, reason = ? "
            "WHERE n >= ? AND outcome IS NULL AND claim IS NULL",
            (reason, first),
        )
        self.commit()

    def pending_row(self, index: int) -> PendingRow:
        """Return a row that is to be submitted.

        :param index: index of the row.
        """
        row = self._db.execute(
            f"SELECT {_PENDING_COLUMNS} FROM rows WHERE n = ?",  # noqa: S608
            (index,),
        ).fetchone()
        return self._build_pending(*row)

    def submitted_rows(self) -> list[SubmittedRow]:
        """Return all rows whose submit of an earlier try is to be resumed."""
        rows = self._db.execute(
            "SELECT n, key, limit_group, fallback, estimate, is_fallback, uncertain_submits, "
            "claim, generation, summary, rejected, path FROM rows "
            "WHERE outcome IS NULL AND claim IS NOT NULL ORDER BY n"
        )
        return [self._build_resumed(*row) for row in rows]

    def reroll(self, row: SubmittedRow, rejected: RejectedImages) -> PendingRow:
        """Make a row pending again whose image was rejected, and return it.

        :param row: the row.
        :param rejected: its rejected images, with the one of this submit.
        """
        self._update(replace(row, rejected=rejected), None, None)
        self._db.execute("UPDATE rows SET claim = NULL WHERE n = ?", (row.index,))
        self.commit()
        found = self._db.execute(
            f"SELECT {_PENDING_COLUMNS} FROM rows WHERE n = ?",  # noqa: S608
            (row.index,),
        ).fetchone()
        return replace(self._build_pending(*found), lost_answers=row.lost_answers)

    def pending_cost(self) -> float:
        """Return the expected cost of all rows that BFL has not accepted yet, in credits."""
        (total,) = self._db.execute(
            "SELECT coalesce(sum(estimate), 0.0) FROM rows "
            "WHERE outcome IS NULL AND claim IS NULL AND NOT is_trimmed"
        ).fetchone()
        return float(total)

    def data_of(self, index: int) -> dict[str, Any]:
        """Return the values of a row by the columns of the input.

        :param index: position of the row in the input.
        """
        found = self._db.execute("SELECT data FROM rows WHERE n = ?", (index,)).fetchone()
        return json.loads(found[0]) if found and found[0] else {}

    def row_fingerprint(self, index: int) -> str:
        """Return the fingerprint of a row, and not of its fallback, before its inputs are read.

        :param index: position of the row in the input.
        """
        model, parameters = self._db.execute(
            "SELECT model, parameters FROM rows WHERE n = ?", (index,)
        ).fetchone()
        return self.builder.restore(model, json.loads(parameters)).fingerprint

    def save_signature(self, index: int, signature: str) -> None:
        """Keep the signature of the image of a row.

        :param index: position of the row in the input.
        :param signature: the signature, as text.
        """
        self._db.execute("UPDATE rows SET signature = ? WHERE n = ?", (signature, index))

    def signature_of(self, index: int) -> str | None:
        """Return the signature of the image of a row; ``None`` if it has none.

        :param index: position of the row in the input.
        """
        found = self._db.execute("SELECT signature FROM rows WHERE n = ?", (index,)).fetchone()
        return found[0] if found else None

    def landed_signatures(self) -> Iterator[tuple[int, str]]:
        """Yield the rows whose image landed in an earlier try, each with its signature."""
        yield from self._db.execute(
            "SELECT n, signature FROM rows WHERE outcome = 'landed' AND signature IS NOT NULL"
        ).fetchall()

    def key_of(self, index: int) -> str:
        """Return the key of a row.

        :param index: position of the row in the input.
        """
        (key,) = self._db.execute("SELECT key FROM rows WHERE n = ?", (index,)).fetchone()
        return str(key)

    def save(self, row: PendingRow | SubmittedRow) -> None:
        """Store the state of a row that has not ended.

        :param row: the row as it is now.
        """
        generation = row.generation if isinstance(row, SubmittedRow) else None
        self._update(row, None, generation)

    def end(
        self,
        row: PendingRow | SubmittedRow,
        outcome: RowOutcome,
        *,
        generation: Generation | None = None,
        reason: str = "",
        latency: float | None = None,
    ) -> None:
        """Store the outcome of a row.

        :param row: the row in its last state.
        :param outcome: its outcome.
        :param generation: its last generation; ``None`` if BFL accepted none.
        :param reason: explanation of the outcome.
        :param latency: seconds from the submit until the result was seen to be ready.
        """
        self._update(row, outcome, generation, reason=reason, latency=latency)

    def _update(
        self,
        row: PendingRow | SubmittedRow,
        outcome: RowOutcome | None,
        generation: Generation | None,
        *,
        reason: str = "",
        latency: float | None = None,
    ) -> None:
        self._db.execute(
            "UPDATE rows SET outcome = ?, reason = ?, claim = ?, generation = ?, is_fallback = ?, "
            "uncertain_submits = ?, latency = ?, estimate = ?, rejected = ? WHERE n = ?",
            (
                outcome,
                reason,
                row.claim if isinstance(row, SubmittedRow) else None,
                None if generation is None else json.dumps(generation),
                row.is_fallback,
                row.uncertain_submits,
                latency,
                row.estimate,
                row.rejected.encode(),
                row.index,
            ),
        )
        if self._groups_commits:
            self.commit_if_due()
        else:
            self.commit()

    def _commit_sometimes(self) -> None:
        self._uncommitted += 1
        if self._uncommitted >= _ROWS_PER_COMMIT:
            self.commit()

    def _build_pending(
        self,
        index: int,
        key: str,
        model: str,
        parameters: str,
        fallback: str | None,
        is_fallback: int,
        uncertain_submits: int,
        rejected: str | None,
        path: str | None,
    ) -> PendingRow:
        other = self._restore_fallback(fallback)
        request = self.builder.restore(model, json.loads(parameters))
        if is_fallback and other:
            request, other = other, None
        return self.builder.build_pending(
            index,
            key,
            request,
            fallback=other,
            is_fallback=bool(is_fallback),
            uncertain_submits=uncertain_submits,
            rejected=RejectedImages.decode(rejected),
            path=path,
        )

    def _build_resumed(
        self,
        index: int,
        key: str,
        group: str,
        fallback: str | None,
        estimate: float | None,
        is_fallback: int,
        uncertain_submits: int,
        claim: str,
        generation: str,
        summary: str,
        rejected: str | None,
        path: str | None,
    ) -> SubmittedRow:
        return self.builder.build_resumed(
            index,
            key,
            RequestSummary.model_validate_json(summary),
            path=path,
            group=group,
            estimate=estimate,
            fallback=None if is_fallback else self._restore_fallback(fallback),
            is_fallback=bool(is_fallback),
            uncertain_submits=uncertain_submits,
            claim=claim,
            generation=json.loads(generation),
            rejected=RejectedImages.decode(rejected),
        )

    def _restore_fallback(self, text: str | None) -> GenerationRequest | None:
        return None if text is None else self.builder.restore(*json.loads(text))


def _is_unpriced(request: GenerationRequest, estimate: float | None) -> bool:
    """Return whether the price is not known, and reading the inputs cannot make it known."""
    if estimate is not None:
        return False
    return not any(request.parameters.get(name) for name in request.media_fields)
