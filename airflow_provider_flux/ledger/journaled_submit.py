"""The submits of a journal, each folded from its entries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from airflow_provider_flux.bfl.errors import FluxLedgerError
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.ledger.journal_entries import IntentFacts, JournalEntry, SegmentHeader
from airflow_provider_flux.ledger.record import PHASE_ORDER, Phase, Record, drop_media_outside


@dataclass
class JournaledSubmit:
    """One submit of a row, folded from all its entries.

    :param header: header of the segment that holds its first entry.
    :param facts: the request.
    :param claim: a random id of the submit.
    :param key: key of the row.
    :param opened_at: time of the intent, in ISO 8601.
    :param phase: the latest phase.
    :param updated_at: time of the latest phase, in ISO 8601; empty if it is the intent.
    :param generation: the accepted request; ``None`` until BFL has answered.
    :param error: the reason for phase ``failed``, as :meth:`FluxError.as_dict` returns it.
    :param signature: signature of its image, as the journal has it; ``None`` if it has none.
    """

    header: SegmentHeader
    facts: IntentFacts
    claim: str
    key: str
    opened_at: str
    phase: Phase = "intent"
    updated_at: str = ""
    generation: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    signature: str | None = None

    def add(self, entry: JournalEntry) -> None:
        """Add a further entry.

        :param entry: an entry of this submit, of any phase.
        """
        self.signature = entry.signature or self.signature
        is_later = PHASE_ORDER[entry.phase] >= PHASE_ORDER[self.phase]
        if entry.generation is not None and (is_later or self.generation is None):
            self.generation = entry.generation
        if is_later:
            self.phase, self.updated_at, self.error = entry.phase, entry.at, entry.error

    def distrust_media_outside(self, root: str) -> None:
        """Count the submit as not landed if its image is not below a folder.

        Whoever may write the journal may name any image in it. The image is landed again from BFL.

        :param root: the folder of the images, with a slash at its end.
        """
        if self.generation is None:
            return
        stored = cast("Generation", self.generation)
        trusted = drop_media_outside(stored, root)
        had_media = bool(stored["image"] or stored["video"])
        has_lost_media = had_media and not (trusted["image"] or trusted["video"])
        if has_lost_media and self.phase in {"persisted", "returned"}:
            self.phase = "submitted"
        self.generation = dict(trusted)

    @property
    def target(self) -> Target:
        """The target of its image."""
        changes = {"index": self.facts.index, "key": self.key}
        if self.facts.path is not None:
            changes["path"] = self.facts.path
        return self.header.target.model_copy(update=changes)

    @property
    def landing_plan(self) -> LandingPlan:
        """The plan by which its image is to land."""
        return LandingPlan(target=self.target, request=self.facts.request, task=self.header.owner)

    def as_record(self) -> Record:
        """Return the submit as a record, as a task that generates one image keeps it."""
        return Record(
            claim=self.claim,
            phase=self.phase,
            owner=self.header.owner,
            clear_id=self.header.clear_id,
            flux_conn_id=self.header.flux_conn_id,
            model=self.facts.model,
            fingerprint=self.facts.fingerprint,
            estimated_cost=self.facts.estimated_cost,
            opened_at=self.opened_at,
            updated_at=self.updated_at or self.opened_at,
            generation=self.generation,
            target=self.target,
            request=self.facts.request,
            error=self.error,
        )


def fold_entries(
    segments: Iterable[tuple[SegmentHeader, list[JournalEntry]]],
) -> Iterator[JournaledSubmit]:
    """Yield the submits of all segments, in the order of their intents within a segment.

    An entry may stand in another segment than its intent, and before it: for example one of
    ``airflow flux recover``.

    :param segments: header and entries of each segment, in any order.
    :raises FluxLedgerError: if an entry has no intent, because a segment is missing.
    """
    submits: dict[str, JournaledSubmit] = {}
    early: list[JournalEntry] = []
    for header, entries in sorted(segments, key=lambda segment: segment[0].opened_at):
        for entry in entries:
            if entry.facts is not None:
                submits[entry.claim] = JournaledSubmit(
                    header, entry.facts, entry.claim, entry.key, entry.at
                )
            elif entry.claim in submits:
                submits[entry.claim].add(entry)
            else:
                early.append(entry)
    for entry in early:
        if entry.claim not in submits:
            raise FluxLedgerError(
                f"The journal names the submit {entry.claim} ({entry.phase} at {entry.at}), but "
                "the segment with its intent is missing. That segment may name images that BFL "
                "bills, so nothing is submitted. Restore it."
            )
        submits[entry.claim].add(entry)
    for submit in submits.values():
        if submit.generation is None and submit.phase in {"submitted", "persisted", "returned"}:
            raise FluxLedgerError(
                f"The journal has the phase {submit.phase} of the submit {submit.claim!r} without "
                "its request. Restore that segment, or inspect it: it may name images that BFL "
                "bills, so nothing is submitted."
            )
    yield from submits.values()
