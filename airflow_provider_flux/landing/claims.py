"""Claims of images: of all tasks that want one image, one submits, and the others wait for it.

A claim is an object in the :class:`~airflow_provider_flux.landing.claim_chain.ClaimChain` of its
image. An exclusive create adds the next one, also to renew a claim, or to take over one that was
released or has expired. So of two tasks that take over one claim, one succeeds.

The owner removes its claims after the image has landed. Then the index entry serves, which every
new owner reads once more before it submits. Without an image the owner removes its last claim only,
and only if nobody has taken it over: a gap in the chain could give an image two owners.

The coroutines run on the event loop of the stores:
see :mod:`~airflow_provider_flux.object_store.filesystem`.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from airflow_provider_flux.bfl.errors import FluxExistsError
from airflow_provider_flux.landing.claim_chain import (
    MAX_CLAIMS,
    ChainState,
    ClaimChain,
    has_other_bytes,
    read_entry_digest,
)
from airflow_provider_flux.landing.claim_policy import (
    CLAIM_LEAD_SECONDS,
    Claim,
    decide_claim,
    seconds_to_live,
)
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.object_store.store_clock import read_age

log = logging.getLogger(__name__)

#: Attempts to add a claim while other tasks add theirs, or while the store hides what exists.
_MAX_ATTEMPTS = 4
#: Folders whose images cannot be claimed, which the log names once.
_WARNED: set[str] = set()


@dataclass(frozen=True)
class HeldClaim:
    """A claim that this task has.

    :param number: position in the chain, from 0.
    :param earlier: positions of earlier claims of the same owner.
    :param taken_at: monotonic time of the claim.
    """

    number: int
    earlier: tuple[int, ...]
    taken_at: float

    @property
    def is_fresh(self) -> bool:
        """Whether a submit at this moment needs no new claim."""
        return time.monotonic() - self.taken_at < CLAIM_LEAD_SECONDS


@dataclass(frozen=True)
class ClaimWait:
    """The claim of another task, as it was seen.

    :param uri: URI of the claim.
    :param digest: hash of its bytes.
    :param entry_digest: hash of the index entry; empty if there was none.
    :param owner: the owner, for messages.
    :param seconds: seconds after which it has expired.
    :param seen_at: monotonic time at which these seconds began.
    :param age: age of the claim at that time.
    """

    uri: str
    digest: str
    entry_digest: str
    owner: str
    seconds: float
    seen_at: float
    age: float

    @property
    def seconds_left(self) -> float:
        """Seconds from now until the claim expires."""
        return self.seen_at + self.seconds - time.monotonic()


async def claim_image(
    plan: LandingPlan, seconds: float, seen: ClaimWait | None = None
) -> HeldClaim | ClaimWait | None:
    """Claim an image before its submit.

    :param plan: the plan of the request that is about to be submitted.
    :param seconds: lifetime of the claim.
    :param seen: the claim that this process waited for; ``None`` without a wait.
    :return: the claim, or the one of another task to wait for; ``None`` if images cannot be
        claimed here.
    :raises FluxStorageError: if the store does not answer.
    """
    chain = ClaimChain.of(plan)
    if chain is None:
        return None
    for _ in range(_MAX_ATTEMPTS):
        state = await chain.read()
        if state is None:
            _warn_once(chain, f"more than {MAX_CLAIMS} claims are there already")
            return None
        if state.last is not None:
            age = await _age_of(chain, state, seen)
            if decide_claim(state.last, chain.owner, age=age) == "wait":
                return await _wait_for(chain, state, state.last, age)
        taken_at = time.monotonic()
        try:
            await chain.add(state.length, seconds)
        except FluxExistsError:  # another task was first; or the claims cannot be read
            continue
        _warn_if_expired(chain, state)
        return HeldClaim(state.length, state.own, taken_at)
    _warn_once(chain, "the store refuses new claims, and shows no claim of another task")
    return None


async def has_changed(wait: ClaimWait) -> bool:
    """Whether a claim is not to be waited for any more: it is gone, changed or expired.

    It costs two reads.

    :param wait: the claim.
    :raises FluxStorageError: if the store does not answer.
    """
    if wait.seconds_left <= 0:
        return True
    return await has_other_bytes(wait.uri, wait.digest, wait.entry_digest)


async def release_claim(
    plan: LandingPlan, held: HeldClaim | None = None, *, has_landed: bool
) -> None:
    """Remove the claims of an owner, so that no other task waits for it.

    :param plan: the plan of the image.
    :param held: its claim; ``None`` if an earlier try, or an earlier phase of the task, took it.
    :param has_landed: whether the index has the image.
    :raises FluxStorageError: if the store does not answer.
    """
    chain = ClaimChain.of(plan)
    if chain is None:
        return
    if held is None:
        state = await chain.read()
        if state is None or not state.own:
            return
        held = HeldClaim(state.own[-1], state.own[:-1], 0.0)
    if has_landed:
        for number in range(held.number, -1, -1):
            await chain.remove(number)
        return
    for number in held.earlier:
        await chain.mark_released(number)
    if await chain.read_one(held.number + 1) is None:
        await chain.remove(held.number)


async def _age_of(chain: ClaimChain, state: ChainState, seen: ClaimWait | None) -> float:
    """Return the age of the last claim, by its store or by how long this process has seen it."""
    uri = chain.uri(state.length - 1)
    age = await read_age(uri, chain.options) or 0.0
    if seen is not None and (seen.uri, seen.digest) == (uri, state.digest):
        age = max(age, seen.age + time.monotonic() - seen.seen_at)
    return age


async def _wait_for(chain: ClaimChain, state: ChainState, claim: Claim, age: float) -> ClaimWait:
    uri = chain.uri(state.length - 1)
    return ClaimWait(
        uri=uri,
        digest=state.digest,
        entry_digest=await read_entry_digest(uri),
        owner=claim.owner.label if claim.owner else "an unknown task",
        seconds=seconds_to_live(claim) - age,
        seen_at=time.monotonic(),
        age=age,
    )


def _warn_if_expired(chain: ClaimChain, state: ChainState) -> None:
    """Warn that a claim was taken over whose owner did not release it."""
    claim = state.last
    if claim is None or claim.is_released or (claim.owner and claim.owner.is_same(chain.owner)):
        return
    log.warning(
        "The claim of %s on this image has expired, and is taken over. If that task submitted the "
        "image, BFL may bill it twice.",
        claim.owner.label if claim.owner else "an unknown task",
    )


def _warn_once(chain: ClaimChain, reason: str) -> None:
    folder = chain.stem.rpartition("/")[0]
    if folder not in _WARNED:
        _WARNED.add(folder)
        log.warning(
            "Images below %s cannot be claimed: %s. Two tasks that want one image at the same time "
            "can both submit it.",
            folder,
            reason,
        )
