"""What travels between tasks: a small JSON dict for each generation, never bytes or a signed URL."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal, TypedDict, cast

import pendulum

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.polling import Poller
from airflow_provider_flux.bfl.request import GenerationRequest, estimate_cost
from airflow_provider_flux.bfl.responses import GenerationResult, Status, Submission


class LandedImage(TypedDict):
    """Where an image landed, and what it is. ``sidecar`` is the URI of the JSON file that says where it came from."""

    uri: str
    sha256: str
    bytes: int
    width: int
    height: int
    content_type: str
    sidecar: str | None


class LandedVideo(LandedImage):
    """Where a video landed, and what it is.

    ``seconds`` is its length. ``draft_cache`` is the URI of what mode ``draft_enhance`` needs of a draft.
    """

    seconds: float
    draft_cache: str | None


class Generation(TypedDict):
    """The XCom of one generation.

    ``cost`` is in credits (1 credit = 0.01 USD): as the service *reported* it, or *estimated* from
    the price list where it reports none. ``estimated_cost`` is what the price list says in either case.
    ``fingerprint`` is equal for equal images wanted. ``reused`` says that the image was there already:
    nothing was submitted, and ``cost`` is 0. ``uncertain_submits`` counts earlier submits of the task whose answer
    was lost: each was possibly billed as well. ``image``, or ``video``, is ``None`` until it has landed.
    """

    request_id: str
    polling_url: str | None
    model: str
    status: str
    seed: int | None
    fingerprint: str | None
    cost: float | None
    cost_source: Literal["reported", "estimated", "reused"] | None
    estimated_cost: float | None
    submitted_at: str
    reused: bool
    uncertain_submits: int
    image: LandedImage | None
    video: LandedVideo | None


def new_generation(
    request: GenerationRequest, submission: Submission, uncertain_submits: int = 0
) -> Generation:
    """Return the record of a generation that was just accepted."""
    cost, source, estimated = submission.cost, "reported", estimate_cost(request).credits
    if cost is None:
        cost, source = estimated, "estimated"
    return Generation(
        request_id=submission.request_id,
        polling_url=submission.polling_url,
        model=request.model,
        status=Status.PENDING.value,
        seed=None,
        fingerprint=request.fingerprint,
        cost=cost,
        cost_source=cast("Any", source if cost is not None else None),
        estimated_cost=estimated,
        submitted_at=pendulum.from_timestamp(submission.submitted_at).isoformat(),
        reused=False,
        uncertain_submits=uncertain_submits,
        image=None,
        video=None,
    )


def with_result(generation: Generation, result: GenerationResult) -> Generation:
    """Return the record with what the result adds: status, effective seed, settled cost."""
    record = generation.copy()
    record["status"] = result.status.value
    record["seed"] = result.seed if result.seed is not None else generation["seed"]
    if result.cost is not None:
        record["cost"], record["cost_source"] = result.cost, "reported"
    return record


def with_landed(
    record: Generation, landed: LandedImage, seconds: float | None, draft_cache: str | None = None
) -> Generation:
    """Return the record with what has landed: an image, or a video if it has a length."""
    record = record.copy()
    if seconds is None:
        record["image"] = landed
    else:
        record["video"] = LandedVideo(**landed, seconds=seconds, draft_cache=draft_cache)
    return record


def describe_cost(generation: Generation) -> str:
    """Return what a generation cost, for a log."""
    if generation["cost"] is None:
        return "cost not known yet"
    return f"{generation['cost']:g} credits, {generation['cost_source']}"


def describe_loss(generation: Generation) -> str:
    """Return what it means that the service does not know a generation any more, for an error."""
    cost = describe_cost(generation)
    return f"It was paid for ({cost}) and is lost: clearing the task that generated it pays for a new one."


def submitted_epoch(generation: Generation) -> float:
    """Return when BFL accepted a generation, in epoch seconds.

    :param generation: the generation.
    """
    return datetime.fromisoformat(generation["submitted_at"]).timestamp()


def poller_for(
    generation: Generation,
    *,
    deadline: float,
    poll_interval: float = 0.5,
    pause_at: float | None = None,
    pace: Callable[[float], float] | None = None,
) -> Poller:
    """Return the poller that decides when to poll a generation, and when to give up.

    :param generation: the generation.
    :param deadline: epoch seconds at which to give up, after a last poll.
    :param poll_interval: shortest seconds between two polls, 0.5 by default.
    :param pause_at: epoch seconds at which to pause; by default the poller never pauses.
    :param pace: returns the seconds until the next poll for the seconds since the submit; by default the interval
        grows with the time waited.
    """
    return Poller(
        request_id=generation["request_id"],
        submitted_at=submitted_epoch(generation),
        deadline=deadline,
        poll_interval=poll_interval,
        cost=generation["cost"] if generation["cost_source"] == "reported" else None,
        pause_at=pause_at,
        pace=pace,
    )


def parse_generation(value: Any, *, field: str = "generation") -> Generation:
    """Check a value that another task, or a user, calls a generation.

    Only ``request_id`` is needed; ``polling_url`` should be there, since a task lives in one cluster.

    :raises FluxRequestError: naming what is wrong with it.
    """
    if not isinstance(value, Mapping):
        raise FluxRequestError(
            f"{field} is {type(value).__name__}, not a generation. Pass the output of FluxGenerateOperator "
            "(hero.output), or a dict with request_id and polling_url."
        )
    request_id, polling_url = value.get("request_id"), value.get("polling_url")
    has_landed = bool(value.get("image") or value.get("video"))
    if not isinstance(request_id, str) or not (request_id or has_landed):
        raise FluxRequestError(
            f"{field} has no request_id: it is not the output of FluxGenerateOperator."
        )
    if polling_url is not None and not isinstance(polling_url, str):
        raise FluxRequestError(
            f"{field} has a polling_url of type {type(polling_url).__name__}, not a text."
        )
    return Generation(
        request_id=request_id,
        polling_url=polling_url,
        model=str(value.get("model") or "unknown"),
        status=str(value.get("status") or Status.UNKNOWN.value),
        seed=_of_type(value, "seed", int, field),
        fingerprint=_of_type(value, "fingerprint", str, field),
        cost=_of_type(value, "cost", (int, float), field),
        cost_source=_one_of(value, "cost_source", ("reported", "estimated", "reused"), field),
        estimated_cost=_of_type(value, "estimated_cost", (int, float), field),
        submitted_at=_moment(value.get("submitted_at"), field),
        reused=bool(value.get("reused")),
        uncertain_submits=_of_type(value, "uncertain_submits", int, field) or 0,
        image=value.get("image"),
        video=value.get("video"),
    )


def parse_generations(value: Any) -> tuple[list[Generation], bool]:
    """Check one generation or a list of them, as objects or as JSON text; also say whether it was a list.

    :raises FluxRequestError: naming the element that is wrong, and how.
    """
    if isinstance(value, str):
        value = _from_json(value)
    if isinstance(value, Mapping):
        return [parse_generation(value)], False
    if value is None or not hasattr(value, "__iter__"):
        raise FluxRequestError(
            f"generation is {value!r}: the task it comes from pushed no result (was it skipped?). "
            "Pass the output of FluxGenerateOperator, or a list of them."
        )
    return [
        parse_generation(item, field=f"generation[{index}]") for index, item in enumerate(value)
    ], True


def _of_type(value: Mapping[str, Any], name: str, kind: type | tuple[type, ...], field: str) -> Any:
    found = value.get(name)
    if found is not None and (isinstance(found, bool) or not isinstance(found, kind)):
        raise FluxRequestError(
            f"{field} has {name}={found!r:.80}, which is of type {type(found).__name__}."
        )
    return found


def _one_of(value: Mapping[str, Any], name: str, known: tuple[str, ...], field: str) -> Any:
    found = value.get(name)
    if found is not None and found not in known:
        raise FluxRequestError(
            f"{field} has {name}={found!r:.80}. It is one of {', '.join(known)}."
        )
    return found


def _from_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise FluxRequestError(
            "generation is a text that is not JSON. A Jinja template renders a dict as Python text: pass hero.output "
            "itself, or '{{ ti.xcom_pull(task_ids=\"hero\") | tojson }}'."
        ) from None


def _moment(value: Any, field: str) -> str:
    if not value:
        return pendulum.now("UTC").isoformat()
    try:
        parsed = pendulum.parse(str(value))
    except (
        ValueError,
        TypeError,
    ):  # TypeError: pendulum's own, for an interval that starts with a date
        parsed = None
    if not isinstance(parsed, pendulum.DateTime):
        raise FluxRequestError(
            f"{field} has submitted_at={str(value)[:40]!r}, which is not an ISO 8601 time."
        )
    return parsed.isoformat()
