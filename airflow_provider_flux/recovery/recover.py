"""Collecting what was paid for and what no task has collected. It pays for nothing and can be repeated."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from airflow_provider_flux.bfl.errors import (
    FluxExistsError,
    FluxGenerationError,
    FluxModeratedError,
    FluxResultExpiredError,
    FluxStorageError,
    FluxTaskNotFoundError,
    FluxTimeoutError,
)
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.land import land
from airflow_provider_flux.landing.output_path import check_output_path
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.ledger.record import Record
from airflow_provider_flux.ledger.task_ledger import StoredRecord
from airflow_provider_flux.object_store.filesystem import open_path
from airflow_provider_flux.recovery import metadata_db

#: What became of a record. ``landed``, ``collected``: the image is there. ``collectable``: a run without ``--dry-run``
#: would try. ``task at work``: its task collects it. ``uncertain``: possibly billed, with no id to ask for.
Outcome = Literal[
    "landed",
    "collected",
    "collectable",
    "task at work",
    "not ready",
    "uncertain",
    "not charged",
    "lost",
    "error",
]
#: Images that are collected at once.
_PARALLEL = 8


@dataclass(frozen=True)
class Finding:
    """One record, and what became of it."""

    entry: StoredRecord
    outcome: Outcome
    reason: str = ""

    def as_row(self) -> dict[str, str]:
        """Return it as a row of a table."""
        record = self.entry.record
        owner, paid = record.owner, record.generation or {}
        landed = paid.get("image") or paid.get("video") or {}
        cost = paid.get("cost", record.estimated_cost)
        return {
            "outcome": self.outcome,
            "dag_id": owner.dag_id or "",
            "run_id": owner.run_id or "",
            "task_id": owner.task_id or "",
            "map_index": str(owner.map_index),
            "key": record.target.key if record.target else "",
            "model": record.model,
            "request_id": paid.get("request_id", ""),
            "credits": "" if cost is None else f"{cost:g}",
            "submitted_at": paid.get("submitted_at", record.opened_at),
            "uri": landed.get("uri", ""),
            "reason": self.reason,
        }


def recover(
    entries: list[StoredRecord], *, dry_run: bool, output_path: str | None = None
) -> Iterator[Finding]:
    """Collect, in parallel, and yield what became of each record that is of interest.

    :param dry_run: collect nothing and change nothing.
    :param output_path: where to land what does not say where it belongs, and what should land elsewhere.
    """

    if output_path:
        check_output_path(output_path)

    def one(entry: StoredRecord) -> Finding | None:
        try:
            return look_at(entry) if dry_run else collect(entry, output_path)
        except Exception as error:  # one record must not hide the others
            return Finding(entry, "error", f"{type(error).__name__}: {error}")

    with ThreadPoolExecutor(max_workers=_PARALLEL) as pool:
        found = pool.map(one, [entry for entry in entries if _is_of_interest(entry)])
        yield from (finding for finding in found if finding is not None)


def look_at(entry: StoredRecord) -> Finding | None:
    """Say what would be done about a record; ``None`` if its task has returned meanwhile."""
    if metadata_db.has_running_task(entry.record.owner):
        return Finding(entry, "task at work")
    entry.refresh()  # its task may have ended since it was read
    if not _is_of_interest(entry):
        return None
    if entry.record.is_uncertain:
        return Finding(entry, "uncertain", "the answer to its submit was never written down")
    return Finding(entry, "collectable" if entry.record.is_open else "landed")


def collect(entry: StoredRecord, output_path: str | None = None) -> Finding | None:
    """Land what a record names, if no task will, and write that down."""
    seen = look_at(entry)
    if seen is None or seen.outcome != "collectable":
        return seen
    record = entry.record
    try:
        landed = _land(
            FluxHook(record.flux_conn_id), record.accepted, _plan_of(record, output_path)
        )
    except FluxTimeoutError:
        return Finding(entry, "not ready")
    except (
        FluxModeratedError,
        FluxGenerationError,
        FluxTaskNotFoundError,
        FluxResultExpiredError,
    ) as error:
        entry.refresh()
        if entry.record.is_open:
            entry.write_or_warn("failed", error=error)
        is_lost = isinstance(error, (FluxTaskNotFoundError, FluxResultExpiredError))
        return Finding(entry, "lost" if is_lost else "not charged", str(error))
    entry.refresh()
    if not entry.record.is_open:
        return Finding(entry, "landed", "its task was quicker")
    if not entry.write_or_warn("persisted", generation=landed):
        return Finding(entry, "error", "It has landed, but its record could not be changed.")
    return Finding(entry, "collected")


def _is_of_interest(entry: StoredRecord) -> bool:
    return entry.record.phase not in {"returned", "failed"}


def _plan_of(record: Record, output_path: str | None) -> LandingPlan:
    """Return where an image belongs; what is there already is not replaced.

    :raises FluxStorageError: if that cannot be told, or is a folder of another machine.
    """
    plan = record.landing_plan
    if output_path:
        key = record.owner.task_id if record.owner.map_index < 0 else str(record.owner.map_index)
        path = check_output_path(output_path)
        if plan:
            plan = plan.with_target(path=path, root="")
        else:
            index = max(record.owner.map_index, 0)
            target = Target(path=path, key=key or "0", index=index)
            plan = LandingPlan(target=target, task=record.owner)
    elif plan is None:
        raise FluxStorageError("It was generated without output_path: name one with --output-path.")
    elif not plan.target.is_on_this_host():
        raise FluxStorageError(
            f"Its output_path is a folder of {plan.target.host}: recover it there, or use --output-path."
        )
    return plan.with_if_exists("error")


def _land(hook: FluxHook, generation: Generation, plan: LandingPlan) -> Generation:
    """Land an image; where another one is at its name, beside it."""
    open_path(plan.target.path)
    try:
        return land(hook, generation, plan, deadline=time.time())
    except FluxExistsError:
        stem, dot, suffix = plan.target.path.rpartition(".")
        path = (
            f"{stem}-{{request_id}}.{suffix}"
            if dot and "/" not in suffix
            else f"{plan.target.path}-{{request_id}}"
        )
        return land(hook, generation, plan.with_target(path=path), deadline=time.time())
