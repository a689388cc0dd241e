"""Ledgers in a local folder with submits of known costs, for tests and benchmarks."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_provider_flux.generation import Generation
from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.ledger.journal_entries import SegmentHeader, encode_line
from airflow_provider_flux.ledger.journal_segments import JOURNAL_SUFFIX, SegmentBuffer
from airflow_provider_flux.ledger.record import Phase, Record
from airflow_provider_flux.ledger.record_files import stem_of
from tests.support.journal_samples import LANDED, new_intent

DAY = datetime(2026, 11, 10, 12, tzinfo=UTC)
OWNER = TaskIdentity(dag_id="ads", run_id="monday", task_id="hero", try_number=1)


def generation(request_id: str, *, cost: Any = 3.0, reported: bool = True) -> Generation:
    """Return an accepted request whose image has landed."""
    source = "reported" if reported else "estimated"
    changes: dict[str, Any] = {"request_id": request_id, "cost": cost, "cost_source": source}
    return {**LANDED, **changes}  # type: ignore[typeddict-item]


def write_record(
    ledger: Path,
    request_id: str | None,
    *,
    phase: Phase = "returned",
    owner: TaskIdentity = OWNER,
    at: datetime = DAY,
    number: int = 0,
    cost: Any = 3.0,
    reported: bool = True,
    error: str | None = None,
    **fields: Any,
) -> Path:
    """Write the record of a single image, and return its file."""
    accepted = None
    if request_id is not None:
        accepted = dict(generation(request_id, cost=cost, reported=reported))
    record = Record(
        phase=phase,
        owner=owner,
        clear_id="3/x",
        flux_conn_id=fields.pop("flux_conn_id", "flux_default"),
        model=fields.pop("model", "flux-2-pro"),
        fingerprint="f",
        estimated_cost=fields.pop("estimated_cost", 3.0),
        opened_at=at.isoformat(),
        updated_at=at.isoformat(),
        generation=accepted,
        error={"type": error} if error else None,
        **fields,
    )
    file = Path(f"{stem_of(str(ledger), owner)}.{number}.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(record.as_bytes())
    return file


def row_entries(
    index: int, *, at: datetime = DAY, cost: Any = 3.0, request_id: str | None = None
) -> list[dict[str, Any]]:
    """Return the entries of a row whose image has landed."""
    intent = {**new_intent(str(index), index), "at": at.isoformat()}
    name = request_id or hashlib.md5(f"{at}{index}".encode(), usedforsecurity=False).hexdigest()
    landed = generation(name, cost=cost)
    accepted = {**landed, "image": None, "status": "Pending"}
    shared = {"claim": intent["claim"], "key": str(index), "at": at.isoformat()}
    return [
        intent,
        {**shared, "phase": "submitted", "generation": accepted},
        {**shared, "phase": "persisted", "generation": landed},
    ]


def write_journal(
    ledger: Path,
    entries: Iterable[dict[str, Any]],
    *,
    owner: TaskIdentity = OWNER,
    session: str | None = None,
) -> Path:
    """Write the entries of one try of a batch in as many segments as they need."""
    folder = Path(f"{stem_of(str(ledger), owner)}{JOURNAL_SUFFIX}")
    folder.mkdir(parents=True, exist_ok=True)
    header = SegmentHeader(
        session=session or uuid.uuid4().hex,
        opened_at=DAY.isoformat(),
        owner=owner,
        clear_id="3/x",
        flux_conn_id="flux_default",
        target=Target(path="/x/{key}.{ext}", host="h"),
    )
    buffer = SegmentBuffer(header)
    lines: list[bytes] = []
    for entry in entries:
        lines.append(encode_line(entry))
        if len(lines) == 24:
            _write(folder, buffer, lines)
            lines = []
    _write(folder, buffer, lines)
    return folder


def write_month(ledger: Path, batches: Sequence[int], singles: int) -> None:
    """Write the ledgers of a month: a batch of each size, one after another, and single images."""
    for number, rows in enumerate(batches):
        day = DAY + timedelta(days=number % 20)
        owner = TaskIdentity(dag_id=f"dag_{number % 7}", run_id=f"r{number}", task_id="catalog")
        entries = (entry for index in range(rows) for entry in row_entries(index, at=day))
        write_journal(ledger, entries, owner=owner)
    for number in range(singles):
        day = DAY + timedelta(days=number % 20)
        owner = TaskIdentity(dag_id="news", run_id=f"r{number // 10}", task_id=f"t{number % 10}")
        write_record(ledger, f"single-{number}", owner=owner, at=day)


def _write(folder: Path, buffer: SegmentBuffer, lines: list[bytes]) -> None:
    for name, content in buffer.render(lines):
        (folder / name).write_bytes(content)
    buffer.mark_written(lines)
