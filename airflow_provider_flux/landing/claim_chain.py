"""The claims of one image: a chain of objects beside its index entry.

``<fingerprint>.claim`` is the first one, then ``<fingerprint>.1.claim`` and so on. The last one
counts. An exclusive create adds the next one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.landing.claim_policy import Claim, ClaimOwner, encode_claim, parse_claim
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.reuse_index import index_stem
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.objects import put, read_start, remove

#: Claims of one image that are read. With more of them the image has no claim.
MAX_CLAIMS = 64
#: Bytes of the largest claim, and of the largest index entry, that is read.
_MAX_BYTES = 16 * 1024


@dataclass(frozen=True)
class ClaimChain:
    """The claims of an image, as one owner reads and writes them.

    :param stem: what their URIs begin with.
    :param owner: the owner.
    :param options: options of each write.
    """

    stem: str
    owner: ClaimOwner
    options: WriteOptions

    @classmethod
    def of(cls, plan: LandingPlan) -> ClaimChain | None:
        """Return the chain of an image; ``None`` if the plan reuses no image.

        The claims are encrypted as the image is, but never public as it may be.

        :param plan: the plan of the image. Its task, and in a batch its row, is the owner.
        """
        stem, task = index_stem(plan), plan.task
        if stem is None:
            return None
        owner = ClaimOwner(
            dag_id=task.dag_id,
            run_id=task.run_id,
            task_id=task.task_id,
            map_index=task.map_index,
            key=plan.target.key,
        )
        options = plan.target.companion_write_options("application/json")
        private = {name: value for name, value in options.options.items() if name != "ACL"}
        return cls(stem, owner, replace(options, options=private))

    def uri(self, number: int) -> str:
        """Return the URI of a claim.

        :param number: position in the chain, from 0.
        """
        return f"{self.stem}.claim" if number == 0 else f"{self.stem}.{number}.claim"

    async def read(self) -> ChainState | None:
        """Return the claims that are there; ``None`` if there are too many.

        :raises FluxStorageError: if the store does not answer.
        """
        state = ChainState()
        while state.length <= MAX_CLAIMS:
            data = await self.read_one(state.length)
            if data is None:
                return state
            state = state.followed_by(data, self.owner)
        return None

    async def read_one(self, number: int) -> bytes | None:
        """Return the content of a claim; ``None`` if there is none.

        :param number: position in the chain, from 0.
        :raises FluxStorageError: if the store does not answer.
        """
        return await read_start(self.uri(number), _MAX_BYTES, retry=True)

    async def add(self, number: int, seconds: float) -> None:
        """Add a claim of the owner, right after a read that found none there.

        :param number: position in the chain.
        :param seconds: lifetime of the claim.
        :raises FluxExistsError: if another task was first.
        :raises FluxStorageError: if the store does not answer.
        """
        content = self._render(seconds)
        await put(self.uri(number), content, self.options, exclusive=True, check_first=False)

    async def remove(self, number: int) -> None:
        """Remove a claim; mark it as released if the credentials may not remove it.

        :param number: position in the chain.
        :raises FluxStorageError: if the store does not answer.
        """
        try:
            await remove(self.uri(number))
        except FluxStorageError:
            await self.mark_released(number)

    async def mark_released(self, number: int) -> None:
        """Replace a claim of the owner by a released one. Nobody else writes under its name.

        :param number: position in the chain.
        :raises FluxStorageError: if the store does not answer.
        """
        await put(self.uri(number), self._render(0.0, is_released=True), self.options)

    def _render(self, seconds: float, *, is_released: bool = False) -> bytes:
        now = datetime.now(UTC)
        return encode_claim(
            self.owner,
            seconds,
            claimed_at=now.isoformat(timespec="seconds"),
            expires_at=(now + timedelta(seconds=seconds)).isoformat(timespec="seconds"),
            token=uuid4().hex,
            is_released=is_released,
        )


@dataclass(frozen=True)
class ChainState:
    """The claims of an image at one moment.

    :param length: number of claims.
    :param last: the last claim; ``None`` if there is none.
    :param digest: hash of the last claim; empty if there is none.
    :param own: positions of the claims of the owner who read them, unless they are released.
    """

    length: int = 0
    last: Claim | None = None
    digest: str = ""
    own: tuple[int, ...] = ()

    def followed_by(self, data: bytes, owner: ClaimOwner) -> ChainState:
        """Return the state with one more claim.

        :param data: content of the claim.
        :param owner: the owner who reads it.
        """
        last = parse_claim(data)
        is_own = last.owner is not None and last.owner.is_same(owner) and not last.is_released
        own = (*self.own, self.length) if is_own else self.own
        return ChainState(self.length + 1, last, digest_of(data), own)


def digest_of(data: bytes | None) -> str:
    """Return the hash of an object; an empty text if there is none.

    :param data: its content.
    """
    return "" if data is None else hashlib.sha256(data).hexdigest()


async def read_entry_digest(claim_uri: str) -> str:
    """Return the hash of the index entry of an image; an empty text if there is none.

    :param claim_uri: URI of a claim of the image.
    :raises FluxStorageError: if the store does not answer.
    """
    folder, _, name = claim_uri.rpartition("/")
    entry_uri = f"{folder}/{name.partition('.')[0]}.json"
    return digest_of(await read_start(entry_uri, _MAX_BYTES, retry=True))


async def has_other_bytes(claim_uri: str, digest: str, entry_digest: str) -> bool:
    """Whether a claim, or the index entry of its image, differs from what was seen.

    :param claim_uri: URI of the claim.
    :param digest: hash of the claim.
    :param entry_digest: hash of the index entry; empty if there was none.
    :raises FluxStorageError: if the store does not answer.
    """
    if await read_entry_digest(claim_uri) != entry_digest:
        return True
    return digest_of(await read_start(claim_uri, _MAX_BYTES, retry=True)) != digest
