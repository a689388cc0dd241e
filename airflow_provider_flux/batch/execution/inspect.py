"""The checks of a result, between its download and its write."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_flux.batch.execution.context import BatchContext
from airflow_provider_flux.batch.row_states import SubmittedRow
from airflow_provider_flux.bfl.errors import FluxCheckError
from airflow_provider_flux.checks.check import Check
from airflow_provider_flux.checks.find_copies import SignatureIndex
from airflow_provider_flux.checks.pool import CheckPool
from airflow_provider_flux.checks.run_check import CheckAnswer
from airflow_provider_flux.checks.signature import MAX_DISTANCE, ImageSignature
from airflow_provider_flux.generation import Generation
from airflow_provider_flux.landing.download import VerifiedResult
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.rejection import RejectionNote

log = logging.getLogger(__name__)

#: Images in a row whose checks failed, after which nothing more is submitted.
_MAX_FAULTS = 10
#: Seconds that results may wait for their checks. BFL keeps a result for ten minutes.
_MAX_WAIT_SECONDS = 240.0


@dataclass(frozen=True)
class CheckOptions:
    """The checks of a batch.

    :param checks: the checks in their order; empty for none.
    :param timeout: seconds that each check of an image has.
    """

    checks: tuple[Check, ...] = ()
    timeout: float = 30.0


class Inspector:
    """Inspector of the results of a batch, any number at a time.

    :param context: shared context of the batch.
    :param options: the checks.
    """

    def __init__(self, context: BatchContext, options: CheckOptions) -> None:
        self._store = context.store
        self._options = options
        self._pool = CheckPool(options.checks, options.timeout)
        self._index = SignatureIndex(self._load_signature)
        self._faults = 0
        self._has_warned = False
        if any(check.kind == "not_duplicate" for check in options.checks):
            for row, text in context.store.landed_signatures():
                if signature := ImageSignature.decode(text):
                    self._index.add(row, signature)

    def begin(self, row: SubmittedRow) -> Inspection:
        """Return a new inspection of the result of a row.

        :param row: the row.
        """
        return Inspection(self, row)

    @property
    def has_checks(self) -> bool:
        """Whether results are checked at all."""
        return bool(self._options.checks)

    async def close(self) -> None:
        """End the processes of the checks."""
        await self._pool.close()

    def has_room(self, results: int) -> bool:
        """Return whether a number of results can be checked before BFL forgets them.

        :param results: results that are generated or wait for their checks.
        """
        return self._pool.seconds_for(results) <= _MAX_WAIT_SECONDS

    def find_fault(self) -> FluxCheckError | None:
        """Return the error that ends the batch, if the checks of many images in a row failed."""
        if self._faults < _MAX_FAULTS:
            return None
        return FluxCheckError(
            f"The checks of the last {self._faults} images failed: the manifest has the reasons. "
            "These images are billed and kept under rejected/. Correct the check, and clear the "
            "task."
        )

    async def judge(
        self, row: SubmittedRow, result: VerifiedResult
    ) -> tuple[RejectionNote | None, str | None]:
        """Check a result.

        :param row: its row.
        :param result: the result.
        :return: why it is rejected, and its signature; ``None`` for what there is not.
        """
        if not self._options.checks:
            return None, None
        if result.info.seconds is not None:
            if not self._has_warned:
                log.warning("Videos are not checked: row %s is one", row.label)
            self._has_warned = True
            return None, None
        answers = await self._pool.check(result.data, self._store.data_of(row.index))
        # No other row may be judged from here to the end, or two copies would both pass.
        note = self._first_rejection(row, answers)
        self._faults = self._faults + 1 if note and note.is_fault else 0
        if note and row.is_fallback:
            fingerprint = self._store.row_fingerprint(row.index)
            note = note.model_copy(update={"row_fingerprint": fingerprint})
        signature = next((answer.signature for answer in answers if answer.signature), None)
        if note is None and (decoded := ImageSignature.decode(signature)):
            self._store.save_signature(row.index, signature or "")
            self._index.add(row.index, decoded)
        return note, signature

    def _first_rejection(
        self, row: SubmittedRow, answers: list[CheckAnswer]
    ) -> RejectionNote | None:
        for check, answer in zip(self._options.checks, answers, strict=False):
            if answer.fault is not None:
                reason = f"The check {check.label} {answer.fault}. The image may be good."
                return RejectionNote(check=check.label, reason=reason, is_fault=True)
            found = answer.reason or self._find_copy(row, answer)
            if found is not None:
                return RejectionNote(check=check.label, reason=f"{check.label}: {found}")
        return None

    def _find_copy(self, row: SubmittedRow, answer: CheckAnswer) -> str | None:
        signature = ImageSignature.decode(answer.signature)
        if signature is None:
            return None
        other = self._index.find_copy(row.index, signature)
        stored = None if other is None else self._load_signature(other)
        if other is None or stored is None:
            return None
        return (
            f"The image looks like that of row {self._store.key_of(other)!r} (index {other}): "
            f"{signature.distance(stored.hash)} of 64 bits differ, and {MAX_DISTANCE} may."
        )

    def _load_signature(self, row: int) -> ImageSignature | None:
        return ImageSignature.decode(self._store.signature_of(row))


class Inspection:
    """The inspection of one result, which may land in several attempts. It is judged once.

    :param inspector: the inspector of the batch.
    :param row: the row of the result.
    :ivar rejection: why the result is rejected; ``None`` if it is not.
    :ivar signature: the signature of the image; ``None`` if it has none.
    """

    def __init__(self, inspector: Inspector, row: SubmittedRow) -> None:
        self._inspector = inspector
        self._row = row
        self._sha256: str | None = None
        self.rejection: RejectionNote | None = None
        self.signature: str | None = None

    async def __call__(
        self, result: VerifiedResult, generation: Generation, plan: LandingPlan
    ) -> LandingPlan:
        """Check a result, and return the plan to land it by.

        :param result: the verified result.
        :param generation: its generation.
        :param plan: the plan by which it lands if no check rejects it.
        """
        if result.info.sha256 != self._sha256:
            self.rejection, self.signature = await self._inspector.judge(self._row, result)
            self._sha256 = result.info.sha256
        if self.rejection is None:
            return plan
        uri = plan.target.uri_of(generation, result.info)
        return plan.with_rejection(self.rejection, uri)


def describe_rejected(generation: Mapping[str, Any], note: RejectionNote) -> str:
    """Return the reason of a rejected row, with the place of its image.

    :param generation: its generation, with the image under ``rejected/``.
    :param note: why it was rejected.
    """
    landed = generation.get("image") or generation.get("video") or {}
    return f"{note.reason} The image is kept at {landed.get('uri')}."
