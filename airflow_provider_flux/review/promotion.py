"""Carry out a decision: copy what was chosen to the final path, note it in sidecars, remove files.

Everything here can be repeated, so a killed try does no harm.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing import sidecar as sidecars
from airflow_provider_flux.landing.companion_names import sidecar_uri
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.landing.review_note import ReviewNote, ReviewOutcome
from airflow_provider_flux.landing.sidecar import MAX_SIDECAR_BYTES, Sidecar, parse_sidecar
from airflow_provider_flux.object_store.filesystem import open_path, run_sync
from airflow_provider_flux.object_store.objects import exists, put, read_hint, remove
from airflow_provider_flux.review.answer import Decision
from airflow_provider_flux.review.candidates import Candidate

log = logging.getLogger(__name__)
_T = TypeVar("_T")

_CONCURRENT_FILES = 16


def build_note(
    decision: Decision, number: int, candidates: int, round_: int, task: TaskIdentity
) -> ReviewNote:
    """Return what the sidecar of a candidate says about the decision.

    :param decision: the decision.
    :param number: number of the candidate, from 1.
    :param candidates: number of candidates.
    :param round_: how many times other candidates were asked for.
    :param task: the task instance of the review.
    """
    outcome: ReviewOutcome = "rejected"
    if decision.kind == "approve":
        outcome = "approved" if number in decision.chosen else "not_chosen"
    return ReviewNote(
        outcome=outcome,
        decided_by_id=decision.decided_by_id,
        decided_by_name=decision.decided_by_name,
        decided_at=decision.decided_at,
        is_timeout=decision.is_timeout,
        comment=decision.comment,
        round=round_,
        candidate=number,
        candidates=candidates,
        task=task,
    )


def promote(
    hook: FluxHook, candidate: Candidate, plan: LandingPlan, note: ReviewNote
) -> Generation:
    """Copy a chosen candidate to its final path by a verified put, and note the decision there.

    :param hook: hook of the connection, for an image that is gone and that BFL still keeps.
    :param candidate: the candidate.
    :param plan: where and how to land it.
    :param note: the decision.
    :return: the generation with the image or video at the final path.
    :raises FluxError: if it cannot be copied.
    """
    from airflow_provider_flux.landing.land import land  # Pillow: not at DAG parse time

    moved = note.model_copy(update={"promoted_from": candidate.uri})
    return land(hook, candidate.as_generation(), plan.model_copy(update={"review": moved}))


def note_in_sidecars(notes: Sequence[tuple[Candidate, ReviewNote]], plan: LandingPlan) -> None:
    """Add the decision to the sidecars of candidates. A failure is a warning.

    :param notes: the candidates, and what to note about each.
    :param plan: plan of the review, for the options of the writes.
    """
    options = plan.target.companion_write_options(sidecars.CONTENT_TYPE)

    async def note_one(candidate: Candidate, note: ReviewNote) -> None:
        sidecar = await _load_own_sidecar(candidate)
        if sidecar is None:
            return
        changed = sidecar.model_copy(update={"review": note})
        await put(sidecar_uri(candidate.uri), sidecars.encode_sidecar(changed), options)

    def work(item: tuple[Candidate, ReviewNote]) -> None:
        open_path(item[0].uri, field="candidates")
        run_sync(note_one(*item))

    _for_each(notes, work, "The decision about a candidate is not in its sidecar. %s")


def remove_candidates(candidates: Mapping[int, Candidate], run: TaskIdentity) -> set[int]:
    """Remove candidates with their sidecars and renditions. A failure is a warning.

    Only an image whose sidecar says that this DAG run generated it is removed: a stranger may have
    written what names it.

    :param candidates: the candidates that were not chosen, by number.
    :param run: the task instance of the review.
    :return: the numbers of those that are gone.
    """
    gone: set[int] = set()

    async def remove_one(number: int, candidate: Candidate) -> None:
        sidecar = await _load_own_sidecar(candidate)
        owner = sidecar.run if sidecar else TaskIdentity()
        if sidecar is None and await exists(candidate.uri) is False:
            gone.add(number)
            return
        if sidecar is None or (owner.dag_id, owner.run_id) != (run.dag_id, run.run_id):
            log.warning(
                "%s is kept: no sidecar says that this DAG run generated it.", candidate.uri
            )
            return
        for uri in (*candidate.renditions.values(), candidate.uri, sidecar_uri(candidate.uri)):
            await remove(uri)
        gone.add(number)

    def work(item: tuple[int, Candidate]) -> None:
        open_path(item[1].uri, field="candidates")
        run_sync(remove_one(*item))

    _for_each(list(candidates.items()), work, "A candidate was not removed. %s")
    return gone


async def _load_own_sidecar(candidate: Candidate) -> Sidecar | None:
    """Return the sidecar of a candidate if it describes the bytes that were reviewed."""
    data = await read_hint(sidecar_uri(candidate.uri), MAX_SIDECAR_BYTES)
    sidecar = parse_sidecar(data) if data else None
    if sidecar is None or sidecar.media.sha256 != candidate.sha256:
        return None
    return sidecar if sidecar.media.uri == candidate.uri else None


def _for_each(items: Sequence[_T], work: Callable[[_T], None], warning: str) -> None:
    """Run a function for each item in threads; an error of it is a warning."""

    def attempt(item: _T) -> None:
        try:
            work(item)
        except FluxError as error:
            log.warning(warning, error)

    with ThreadPoolExecutor(_CONCURRENT_FILES, thread_name_prefix="flux-review") as pool:
        list(pool.map(attempt, items))
