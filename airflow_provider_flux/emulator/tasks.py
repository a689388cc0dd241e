"""A generation inside the emulator: where it stands at a given time, and the body that says so."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.bfl.responses import Status
from airflow_provider_flux.emulator.drawing.picture import Picture
from airflow_provider_flux.emulator.faults import Fault
from airflow_provider_flux.emulator.inputs import BROKEN_IMAGE
from airflow_provider_flux.emulator.plan import Plan

#: The media type of a draft cache.
CACHE_TYPE = "application/octet-stream"
_DEFAULT_REASON = "Safety Filter"
#: What FLUX 3 tells of its work, a third of the time each.
_STAGES = (Status.PENDING, Status.REASONING, Status.GENERATING)

#: Returns the signed URL of a path, for a media type.
Sign = Callable[[str, str], str]


@dataclass(frozen=True)
class Outcome:
    """How a task ends.

    :param http_status: HTTP status of a poll once it has ended.
    """

    status: Status = Status.READY
    details: Mapping[str, Any] | str | None = None
    http_status: int = 200


@dataclass
class Task:
    """One generation.

    :param prompt: the prompt as it was sent.
    :param plan: what it makes and costs; made anew when inputs that are URLs have been fetched.
    :param home: scheme and host that know the task.
    :param latency: seconds from submit to the end.
    :param arrived_at: when all its inputs were at hand; infinity while they are fetched.
    :param polls: how often it was asked for, whatever the answer.
    """

    id: str
    model: Model
    prompt: str
    plan: Plan
    home: str
    submitted_at: float
    latency: float
    arrived_at: float
    outcome: Outcome = field(default_factory=Outcome)
    faults: Mapping[str, Fault] = field(default_factory=dict)
    key: str = field(default="", repr=False)
    webhook_url: str | None = None
    webhook_secret: str | None = field(default=None, repr=False)
    polls: int = 0

    @property
    def picture(self) -> Picture:
        """What it makes."""
        return self.plan.picture

    @property
    def duration(self) -> float:
        """Seconds from submit to the end; infinity if it never ends, or that is not known yet."""
        return (
            max(self.latency, self.arrived_at - self.submitted_at)
            if "stuck" not in self.faults
            else math.inf
        )

    @property
    def ends_at(self) -> float:
        """When it ends."""
        return self.submitted_at + self.duration

    @property
    def refund(self) -> float:
        """Credits given back when it ends: only results are billed."""
        return 0.0 if self.outcome.status.is_success else self.plan.cost

    @property
    def host(self) -> str | None:
        """The host that knows it."""
        return urlsplit(self.home).hostname

    @property
    def polling_url(self) -> str:
        """Where its result is asked for."""
        return f"{self.home}/v1/get_result?id={self.id}"

    @property
    def sample_path(self) -> str:
        """Where its image or video is, without the signature."""
        return f"/results/{self.id}/sample.{self.picture.format}"

    @property
    def cache_path(self) -> str | None:
        """Where the cache of a draft is, without the signature; ``None`` if it is none."""
        return (
            f"/results/{self.id}/draft_cache.bin"
            if self.picture.clip and self.picture.clip.draft
            else None
        )


def outcome_of(faults: Mapping[str, Fault], input_error: str = "") -> Outcome:
    """Return how a task with these faults ends, and with inputs of which this is to be said."""
    for name, fault in faults.items():
        if name in _OUTCOMES:
            return _OUTCOMES[name](fault)
    return _bad_input(input_error) if input_error else Outcome()


def poll_body(task: Task, *, sign: Sign, now: float) -> dict[str, Any]:
    """Return what the service says of a task at ``now``."""
    if now < task.ends_at:
        elapsed = min((now - task.submitted_at) / task.latency if task.latency else 1.0, 0.99)
        return task_shape(task.id, _stage(task, elapsed), progress=round(elapsed, 2))
    if not task.outcome.status.is_success:
        return task_shape(task.id, task.outcome.status, details=task.outcome.details)
    result: dict[str, Any] = {
        "sample": sign(task.sample_path, task.picture.content_type),
        "prompt": task.prompt
        or task.picture.prompt,  # the enhancement of a draft has no prompt of its own
        "seed": task.picture.seed,
        "start_time": task.submitted_at,
        "end_time": task.ends_at,
        "duration": task.duration,
    }
    if task.cache_path is not None:
        cache = sign(task.cache_path, CACHE_TYPE)
        result |= {"draft_cache": cache, "draft_caches": [cache]}
    body = task_shape(task.id, Status.READY, result=result)
    return body if task.model.cost_reported == "never" else body | {"cost": task.plan.cost}


def task_shape(
    task_id: str,
    status: str,
    *,
    result: Mapping[str, Any] | None = None,
    progress: float | None = None,
    details: Mapping[str, Any] | str | None = None,
) -> dict[str, Any]:
    """Return a poll body with all the keys the service sends."""
    return {
        "id": task_id,
        "status": str(status),
        "result": result,
        "progress": progress,
        "details": details,
        "preview": None,
    }


def _stage(task: Task, elapsed: float) -> Status:
    is_flux_3 = task.model.name.startswith("flux-3-") or task.model.output == "video"
    return (
        _STAGES[int(elapsed * len(_STAGES))]
        if is_flux_3 and "stuck" not in task.faults
        else Status.PENDING
    )


def _moderated(status: Status) -> Callable[[Fault], Outcome]:
    def outcome(fault: Fault) -> Outcome:
        reasons = [reason.strip() for reason in (fault.text or _DEFAULT_REASON).split(",")]
        return Outcome(status, {"Moderation Reasons": reasons})

    return outcome


def _bad_input(said: str) -> Outcome:
    return Outcome(Status.ERROR, {"error": said}, http_status=422)


_OUTCOMES: Mapping[str, Callable[[Fault], Outcome]] = {
    "moderated": _moderated(Status.CONTENT_MODERATED),
    "request-moderated": _moderated(Status.REQUEST_MODERATED),
    "moderated-text": lambda fault: Outcome(Status.CONTENT_MODERATED, _DEFAULT_REASON),
    "error": lambda fault: Outcome(Status.ERROR, {"error": BROKEN_IMAGE}),
    "error-422": lambda fault: _bad_input(BROKEN_IMAGE),
    "bad-input": lambda fault: _bad_input(BROKEN_IMAGE),
    "failed": lambda fault: Outcome(Status.FAILED, {"error": "The generation failed"}),
}
