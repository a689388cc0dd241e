"""The owner of a journal: the one try that may submit."""

from __future__ import annotations

import json
import time

from pydantic import ValidationError

from airflow_provider_flux.bfl.errors import FluxLedgerError
from airflow_provider_flux.ledger.journal_entries import SegmentHeader, SessionSummary
from airflow_provider_flux.ledger.journal_segments import SegmentBuffer
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import run_near, run_sync
from airflow_provider_flux.object_store.objects import put, read

#: Seconds after which a try checks whether a later try owns the journal. The later try waits for as
#: long before it reads the journal.
OWNER_CHECK_SECONDS = 3.0

_OWNER_FILE = "owner.json"
_MAX_OWNER_BYTES = 64 * 1024


def claim_journal(folder: str, header: SegmentHeader, options: WriteOptions) -> None:
    """Make a try the owner of a journal.

    Its first segment is written before: an owner without segments proves that segments are missing.

    :param folder: URI of the journal, with a slash at its end.
    :param header: header of the segments of the try.
    :param options: options of the write.
    :raises FluxStorageError: if the segment or the owner cannot be written.
    """
    owner = {
        "session": header.session,
        "clear_id": header.clear_id,
        "try_number": header.owner.try_number,
        "at": header.opened_at,
    }
    for name, content in SegmentBuffer(header).render([]):
        run_sync(put(f"{folder}{name}", content, options))
    run_sync(put(f"{folder}{_OWNER_FILE}", json.dumps(owner).encode() + b"\n", options))


async def read_owner(folder: str) -> SessionSummary | None:
    """Return the session that owns a journal; ``None`` if none does.

    Run it on the loop of the stores.

    :param folder: URI of the journal, with a slash at its end.
    :raises FluxLedgerError: if the owner is recorded and cannot be read.
    :raises FluxStorageError: if the store fails.
    """
    uri = f"{folder}{_OWNER_FILE}"
    data = await read(uri, retry=True, max_bytes=_MAX_OWNER_BYTES)
    try:
        return None if data is None else SessionSummary.model_validate_json(data)
    except ValidationError:
        raise FluxLedgerError(
            f"{uri} cannot be read, so the owner of the journal is not known. Nothing is "
            "submitted. Restore it. Remove it only if all segments beside it are there."
        ) from None


class OwnerCheck:
    """Checks, at most once in :data:`OWNER_CHECK_SECONDS`, that no later try owns the journal.

    :param folder: URI of the journal, with a slash at its end.
    :param session: session of this try.
    """

    def __init__(self, folder: str, session: str) -> None:
        self._folder = folder
        self._session = session
        self._checked_at = -OWNER_CHECK_SECONDS
        self._is_lost = False

    def is_owner(self) -> bool:
        """Whether no later try owns the journal. Do not call it on an event loop.

        :raises FluxStorageError: if the store fails.
        """
        return self._is_own(run_sync(read_owner(self._folder)))

    async def check(self) -> None:
        """Read the owner, if the last check is too long ago.

        :raises FluxLedgerError: if a later try owns the journal.
        :raises FluxStorageError: if the store fails.
        """
        if self._is_lost:
            raise self._lost()
        now = time.monotonic()
        if now - self._checked_at < OWNER_CHECK_SECONDS:
            return
        if not self._is_own(await run_near(self._folder, read_owner(self._folder))):
            self._is_lost = True
            raise self._lost()
        self._checked_at = now

    def _is_own(self, owner: SessionSummary | None) -> bool:
        return owner is None or owner.session == self._session

    def _lost(self) -> FluxLedgerError:
        return FluxLedgerError(
            f"A later try of this task owns the journal {self._folder}. This try submits "
            "nothing more."
        )
