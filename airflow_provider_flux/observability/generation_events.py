"""Events in the life of one generation, each as metrics and spans."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeGuard

from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_provider_flux.bfl.errors import (
    FluxError,
    FluxGenerationError,
    FluxModeratedError,
    FluxRequestError,
    FluxResultExpiredError,
    FluxSubmitUncertainError,
    FluxTaskNotFoundError,
)
from airflow_provider_flux.bfl.status import Status
from airflow_provider_flux.generation import Generation, submitted_epoch
from airflow_provider_flux.observability import metrics
from airflow_provider_flux.observability.spans import (
    GENERATION_SPAN,
    LANDING_SPAN,
    SUBMIT_SPAN,
    record_past_span,
    set_attributes,
    span,
)

if TYPE_CHECKING:
    from airflow_provider_flux.bfl.responses import Submission

#: Largest time that a span can hold.
_MAX_EPOCH_SECONDS = 2**33
#: Outcome of a task that failed, by the error. Without an entry it is ``failed``.
_OUTCOMES: tuple[tuple[type[FluxError], str], ...] = (
    (FluxModeratedError, "moderated"),
    (FluxSubmitUncertainError, "uncertain"),
    (FluxTaskNotFoundError, "lost"),
    (FluxResultExpiredError, "lost"),
    (FluxRequestError, "invalid"),
    (FluxGenerationError, "failed"),
)


class SubmitEvents:
    """Events of one submit.

    :param model: model of the request.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._span: Any = None

    @contextmanager
    def observe(self) -> Iterator[None]:
        """Observe the submit, with the time that it waits for a free slot."""
        began = time.monotonic()
        with span(SUBMIT_SPAN, {"gen_ai.request.model": self._model}) as self._span:
            try:
                yield
            except FluxSubmitUncertainError:
                metrics.count(metrics.UNCERTAIN, self._model)
                raise
            metrics.record_duration(metrics.QUEUE, self._model, time.monotonic() - began)

    def record_accepted(self, submission: Submission, generation: Generation) -> None:
        """Record that BFL accepted the submit. Call it inside :meth:`observe`.

        :param submission: the answer of BFL.
        :param generation: the new generation.
        """
        metrics.count(metrics.SUBMITS, self._model)
        metrics.count(metrics.CREDITS, self._model, generation["cost"] or 0)
        set_attributes(
            self._span,
            {"gen_ai.response.id": submission.request_id, "flux.credits": generation["cost"]},
        )


def record_rate_limited(model: str) -> None:
    """Record a submit that BFL refused with 429.

    :param model: model of the request.
    """
    metrics.count(metrics.RATE_LIMITED, model)


def record_resumed(generation: Generation) -> None:
    """Record that a try resumes the generation of an earlier one.

    :param generation: the generation.
    """
    metrics.count(metrics.RESUMED, generation["model"])


def record_generated(generation: Generation, seconds: float) -> None:
    """Record that a generation that this try submitted is ready.

    :param generation: the generation.
    :param seconds: time from the accepted submit until its result, in seconds.
    """
    metrics.record_duration(metrics.GENERATION, generation["model"], seconds)
    record_past_span(
        GENERATION_SPAN, submitted_epoch(generation), seconds, _attributes_of(generation)
    )


@contextmanager
def observe_landing(generation: Generation) -> Iterator[None]:
    """Observe the landing of a generation in this process.

    :param generation: the generation.
    """
    began = time.monotonic()
    with span(LANDING_SPAN, _attributes_of(generation)):
        yield
    metrics.record_duration(metrics.LANDING, generation["model"], time.monotonic() - began)


def record_deferred(generation: Generation, timings: Any) -> None:
    """Record what a triggerer measured.

    :param generation: the generation.
    :param timings: member ``timings`` of its event; older triggerers send none.
    """
    if not isinstance(timings, Mapping):
        return
    ready_at, landed_at = timings.get("ready_at"), timings.get("landed_at")
    if not _is_time(ready_at):
        return
    if timings.get("is_exact"):
        record_generated(generation, ready_at - submitted_epoch(generation))
    if _is_time(landed_at):
        seconds = landed_at - ready_at
        metrics.record_duration(metrics.LANDING, generation["model"], seconds)
        record_past_span(LANDING_SPAN, ready_at, seconds, _attributes_of(generation))


def record_returned(accepted: Generation, returned: Generation) -> None:
    """Record that a task returns a generation for the first time.

    :param accepted: the generation when BFL had accepted it.
    :param returned: the generation that the task returns.
    """
    model = returned["model"]
    outcome = "ready" if returned["status"] == Status.READY else "submitted"
    if returned["image"] or returned["video"]:
        outcome = "landed"
    metrics.count(metrics.OUTCOMES, model, outcome=outcome)
    difference = (returned["cost"] or 0) - (accepted["cost"] or 0)
    metrics.count(metrics.CREDITS, model, difference)
    metrics.count(metrics.CREDITS_REFUNDED, model, -difference)


def record_reused(generation: Generation, model: str) -> None:
    """Record that an existing image made a submit unnecessary.

    :param generation: the generation of the image.
    :param model: model of the request.
    """
    known = generation["model"] if generation["request_id"] else model
    metrics.count(metrics.REUSED, known)
    metrics.count(metrics.OUTCOMES, known, outcome="reused")


@contextmanager
def observe_failure(model: Any, accepted: Callable[[], Generation | None]) -> Iterator[None]:
    """Record an error of the block as the outcome of a try. A deferral is no error.

    :param model: model of the task.
    :param accepted: returns the accepted generation; ``None`` if there is none.
    """
    try:
        yield
    except (Exception, AirflowTaskTimeout) as error:
        _record_failure(error, str(model), accepted())
        raise


def _record_failure(error: BaseException, model: str, accepted: Generation | None) -> None:
    name = accepted["model"] if accepted else model
    metrics.count(metrics.OUTCOMES, name, outcome=_outcome_of(error, accepted))
    if accepted and isinstance(error, (FluxModeratedError, FluxGenerationError)):
        metrics.count(metrics.CREDITS_REFUNDED, name, accepted["cost"] or 0)


def _outcome_of(error: BaseException, accepted: Generation | None) -> str:
    for kind, outcome in _OUTCOMES:
        if isinstance(error, kind):
            return outcome
    return "submitted" if accepted else "failed"


def _is_time(value: Any) -> TypeGuard[float]:
    """Whether a value of a stored event can be a time in epoch seconds."""
    return isinstance(value, (int, float)) and 0 < value < _MAX_EPOCH_SECONDS


def _attributes_of(generation: Generation) -> dict[str, Any]:
    return {
        "gen_ai.request.model": generation["model"],
        "gen_ai.response.id": generation["request_id"] or None,
        "flux.credits": generation["cost"],
    }
