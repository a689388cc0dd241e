"""Images that checks rejected in earlier runs, so that a later run does not pay for them again."""

from __future__ import annotations

from airflow_provider_flux.batch.previous_rows import PreviousRows
from airflow_provider_flux.batch.rejected import RejectedImages
from airflow_provider_flux.batch.row_states import PendingRow
from airflow_provider_flux.checks.check import Check
from airflow_provider_flux.landing.existing import load_sidecar
from airflow_provider_flux.object_store.filesystem import run_async


class EarlierRejections:
    """The rejected images that the previous manifest names, with ``reuse="always"``.

    The sidecar of the last one decides: an image of another request does not count, nor one whose
    check failed, or is not among the checks any more.

    :param previous: rows of the previous manifest.
    :param checks: checks of the results.
    :param max_rerolls: further submits of a row whose image a check rejected.
    """

    def __init__(self, previous: PreviousRows, checks: tuple[Check, ...], max_rerolls: int) -> None:
        self._previous = previous
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
        if not uris or count <= row.rejected.count:
            return None
        sidecar = await run_async(load_sidecar(uris[-1]))
        note = sidecar.rejection if sidecar else None
        if sidecar is None or note is None or note.is_fault or note.check not in self._labels:
            return None
        if sidecar.request.fingerprint != row.plan.request.fingerprint:
            return None
        return RejectedImages(count, uris, f"{note.reason} The image is kept at {uris[-1]}.")

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
