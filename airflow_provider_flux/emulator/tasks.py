"""Tasks of the emulated service: their state at a given time, and the poll body that reports it.

BFL's API calls a generation a task ("Task not found"). Inside the emulator the word has this
meaning; an Airflow task is never meant.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.bfl.status import Status
from airflow_provider_flux.emulator.charges import Charge
from airflow_provider_flux.emulator.drawing.picture import Picture
from airflow_provider_flux.emulator.fault_scripts import Fault
from airflow_provider_flux.emulator.inputs import BROKEN_IMAGE

#: The media type of a draft cache.
CACHE_TYPE = "application/octet-stream"
_DEFAULT_REASON = "Safety Filter"
#: The statuses of FLUX 3 before the end, each for a third of the time.
_STAGES = (Status.PENDING, Status.REASONING, Status.GENERATING)

#: Returns the signed URL of a path, for a media type.
SignUrl = Callable[[str, str], str]


@dataclass(frozen=True)
class TaskOutcome:
    """The end of a task.

    :param status: the final status.
    :param details: value of ``details`` in the poll body.
    :param http_status: HTTP status of a poll after the end.
    """

    status: Status = Status.READY
    details: Mapping[str, Any] | str | None = None
    http_status: int = 200


@dataclass
class Task:
    """One generation.

    :param id: identifies the task in URLs.
    :param model: the model that generates.
    :param prompt: the prompt as it was sent.
    :param picture: the picture to deliver; composed anew when its inputs have been fetched.
    :param charge: the cost; computed anew when its inputs have been fetched.
    :param base_url: scheme and host that know the task.
    :param submitted_at: epoch seconds of the submit.
    :param latency: seconds from submit to the end.
    :param inputs_at: epoch seconds when all inputs were loaded; infinity while they are fetched.
    :param outcome: the end of the task.
    :param faults: the faults that strike the task and its answers, by name.
    :param key: the API key of the submit.
    :param webhook_url: receives the poll body when the task ends; ``None`` sends no webhook.
    :param webhook_secret: value of the header ``X-Webhook-Secret``; ``None`` sends none.
    :param polls: number of polls so far, whatever the answer.
    :param released_at: epoch seconds at which a held task was released; ``None`` before.
    """

    id: str
    model: Model
    prompt: str
    picture: Picture
    charge: Charge
    base_url: str
    submitted_at: float
    latency: float
    inputs_at: float
    outcome: TaskOutcome = field(default_factory=TaskOutcome)
    faults: Mapping[str, Fault] = field(default_factory=dict)
    key: str = field(default="", repr=False)
    webhook_url: str | None = None
    webhook_secret: str | None = field(default=None, repr=False)
    polls: int = 0
    released_at: float | None = None

    @property
    def is_held(self) -> bool:
        """Whether it waits for its release."""
        return "held" in self.faults and self.released_at is None

    @property
    def duration(self) -> float:
        """Seconds from submit to the end; infinity if it never ends, or its inputs are pending."""
        if "stuck" in self.faults or self.is_held:
            return math.inf
        ready_at = max(self.inputs_at, self.released_at or 0.0)
        return max(self.latency, ready_at - self.submitted_at)

    @property
    def ends_at(self) -> float:
        """Epoch seconds of its end."""
        return self.submitted_at + self.duration

    @property
    def refund(self) -> float:
        """Credits refunded when it ends: only results are billed."""
        return 0.0 if self.outcome.status.is_success else self.charge.cost

    @property
    def host(self) -> str | None:
        """The host that knows it."""
        return urlsplit(self.base_url).hostname

    @property
    def polling_url(self) -> str:
        """The URL to poll for its result."""
        return f"{self.base_url}/v1/get_result?id={self.id}"

    @property
    def sample_path(self) -> str:
        """Path of its image or video, without the signature."""
        return f"/results/{self.id}/sample.{self.picture.format}"

    @property
    def cache_path(self) -> str | None:
        """Path of its draft cache, without the signature; ``None`` if it is no draft."""
        if self.picture.clip is None or not self.picture.clip.draft:
            return None
        return f"/results/{self.id}/draft_cache.bin"


#: Members of a result that are signed URLs.
_URLS = ("sample", "draft_cache")


def outcome_of(faults: Mapping[str, Fault], input_error: str = "") -> TaskOutcome:
    """Return the outcome of a task.

    :param faults: the faults of the task, by name; the first that ends a task counts.
    :param input_error: the error of its inputs; empty if they are valid.
    """
    for name, fault in faults.items():
        if name in _OUTCOMES:
            return _OUTCOMES[name](fault)
    return _bad_input(input_error) if input_error else TaskOutcome()


def describe_task(task: Task, *, sign_url: SignUrl, now: float) -> dict[str, Any]:
    """Return the poll body of a task.

    :param task: the task that is polled.
    :param sign_url: signs the URLs of the result.
    :param now: epoch seconds.
    """
    if now < task.ends_at:
        elapsed = min((now - task.submitted_at) / task.latency if task.latency else 1.0, 0.99)
        return poll_body(task.id, _stage(task, elapsed), progress=round(elapsed, 2))
    if not task.outcome.status.is_success:
        return poll_body(task.id, task.outcome.status, details=task.outcome.details)
    result: dict[str, Any] = {
        "sample": sign_url(task.sample_path, task.picture.content_type),
        # The enhancement of a draft has no prompt of its own.
        "prompt": task.prompt or task.picture.prompt,
        "seed": task.picture.seed,
        "start_time": task.submitted_at,
        "end_time": task.ends_at,
        "duration": task.duration,
    }
    if task.cache_path is not None:
        cache = sign_url(task.cache_path, CACHE_TYPE)
        result |= {"draft_cache": cache, "draft_caches": [cache]}
    body = poll_body(task.id, Status.READY, result=result)
    return body if task.model.cost_reported == "never" else body | {"cost": task.charge.cost}


def with_fault_cost(body: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """Return an answer about a task with the cost of its fault ``absurd-cost``, if it has one.

    :param body: the body of the answer.
    :param task: the task.
    """
    fault = task.faults.get("absurd-cost")
    if fault is None:
        return dict(body)
    try:
        cost = json.loads(fault.text)
    except ValueError:
        cost = fault.text
    return {**body, "cost": cost}


def reshape(body: Mapping[str, Any], faults: Collection[str]) -> dict[str, Any]:
    """Return a poll body with its members where the faults of its task move them.

    :param body: the poll body.
    :param faults: names of the faults of the task.
    """
    reshaped = dict(body)
    result, details = body["result"], body["details"]
    if "result-lists" in faults and result:
        reshaped["result"] = {
            **{name: result[name] for name in result if name not in _URLS},
            **{f"{name}s": [result[name]] for name in _URLS if name in result},
        }
    if "error-at-top" in faults and details:
        reshaped |= {"details": None, "error": details["error"]}
    if "error-in-result" in faults and details:
        reshaped |= {"details": None, "result": {"details": details}}
    return reshaped


def poll_body(
    task_id: str,
    status: str,
    *,
    result: Mapping[str, Any] | None = None,
    progress: float | None = None,
    details: Mapping[str, Any] | str | None = None,
) -> dict[str, Any]:
    """Return a poll body with all keys that the service sends.

    :param task_id: value of ``id``.
    :param status: value of ``status``.
    :param result: value of ``result``, for a task that is ``Ready``.
    :param progress: value of ``progress``, 0 to 1, for a task that is running.
    :param details: value of ``details``, for a task that failed.
    """
    return {
        "id": task_id,
        "status": str(status),
        "result": result,
        "progress": progress,
        "details": details,
        "preview": None,
    }


def _stage(task: Task, elapsed: float) -> Status:
    """Return the status before the end; ``elapsed`` is the share of the latency that is over."""
    is_flux_3 = task.model.name.startswith("flux-3-") or task.model.output == "video"
    if not is_flux_3 or "stuck" in task.faults:
        return Status.PENDING
    return _STAGES[int(elapsed * len(_STAGES))]


def _moderated(status: Status) -> Callable[[Fault], TaskOutcome]:
    def outcome(fault: Fault) -> TaskOutcome:
        reasons = [reason.strip() for reason in (fault.text or _DEFAULT_REASON).split(",")]
        return TaskOutcome(status, {"Moderation Reasons": reasons})

    return outcome


def _bad_input(message: str) -> TaskOutcome:
    return TaskOutcome(Status.ERROR, {"error": message}, http_status=422)


#: The outcome of each fault that ends a task.
_OUTCOMES: Mapping[str, Callable[[Fault], TaskOutcome]] = {
    "moderated": _moderated(Status.CONTENT_MODERATED),
    "request-moderated": _moderated(Status.REQUEST_MODERATED),
    "moderated-text": lambda fault: TaskOutcome(Status.CONTENT_MODERATED, _DEFAULT_REASON),
    "error": lambda fault: TaskOutcome(Status.ERROR, {"error": BROKEN_IMAGE}),
    "error-422": lambda fault: _bad_input(BROKEN_IMAGE),
    "error-503": lambda fault: TaskOutcome(Status.ERROR, {"error": BROKEN_IMAGE}, http_status=503),
    "bad-input": lambda fault: _bad_input(BROKEN_IMAGE),
    "error-at-top": lambda fault: TaskOutcome(Status.ERROR, {"error": BROKEN_IMAGE}),
    "error-in-result": lambda fault: TaskOutcome(Status.ERROR, {"error": BROKEN_IMAGE}),
    "failed": lambda fault: TaskOutcome(Status.FAILED, {"error": "The generation failed"}),
}
