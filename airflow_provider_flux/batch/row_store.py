"""The working table of a batch: in a temporary sqlite file, so that memory holds what is in flight and not the rows."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_flux.batch.input.rows import Row
from airflow_provider_flux.batch.row_policy import Outcome, RowPlan
from airflow_provider_flux.batch.row_reader import connect, pair_of
from airflow_provider_flux.bfl.request import GenerationRequest
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.ledger.journal_entries import (
    JournaledSubmit,
    JournalEntry,
    SegmentHeader,
    fold_entries,
)

_SCHEMA = """
CREATE TABLE rows (
    n INTEGER PRIMARY KEY, key TEXT NOT NULL, kind TEXT NOT NULL, model TEXT NOT NULL, parameters TEXT NOT NULL,
    fallback TEXT, estimate REAL, outcome TEXT, reason TEXT NOT NULL DEFAULT '', claim TEXT, generation TEXT,
    is_fallback INTEGER NOT NULL DEFAULT 0, uncertain INTEGER NOT NULL DEFAULT 0, latency REAL, facts TEXT
);
CREATE INDEX to_do ON rows (kind, n) WHERE outcome IS NULL;
CREATE TABLE headers (number INTEGER PRIMARY KEY, header TEXT NOT NULL);
CREATE TABLE notes (key TEXT NOT NULL, header INTEGER NOT NULL, note TEXT NOT NULL);
"""
_WRITTEN_AT_ONCE = 500


@dataclass
class Job:
    """A row that is to be worked on.

    :param kind: what shares a limit of active tasks: the model, or all videos.
    :param fallback: model and parameters that are tried when the row is moderated, or its generation fails.
    :param is_fallback: whether they are tried now.
    :param uncertain: submits of all tries whose answer was lost; ``lost_answers`` those of this try.
    :param generation: what was submitted for it, and ``claim`` that submit.
    :param facts: what an earlier try has submitted, as JSON: it may have been another request.
    :ivar request: what is to be submitted, once it has been made ready; its inputs live until :meth:`release`.
    :ivar wanted: fingerprint of the row as it was given.
    :ivar plan: where and how its image is to land.
    """

    n: int
    key: str
    kind: str
    model: str
    parameters: dict[str, Any]
    fallback: tuple[str, dict[str, Any]] | None
    estimate: float | None
    is_fallback: bool = False
    uncertain: int = 0
    claim: str | None = None
    generation: Generation | None = None
    facts: str | None = None
    request: GenerationRequest | None = None
    wanted: str = ""
    plan: LandingPlan | None = None
    lost_answers: int = 0
    inputs: ExitStack = field(default_factory=ExitStack)

    @property
    def ready(self) -> tuple[GenerationRequest, LandingPlan]:
        """Its request and its landing plan, once it has been made ready."""
        assert self.request is not None  # noqa: S101 - see above
        assert self.plan is not None  # noqa: S101
        return self.request, self.plan

    @property
    def paid(self) -> Generation:
        """What was submitted for it, once it was."""
        assert self.generation is not None  # noqa: S101 - see above
        return self.generation

    def release(self) -> None:
        """Remove the inputs that were read."""
        self.inputs.close()


class RowStore:
    """All rows of a batch, and what became of them. For one thread at a time; others use a ``Reader``.

    :param path: of the file. Its folder is the caller's to remove.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = connect(path)
        self._db.executescript(_SCHEMA)
        self._headers: dict[int, SegmentHeader] = {}
        self._unwritten = 0

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def add(self, row: Row, *, kind: str, estimate: float | None) -> None:
        """Add a row, in the order of the input."""
        fallback = row.fallback and json.dumps([row.fallback.model, row.fallback.parameters])
        parameters = row.request.parameters if row.request else {}
        outcome, reason = ("invalid", row.problem) if row.problem is not None else (None, "")
        self._db.execute(
            "INSERT INTO rows (n, key, kind, model, parameters, fallback, estimate, outcome, reason) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                row.index,
                row.key,
                kind,
                row.model,
                json.dumps(parameters),
                fallback,
                estimate,
                outcome,
                reason,
            ),
        )
        self._commit_now_and_then()

    def remember(self, header: SegmentHeader, notes: list[JournalEntry]) -> None:
        """Keep what a segment of the journal says, until its rows are planned."""
        number = self._db.execute(
            "INSERT INTO headers (header) VALUES (?)", (header.model_dump_json(),)
        ).lastrowid
        assert number is not None  # noqa: S101 - sqlite gives one to each row
        self._headers[number] = header
        lines = [(note.key, number, note.model_dump_json(exclude_none=True)) for note in notes]
        self._db.executemany("INSERT INTO notes (key, header, note) VALUES (?, ?, ?)", lines)
        self.commit()

    def index_history(self) -> bool:
        """Make :meth:`history` quick; say whether there is any."""
        self._db.execute("CREATE INDEX notes_by_key ON notes (key)")
        return self._db.execute("SELECT 1 FROM notes LIMIT 1").fetchone() is not None

    def history(self, key: str) -> list[JournaledSubmit]:
        """Return what was submitted for a row, in that order.

        :raises FluxLedgerError: if a part of it is missing.
        """
        found = self._db.execute(
            "SELECT header, note FROM notes WHERE key = ? ORDER BY rowid", (key,)
        )
        return list(
            fold_entries(
                (self._headers[number], [JournalEntry.model_validate_json(text)])
                for number, text in found
            )
        )

    def open_orphans(self) -> list[JournaledSubmit]:
        """Return what was paid for, and has not landed, of rows that are not in the input."""
        keys = self._db.execute(
            "SELECT DISTINCT key FROM notes WHERE key NOT IN (SELECT key FROM rows)"
        ).fetchall()
        return [one for (key,) in keys for one in self.history(key) if one.phase == "submitted"]

    def plan(self, n: int, plan: RowPlan) -> None:
        """Keep what is to be done about a row, or was done."""
        submit = plan.submit
        generation = json.dumps(submit.generation) if submit and submit.generation else None
        claim = facts = None
        if submit and plan.action == "resume":
            claim, facts = submit.claim, submit.facts.request.model_dump_json()
        self._db.execute(
            "UPDATE rows SET outcome = ?, reason = ?, claim = ?, generation = ?, is_fallback = ?, uncertain = ?, "
            "facts = ? WHERE n = ?",
            (
                plan.outcome,
                plan.reason,
                claim,
                generation,
                plan.is_fallback,
                plan.uncertain,
                facts,
                n,
            ),
        )
        self._commit_now_and_then()

    def reprice(self, n: int, *, kind: str, estimate: float | None) -> None:
        """Keep the kind and the expected cost of a row whose fallback is tried."""
        self._db.execute("UPDATE rows SET kind = ?, estimate = ? WHERE n = ?", (kind, estimate, n))

    def to_do(self, kind: str, *, after: int, limit: int, is_open: bool) -> list[Job]:
        """Return the next rows of a kind that are to be submitted, or to be collected (``is_open``)."""
        found = self._db.execute(
            "SELECT n, key, kind, model, parameters, fallback, estimate, is_fallback, uncertain, claim, generation, "
            "facts FROM rows "
            "WHERE kind = ? AND n > ? AND outcome IS NULL AND (claim IS NOT NULL) = ? ORDER BY n LIMIT ?",
            (kind, after, is_open, limit),
        )
        return [_job(row) for row in found]

    def submitted(self, job: Job) -> None:
        """Keep what was submitted for a row."""
        self._update(job, None, "", None)

    def end(
        self, job: Job, outcome: Outcome, *, reason: str = "", latency: float | None = None
    ) -> None:
        """Keep what became of a row."""
        self._update(job, outcome, reason, latency)

    def kinds(self) -> list[str]:
        """Return the kinds of rows there are to do."""
        return [
            kind
            for (kind,) in self._db.execute("SELECT DISTINCT kind FROM rows WHERE outcome IS NULL")
        ]

    def commit(self) -> None:
        """Let readers see what was written."""
        self._db.commit()
        self._unwritten = 0

    def _update(
        self, job: Job, outcome: Outcome | None, reason: str, latency: float | None
    ) -> None:
        generation = None if job.generation is None else json.dumps(job.generation)
        self._db.execute(
            "UPDATE rows SET outcome = ?, reason = ?, claim = ?, generation = ?, is_fallback = ?, uncertain = ?, "
            "latency = ?, estimate = ? WHERE n = ?",
            (
                outcome,
                reason,
                job.claim,
                generation,
                job.is_fallback,
                job.uncertain,
                latency,
                job.estimate,
                job.n,
            ),
        )
        self.commit()

    def _commit_now_and_then(self) -> None:
        self._unwritten += 1
        if self._unwritten >= _WRITTEN_AT_ONCE:
            self.commit()


def _job(row: tuple[Any, ...]) -> Job:
    (
        n,
        key,
        kind,
        model,
        parameters,
        fallback,
        estimate,
        is_fallback,
        uncertain,
        claim,
        generation,
        facts,
    ) = row
    made = None if generation is None else json.loads(generation)
    given, other = json.loads(parameters), pair_of(fallback)
    return Job(
        n,
        key,
        kind,
        model,
        given,
        other,
        estimate,
        bool(is_fallback),
        uncertain,
        claim,
        made,
        facts,
    )
