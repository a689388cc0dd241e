"""A generation inside the emulator: where it stands at a given time, and the body that says so."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_flux.bfl.responses import Status
from airflow_provider_flux.emulator.faults import Fault
from airflow_provider_flux.emulator.picture import Picture

_DEFAULT_REASON = "Safety Filter"


@dataclass(frozen=True)
class Outcome:
    """How a task ends.

    :param http_status: HTTP status of a poll once it has ended.
    """

    status: Status = Status.READY
    details: Mapping[str, Any] | str | None = None
    http_status: int = 200


@dataclass(frozen=True)
class Task:
    """One generation.

    :param prompt: the prompt as it was sent.
    :param home: scheme and host that know the task.
    :param latency: seconds from submit to the end.
    :param cost: credits it is charged with.
    :param cost_shown: whether the answers report the cost.
    :param images_in: how many input images it was given.
    """

    id: str
    prompt: str
    picture: Picture
    home: str
    submitted_at: float
    latency: float
    cost: float
    cost_shown: bool
    images_in: int = 0
    outcome: Outcome = field(default_factory=Outcome)
    faults: Mapping[str, Fault] = field(default_factory=dict)
    webhook_url: str | None = None
    webhook_secret: str | None = field(default=None, repr=False)

    @property
    def ends_at(self) -> float:
        """When it ends; infinity if it never does."""
        return self.submitted_at + self.latency if "stuck" not in self.faults else math.inf

    @property
    def refund(self) -> float:
        """Credits given back when it ends: only images are billed."""
        return 0.0 if self.outcome.status.is_success else self.cost

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
        """Where its image is, without the signature."""
        return f"/results/{self.id}/sample.{self.picture.format}"

    @property
    def content_type(self) -> str:
        """The media type of its image."""
        return f"image/{self.picture.format}"


def outcome_of(faults: Mapping[str, Fault]) -> Outcome:
    """Return how a task with these faults ends."""
    for name, fault in faults.items():
        if name in _OUTCOMES:
            return _OUTCOMES[name](fault)
    return Outcome()


def poll_body(task: Task, *, sample: str, now: float) -> dict[str, Any]:
    """Return what the service says of a task at ``now``; ``sample`` is the signed URL of its image."""
    if now < task.ends_at:
        elapsed = (now - task.submitted_at) / task.latency if task.latency else 1.0
        return task_shape(task.id, Status.PENDING, progress=round(min(elapsed, 0.99), 2))
    if not task.outcome.status.is_success:
        return task_shape(task.id, task.outcome.status, details=task.outcome.details)
    result = {
        "sample": sample,
        "prompt": task.prompt,
        "seed": task.picture.seed,
        "start_time": task.submitted_at,
        "end_time": task.ends_at,
        "duration": task.latency,
    }
    body = task_shape(task.id, Status.READY, result=result)
    return body | {"cost": task.cost} if task.cost_shown else body


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


def _moderated(status: Status) -> Callable[[Fault], Outcome]:
    def outcome(fault: Fault) -> Outcome:
        reasons = [reason.strip() for reason in (fault.text or _DEFAULT_REASON).split(",")]
        return Outcome(status, {"Moderation Reasons": reasons})

    return outcome


_ERROR = {"error": "Invalid or corrupted image input"}

_OUTCOMES: Mapping[str, Callable[[Fault], Outcome]] = {
    "moderated": _moderated(Status.CONTENT_MODERATED),
    "request-moderated": _moderated(Status.REQUEST_MODERATED),
    "moderated-text": lambda fault: Outcome(Status.CONTENT_MODERATED, _DEFAULT_REASON),
    "error": lambda fault: Outcome(Status.ERROR, _ERROR),
    "error-422": lambda fault: Outcome(Status.ERROR, _ERROR, http_status=422),
    "failed": lambda fault: Outcome(Status.FAILED, {"error": "The generation failed"}),
}
