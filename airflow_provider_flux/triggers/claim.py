"""FluxClaimTrigger: wait on the triggerer until another task has landed an image."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_provider_flux.bfl.errors import FluxError

#: Longest time between two looks at the claim.
_MAX_INTERVAL_SECONDS = 15.0
#: The time between two looks grows to this part of the time since the first one.
_INTERVAL_SHARE = 0.1


class FluxClaimTrigger(BaseTrigger):
    """Wait until the claim of an image changes, or expires, and fire one event.

    The trigger submits nothing, lands nothing and changes nothing. The worker looks again after the
    event, whose content does not matter. So an early event costs the start of a worker only. Its
    arguments hold URIs and hashes, and no prompt.

    :param claim_uri: URI of the claim of another task.
    :param claim_digest: hash of the claim as it was seen.
    :param entry_digest: hash of the index entry of the image; empty if there was none.
    :param deadline: epoch seconds at which to fire in any case.
    :param host: host name of the worker, if the claim is a file on its disk; else empty.
    :param not_before: epoch seconds before which the trigger fires no event: see
        :class:`~airflow_provider_flux.triggers.result.FluxResultTrigger`.
    :param poll_interval: shortest seconds between two looks, of two reads each. Default 0.5.
    """

    def __init__(
        self,
        *,
        claim_uri: str,
        claim_digest: str,
        entry_digest: str,
        deadline: float,
        host: str = "",
        not_before: float = 0.0,
        poll_interval: float = 0.5,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.claim_uri = claim_uri
        self.claim_digest = claim_digest
        self.entry_digest = entry_digest
        self.deadline = deadline
        self.host = host
        self.not_before = not_before
        self.poll_interval = poll_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the path of the class, and the arguments as JSON."""
        return (
            f"{FluxClaimTrigger.__module__}.{FluxClaimTrigger.__qualname__}",
            {
                "claim_uri": self.claim_uri,
                "claim_digest": self.claim_digest,
                "entry_digest": self.entry_digest,
                "deadline": self.deadline,
                "host": self.host,
                "not_before": self.not_before,
                "poll_interval": self.poll_interval,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the claim to change, then fire the one event."""
        reason = await self._wait()
        await asyncio.sleep(max(0.0, self.not_before - time.time()))
        yield TriggerEvent({"status": "claim", "reason": reason})  # type: ignore[no-untyped-call]

    async def _wait(self) -> str:
        """Return why the wait is over. A trigger that raises would fail its task."""
        if self.host and self.host != socket.gethostname():
            # The claim is on the disk of another machine, so only a worker can look at it.
            await asyncio.sleep(max(0.0, min(_MAX_INTERVAL_SECONDS, self.deadline - time.time())))
            return "the triggerer cannot see the claim"
        try:
            return await self._watch()
        except FluxError as error:
            return f"the triggerer cannot read the claim ({type(error).__name__})"
        except Exception as error:
            self.log.warning("%s: unexpected %s", self.claim_uri, type(error).__name__)
            return f"the triggerer met an unexpected {type(error).__name__}"

    async def _watch(self) -> str:
        from airflow_provider_flux.landing.claim_chain import has_other_bytes
        from airflow_provider_flux.object_store.filesystem import open_path, run_async

        # On an event loop Airflow's S3 filesystem silently loses its connection.
        await sync_to_async(open_path)(self.claim_uri)
        began = time.monotonic()
        while time.time() < self.deadline:
            if await run_async(
                has_other_bytes(self.claim_uri, self.claim_digest, self.entry_digest)
            ):
                return "the claim has changed"
            waited = time.monotonic() - began
            seconds = min(max(self.poll_interval, waited * _INTERVAL_SHARE), _MAX_INTERVAL_SECONDS)
            left = max(0.0, self.deadline - time.time())
            await asyncio.sleep(min(seconds * random.uniform(0.9, 1.1), left))  # noqa: S311
        return "the claim has expired"
