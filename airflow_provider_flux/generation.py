"""The record of one generation: a small JSON dict, without bytes and signed URLs, in the XCom."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypedDict, cast

from airflow_provider_flux.bfl.request import GenerationRequest, estimate_cost
from airflow_provider_flux.bfl.status import Status

if TYPE_CHECKING:
    from airflow_provider_flux.bfl.polling import Poller
    from airflow_provider_flux.bfl.responses import GenerationResult, Submission

log = logging.getLogger(__name__)

CostSource = Literal["reported", "estimated", "reused"]


class Rendition(TypedDict):
    """A smaller or cropped copy of a landed image, which is stored beside it.

    :ivar uri: URI of the rendition.
    :ivar sha256: SHA-256 of its bytes, in hexadecimal.
    :ivar bytes: size in bytes.
    :ivar width: width in pixels.
    :ivar height: height in pixels.
    :ivar content_type: MIME type.
    """

    uri: str
    sha256: str
    bytes: int
    width: int
    height: int
    content_type: str


#: Members of a rendition, with their types.
_RENDITION_TYPES: Mapping[str, type] = {
    "uri": str,
    "sha256": str,
    "bytes": int,
    "width": int,
    "height": int,
    "content_type": str,
}


class LandedImage(TypedDict):
    """An image that has landed.

    :ivar uri: URI of the image.
    :ivar sha256: SHA-256 of its bytes, in hexadecimal.
    :ivar bytes: size in bytes.
    :ivar width: width in pixels.
    :ivar height: height in pixels.
    :ivar content_type: MIME type.
    :ivar sidecar: URI of the JSON file with its provenance; ``None`` if there is none.
    :ivar renditions: its renditions by name, for example ``thumb``; empty if there are none. An
        image that an earlier version of this package landed has no such member.
    """

    uri: str
    sha256: str
    bytes: int
    width: int
    height: int
    content_type: str
    sidecar: str | None
    renditions: dict[str, Rendition]


class LandedVideo(LandedImage):
    """A video that has landed: the members of :class:`LandedImage`, and two of its own.

    :ivar seconds: length in seconds.
    :ivar draft_cache: URI of the draft cache that mode ``draft_enhance`` needs; ``None`` if there
        is none.
    """

    seconds: float
    draft_cache: str | None


class Generation(TypedDict):
    """The XCom of one generation.

    :ivar request_id: BFL's id of the request; empty for a reused image whose request is not known.
    :ivar polling_url: URL to ask for the result; ``None`` if BFL returned none.
    :ivar model: name of the model.
    :ivar status: BFL's status, for example ``Ready``.
    :ivar seed: the effective seed; ``None`` until it is known.
    :ivar fingerprint: hash of the request. Requests for the same image have the same fingerprint.
    :ivar cost: credits (1 credit = 0.01 USD); ``None`` if they are not known yet.
    :ivar cost_source: ``reported`` by BFL, ``estimated`` from the price list if BFL reports no
        cost, or ``reused`` if the image existed: then nothing was submitted, and the cost is 0.
    :ivar estimated_cost: credits by the price list, in each of these cases.
    :ivar submitted_at: time of BFL's answer to the submit, in ISO 8601.
    :ivar reused: whether the image existed before, so that nothing was submitted.
    :ivar uncertain_submits: earlier submits of the task whose answer was lost. Each may have been
        billed too.
    :ivar image: the image; ``None`` until it has landed.
    :ivar video: the video; ``None`` until it has landed.
    """

    request_id: str
    polling_url: str | None
    model: str
    status: str
    seed: int | None
    fingerprint: str | None
    cost: float | None
    cost_source: CostSource | None
    estimated_cost: float | None
    submitted_at: str
    reused: bool
    uncertain_submits: int
    image: LandedImage | None
    video: LandedVideo | None


def new_generation(
    request: GenerationRequest, submission: Submission, uncertain_submits: int = 0
) -> Generation:
    """Return the record of a generation that BFL just accepted.

    :param request: the request.
    :param submission: BFL's answer to the submit.
    :param uncertain_submits: earlier submits of the task whose answer was lost, 0 by default.
    """
    estimated = estimate_cost(request).credits
    _warn_of_cost(submission.request_id, submission.cost_problem)
    cost = estimated if submission.cost is None else submission.cost
    source: CostSource = "estimated" if submission.cost is None else "reported"
    return Generation(
        request_id=submission.request_id,
        polling_url=submission.polling_url,
        model=request.model,
        status=Status.PENDING.value,
        seed=None,
        fingerprint=request.fingerprint,
        cost=cost,
        cost_source=None if cost is None else source,
        estimated_cost=estimated,
        submitted_at=datetime.fromtimestamp(submission.submitted_at, UTC).isoformat(),
        reused=False,
        uncertain_submits=uncertain_submits,
        image=None,
        video=None,
    )


def with_result(generation: Generation, result: GenerationResult) -> Generation:
    """Return a copy of a generation with the status, seed and final cost of its result.

    :param generation: the generation.
    :param result: BFL's answer to the last poll.
    """
    record = generation.copy()
    record["status"] = result.status.value
    record["seed"] = result.seed if result.seed is not None else generation["seed"]
    _warn_of_cost(generation["request_id"], result.cost_problem)
    if result.cost is not None:
        record["cost"], record["cost_source"] = result.cost, "reported"
    return record


def without_media(generation: Generation) -> Generation:
    """Return a generation as it was before its image landed.

    :param generation: the generation.
    """
    earlier = generation.copy()
    earlier["image"] = earlier["video"] = None
    return earlier


def with_landed(
    generation: Generation,
    landed: LandedImage,
    seconds: float | None,
    draft_cache: str | None = None,
) -> Generation:
    """Return a copy of a generation with its image, or its video, that has landed.

    :param generation: the generation.
    :param landed: the file that has landed.
    :param seconds: length of a video in seconds; ``None`` for an image.
    :param draft_cache: URI of the draft cache of a video; ``None`` if there is none.
    """
    record = generation.copy()
    if seconds is None:
        record["image"] = landed
    else:
        record["video"] = LandedVideo(**landed, seconds=seconds, draft_cache=draft_cache)
    return record


def _warn_of_cost(request_id: str, problem: str | None) -> None:
    if problem is not None:
        log.warning(
            "BFL reported a cost of %s for request %s, which is not a number from 0 to a trillion. "
            "The reported cost is ignored, and the estimate of the price list counts",
            problem,
            request_id,
        )


def renditions_of(landed: Mapping[str, Any] | None) -> dict[str, Rendition]:
    """Return the renditions of a landed image, without those that are not whole.

    :param landed: member ``image`` or ``video`` of a generation, which another version of this
        package, or a stranger, may have written.
    """
    listed = landed.get("renditions") if isinstance(landed, Mapping) else None
    return {
        name: cast(Rendition, {member: rendition[member] for member in _RENDITION_TYPES})
        for name, rendition in (listed.items() if isinstance(listed, Mapping) else ())
        if isinstance(name, str)
        and isinstance(rendition, Mapping)
        and all(isinstance(rendition.get(key), kind) for key, kind in _RENDITION_TYPES.items())
    }


def describe_cost(generation: Generation) -> str:
    """Return the cost of a generation as text for a log.

    :param generation: the generation.
    """
    if generation["cost"] is None:
        return "cost not known yet"
    return f"{generation['cost']:g} credits, {generation['cost_source']}"


def describe_loss(generation: Generation) -> str:
    """Return the text of an error for a generation that BFL no longer has.

    :param generation: the generation.
    """
    cost = describe_cost(generation)
    return (
        f"BFL billed it ({cost}), and it is lost. Clear the task that generated it to submit a new "
        "request, which BFL bills again."
    )


def submitted_epoch(generation: Generation) -> float:
    """Return the time of BFL's answer to the submit, in epoch seconds.

    :param generation: the generation.
    """
    return parse_time(generation["submitted_at"]).timestamp()


def wait_start(generation: Generation, now: float) -> float:
    """Return the epoch seconds from which the wait for a generation counts: its submit.

    If the submit seems to be in the future, the clocks of two machines differ. The wait counts from
    ``now`` then, so that no clock makes it longer than that for a new generation.

    :param generation: the generation.
    :param now: epoch seconds of this machine.
    """
    return min(submitted_epoch(generation), now)


def poller_for(
    generation: Generation,
    *,
    deadline: float,
    poll_interval: float = 0.5,
    pause_at: float | None = None,
    pace: Callable[[float], float] | None = None,
    hide_texts: bool = False,
) -> Poller:
    """Return the poller that decides when to poll a generation, and when to give up.

    :param generation: the generation.
    :param deadline: epoch seconds at which to give up, after a last poll.
    :param poll_interval: shortest seconds between two polls, 0.5 by default.
    :param pause_at: epoch seconds at which to pause; by default the poller never pauses.
    :param pace: returns the seconds until the next poll for the seconds since the submit; by
        default the interval grows with the time waited.
    :param hide_texts: leave the texts of BFL out of errors, because they may quote the prompt.
    """
    from airflow_provider_flux.bfl.polling import Poller  # not at DAG parse time

    return Poller(
        request_id=generation["request_id"],
        submitted_at=wait_start(generation, time.time()),
        deadline=deadline,
        poll_interval=poll_interval,
        cost=generation["cost"] if generation["cost_source"] == "reported" else None,
        pause_at=pause_at,
        pace=pace,
        hide_texts=hide_texts,
    )


def parse_time(text: str) -> datetime:
    """Parse a time in ISO 8601, which is in UTC if it has no offset.

    :param text: the time.
    :raises ValueError: if the text is not a time.
    """
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
