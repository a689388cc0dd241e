"""Recover the generations that no task returned. Nothing is submitted, and it can be repeated."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from airflow_provider_flux.bfl.errors import (
    FluxError,
    FluxExistsError,
    FluxGenerationError,
    FluxModeratedError,
    FluxResultExpiredError,
    FluxTaskNotFoundError,
    FluxTimeoutError,
)
from airflow_provider_flux.generation import Generation, without_media
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.land import land
from airflow_provider_flux.landing.output_path import check_output_path
from airflow_provider_flux.ledger.record_store import StoredRecord
from airflow_provider_flux.object_store.filesystem import open_path
from airflow_provider_flux.recovery import metadata_db
from airflow_provider_flux.recovery.find import FoundRecord
from airflow_provider_flux.recovery.record_trust import Landing, plan_landing

#: The outcome of one record.
#:
#: - ``recovered``: the image landed now.
#: - ``landed``: the image had landed already, and no try of its task returned it.
#: - ``recoverable``: a run without ``--dry-run`` tries to land the image.
#: - ``task active``: the task runs or is deferred, and lands the image by itself.
#: - ``not ready``: BFL still generates the image.
#: - ``uncertain``: the submit was possibly billed, and BFL's id of the request is not known.
#: - ``not charged``: BFL ended the request without an image.
#: - ``lost``: BFL has forgotten the request or the image, which was billed.
#: - ``error``: the image could not be landed.
RecoveryOutcome = Literal[
    "recovered",
    "landed",
    "recoverable",
    "task active",
    "not ready",
    "uncertain",
    "not charged",
    "lost",
    "error",
]

_NOT_CHARGED = (FluxModeratedError, FluxGenerationError)
_LOST = (FluxTaskNotFoundError, FluxResultExpiredError)
_MAX_CONCURRENT_IMAGES = 8
_UNCERTAIN = "the answer to its submit is not recorded"


@dataclass(frozen=True)
class RecoveryResult:
    """One record and its outcome.

    :param stored: the record.
    :param outcome: its outcome.
    :param reason: the reason for the outcome; empty if the outcome says it all.
    """

    stored: StoredRecord
    outcome: RecoveryOutcome
    reason: str = ""

    def as_row(self) -> dict[str, str]:
        """Return the result as a row of a table."""
        record = self.stored.record
        owner, generation = record.owner, record.generation or {}
        landed = generation.get("image") or generation.get("video") or {}
        cost = generation.get("cost", record.estimated_cost)
        return {
            "outcome": self.outcome,
            "dag_id": owner.dag_id or "",
            "run_id": owner.run_id or "",
            "task_id": owner.task_id or "",
            "map_index": str(owner.map_index),
            "key": record.target.key if record.target else "",
            "model": record.model,
            "request_id": generation.get("request_id", ""),
            "credits": "" if cost is None else f"{cost:g}",
            "submitted_at": generation.get("submitted_at", record.opened_at),
            "uri": landed.get("uri", ""),
            "reason": self.reason,
        }


def recover_all(
    records: Sequence[FoundRecord],
    *,
    dry_run: bool,
    output_path: str | None = None,
    flux_conn_id: str | None = None,
) -> Iterator[RecoveryResult]:
    """Recover many records in parallel, and yield the results in their order.

    A record has no result in phase ``returned`` or ``failed``, or if its image has landed and a
    later submit of the same task took its place: no task will return it.

    :param records: the records.
    :param dry_run: whether to land nothing and change nothing.
    :param output_path: where to land instead of the ``output_path`` of each task; needed for
        records without one.
    :param flux_conn_id: id of the connection to BFL; ``None`` for that of each task.
    :raises FluxRequestError: if ``output_path`` is not valid.
    """
    if output_path:
        check_output_path(output_path)
    superseded = {found.record.follows for found in records}

    def recover_or_inspect(found: FoundRecord) -> RecoveryResult | None:
        try:
            if dry_run:
                return preview(found, output_path, flux_conn_id)
            return recover(found, output_path, flux_conn_id)
        except Exception as error:  # One record must not hide the others.
            return RecoveryResult(found.stored, "error", f"{type(error).__name__}: {error}")

    unfinished = [
        found
        for found in records
        if _is_unfinished(found.stored)
        and not (found.record.has_landed and found.record.claim in superseded)
    ]
    with ThreadPoolExecutor(max_workers=_MAX_CONCURRENT_IMAGES) as pool:
        for result in pool.map(recover_or_inspect, unfinished):
            if result is not None:
                yield result


def inspect(stored: StoredRecord, *, is_dry: bool = True) -> RecoveryResult | None:
    """Return the outcome of a record before anything is landed.

    :param stored: the record. It is read again, because its task may have ended meanwhile.
    :param is_dry: whether to change nothing, ``True`` by default. Otherwise the request that a
        webhook named for an uncertain record is written into it.
    :return: ``None`` if the task has returned its image, or failed for good.
    :raises FluxError: if the record cannot be read again.
    """
    if metadata_db.has_active_task(stored.record.owner):
        return RecoveryResult(stored, "task active")
    stored.refresh()
    if not _is_unfinished(stored):
        return None
    if stored.record.is_uncertain and not stored.resolve_lost_answer(is_written=not is_dry):
        reason = (stored.record.error or {}).get("message", _UNCERTAIN)
        return RecoveryResult(stored, "uncertain", str(reason))
    return RecoveryResult(stored, "recoverable" if stored.record.is_in_flight else "landed")


def preview(
    found: FoundRecord, output_path: str | None, flux_conn_id: str | None
) -> RecoveryResult | None:
    """Return the outcome of a record as :func:`inspect` does, and check that its image may land.

    :param found: the record.
    :param output_path: where to land instead of the ``output_path`` of the task.
    :param flux_conn_id: id of the connection to BFL; ``None`` for that of the task.
    :raises FluxError: if the record cannot be read again, or its image may not land.
    """
    result = inspect(found.stored)
    if result is not None and result.outcome == "recoverable":
        plan_landing(found, output_path, flux_conn_id)
    return result


def recover(
    found: FoundRecord, output_path: str | None = None, flux_conn_id: str | None = None
) -> RecoveryResult | None:
    """Land the image of a record that no task lands, and record that.

    :param found: the record.
    :param output_path: where to land instead of the ``output_path`` of the task.
    :param flux_conn_id: id of the connection to BFL; ``None`` for that of the task.
    :return: the result; ``None`` if the task has returned its image, or failed for good.
    :raises FluxError: if the image cannot be landed.
    """
    stored = found.stored
    result = inspect(stored, is_dry=False)
    if result is None or result.outcome != "recoverable":
        return result
    landing = plan_landing(found, output_path, flux_conn_id)
    try:
        landed = _land(landing, without_media(stored.record.accepted))
    except FluxTimeoutError:
        return RecoveryResult(stored, "not ready")
    except _NOT_CHARGED as error:
        return _mark_failed(stored, error)
    except _LOST as error:
        if not landing.is_conn_id_of_record:
            reason = f"{error} The record names another connection than {landing.flux_conn_id!r}."
            return RecoveryResult(stored, "error", reason)
        return _mark_failed(stored, error)
    return _mark_landed(stored, landed)


def _is_unfinished(stored: StoredRecord) -> bool:
    return stored.record.phase not in {"returned", "failed"}


def _mark_failed(stored: StoredRecord, error: FluxError) -> RecoveryResult:
    stored.refresh()
    if stored.record.is_in_flight:
        stored.write_or_warn("failed", error=error)
    outcome: RecoveryOutcome = "lost" if isinstance(error, _LOST) else "not charged"
    return RecoveryResult(stored, outcome, str(error))


def _mark_landed(stored: StoredRecord, landed: Generation) -> RecoveryResult:
    stored.refresh()
    if not stored.record.is_in_flight:
        return RecoveryResult(stored, "landed", "its task landed it first")
    if not stored.write_or_warn("persisted", generation=landed):
        reason = "The image has landed, but its record could not be changed."
        return RecoveryResult(stored, "error", reason)
    return RecoveryResult(stored, "recovered")


def _land(landing: Landing, generation: Generation) -> Generation:
    """Land an image. If its name is taken, land it as ``<name>-<request_id>.<ext>``."""
    hook, plan = FluxHook(landing.flux_conn_id), landing.plan
    open_path(plan.target.path)
    try:
        return land(hook, generation, plan, deadline=time.time(), guard=landing.guard)
    except FluxExistsError:
        stem, dot, suffix = plan.target.path.rpartition(".")
        has_suffix = bool(dot) and "/" not in suffix
        path = (
            f"{stem}-{{request_id}}.{suffix}"
            if has_suffix
            else f"{plan.target.path}-{{request_id}}"
        )
        plan = plan.with_target(path=path)
        return land(hook, generation, plan, deadline=time.time(), guard=landing.guard)
