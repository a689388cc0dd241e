"""Images that checks rejected in earlier runs, so that a later run does not pay for them again."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from airflow_provider_flux.batch.previous_rows import PreviousRows
from airflow_provider_flux.batch.rejected import RejectedImages
from airflow_provider_flux.batch.row_states import PendingRow
from airflow_provider_flux.bfl.redaction import escape_control, redact_line
from airflow_provider_flux.bfl.request import GenerationRequest
from airflow_provider_flux.checks.check import Check
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.existing import load_sidecar
from airflow_provider_flux.landing.rejection import RejectionNote
from airflow_provider_flux.landing.sidecar import Sidecar
from airflow_provider_flux.object_store.filesystem import run_near

_MAX_REASON_CHARACTERS = 500


class EarlierRejections:
    """The rejected images that the previous manifest names, with ``reuse="always"``.

    The sidecar of the last one decides: an image of another request does not count, nor one whose
    check failed, or is not among the checks any more. The request may be that of the fallback.

    :param previous: rows of the previous manifest.
    :param hook: hook of the connection, which reads the inputs of a fallback.
    :param checks: checks of the results.
    :param max_rerolls: further submits of a row whose image a check rejected.
    """

    def __init__(
        self, previous: PreviousRows, hook: FluxHook, checks: tuple[Check, ...], max_rerolls: int
    ) -> None:
        self._previous = previous
        self._hook = hook
        self._labels = frozenset(check.label for check in checks)
        self._max_rerolls = max_rerolls

    async def find(self, row: PendingRow) -> RejectedImages | None:
        """Return the rejected images of a row, if there are more than its journal knows.

        :param row: a row with its inputs read, whose image does not exist.
        :raises FluxStorageError: if the store does not answer.
        """
        if not self._labels or row.plan.target.reuse != "always":
            return None
        count, uris = self._previous.rejected_of(row.key)
        # The journal may know attempts of this run that the previous manifest does not have.
        later = tuple(uri for uri in row.rejected.uris if uri not in uris)
        count = min(row.rejected.count, len(later)) + count
        if not uris or count <= row.rejected.count:
            return None
        sidecar = await run_near(uris[-1], load_sidecar(uris[-1]))
        note = sidecar.rejection if sidecar else None
        if sidecar is None or note is None or note.is_fault or note.check not in self._labels:
            return None
        if not await self._is_of_row(row, sidecar, note):
            return None
        if later:
            return replace(row.rejected, count=count, uris=(*uris, *later))
        # The sidecar is data that a stranger may have written.
        reason = redact_line(escape_control(note.reason))[:_MAX_REASON_CHARACTERS]
        return RejectedImages(count, uris, f"{reason} The image is kept at {uris[-1]}.")

    async def _is_of_row(self, row: PendingRow, sidecar: Sidecar, note: RejectionNote) -> bool:
        """Whether a rejected image is of the request that the row has now, or of its fallback."""
        fingerprint = sidecar.request.fingerprint
        if fingerprint == row.plan.request.fingerprint:
            return True
        if row.fallback is None or note.row_fingerprint != row.fingerprint:
            return False
        return fingerprint == await asyncio.to_thread(self._read_fingerprint, row.fallback)

    def _read_fingerprint(self, request: GenerationRequest) -> str:
        with self._hook.prepare_inputs(request) as prepared:
            return prepared.fingerprint

    def describe_end(self, rejected: RejectedImages) -> str | None:
        """Return why a row is not submitted; ``None`` if it has attempts left.

        :param rejected: its rejected images.
        """
        if rejected.count <= self._max_rerolls:
            return None
        return (
            f"{rejected.reason} Nothing was submitted, because an earlier run tried this row "
            f"{rejected.count} times. Change the row, or raise max_rerolls."
        )
