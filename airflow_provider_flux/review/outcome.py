"""The outcome of a review: promote what was chosen, and finish the record."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.review_note import ReviewNote
from airflow_provider_flux.review.candidates import Candidate
from airflow_provider_flux.review.promotion import (
    build_note,
    note_in_sidecars,
    promote,
    remove_candidates,
)
from airflow_provider_flux.review.record import ReviewRecord, ReviewRecordFile

if TYPE_CHECKING:
    from airflow_provider_flux.generation import Generation
    from airflow_provider_flux.review.answer import Decision

#: Images that are copied at a time.
_CONCURRENT_COPIES = 8


class ReviewCase:
    """The review of one task instance.

    :param plan: where and how to land what is chosen.
    :param file: file of the record.
    :param multiple: whether several candidates may be chosen.
    :ivar record: the record, which is set once it is known.
    """

    record: ReviewRecord

    def __init__(self, plan: LandingPlan, file: ReviewRecordFile, multiple: bool) -> None:
        self.plan = plan
        self.file = file
        self.multiple = multiple

    @property
    def decision(self) -> Decision:
        """The recorded decision.

        :raises ValueError: if there is none.
        """
        if self.record.decision is None:
            raise ValueError("The review has no decision.")
        return self.record.decision

    @property
    def chosen(self) -> list[Candidate]:
        """The candidates that were chosen."""
        return [self.record.candidates[number - 1] for number in self.decision.chosen]

    def plan_of(self, number: int) -> LandingPlan:
        """Return where and how a chosen candidate lands.

        :param number: its number, from 1.
        """
        if not self.multiple:
            return self.plan
        key = self.record.candidates[number - 1].key
        return self.plan.with_target(index=number - 1, key=key)

    def note_of(self, number: int) -> ReviewNote:
        """Return what the sidecar of a candidate says about the decision.

        :param number: its number, from 1.
        """
        record = self.record
        return build_note(
            self.decision, number, len(record.candidates), record.round, self.plan.task
        )


def promote_chosen(hook: FluxHook, case: ReviewCase) -> list[Generation]:
    """Copy the chosen candidates to their final paths.

    :param hook: hook of the connection.
    :param case: the review.
    :return: their generations, with the images at the final paths.
    :raises FluxRequestError: if two of them would get the same name.
    :raises FluxError: if one of them cannot be copied.
    """
    _check_names_differ(case)
    _ = hook.get_conn()  # reads the connection once, before threads share the hook

    def promote_one(number: int) -> Generation:
        candidate = case.record.candidates[number - 1]
        return promote(hook, candidate, case.plan_of(number), case.note_of(number))

    with ThreadPoolExecutor(_CONCURRENT_COPIES, thread_name_prefix="flux-review") as pool:
        return list(pool.map(promote_one, case.decision.chosen))


def close(case: ReviewCase, unchosen: Literal["keep", "remove"]) -> None:
    """Note the decision in the sidecars of all candidates, and finish the record.

    :param case: the review.
    :param unchosen: whether to ``keep`` or ``remove`` the files of the other candidates.
    """
    record = case.record
    chosen = set(case.decision.chosen)
    if unchosen == "remove":
        others = {n: record.candidates[n - 1] for n in record.choosable - chosen}
        gone = remove_candidates(others, case.plan.task)
        record.candidates = [
            candidate.model_copy(update={"is_removed": True}) if number in gone else candidate
            for number, candidate in enumerate(record.candidates, 1)
        ]
    notes = [(record.candidates[n - 1], case.note_of(n)) for n in sorted(record.choosable)]
    note_in_sidecars(notes, case.plan)
    record.phase = "done"
    case.file.save(record)


def _check_names_differ(case: ReviewCase) -> None:
    """Refuse a path by which two chosen images would replace each other."""
    owners: dict[str, int] = {}
    for number, candidate in zip(case.decision.chosen, case.chosen, strict=True):
        target = case.plan_of(number).target
        uri = target.uri_for(candidate.as_generation(), ext="ext", sha256=candidate.sha256)
        first = owners.setdefault(uri, number)
        if first != number:
            raise FluxRequestError(
                f"output_path={target.path!r} gives candidates {first} and {number} the same name. "
                "Add {index}."
            )
