"""Spans of this provider, below the span that Airflow opens for a task.

Without ``[traces] otel_on`` they cost nothing and go nowhere. They hold ids and numbers: no prompt,
no URL, no key.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

log = logging.getLogger(__name__)

SUBMIT_SPAN = "flux.submit"
GENERATION_SPAN = "flux.generation"
LANDING_SPAN = "flux.landing"
BATCH_SPAN = "flux.batch"
_NANOSECONDS = 1_000_000_000


@contextmanager
def span(name: str, attributes: Mapping[str, Any]) -> Iterator[Span]:
    """Open a span for the time of the block. An exception marks it as failed, by its type alone.

    :param name: name of the span.
    :param attributes: attributes; those that are ``None`` are left out.
    """
    from opentelemetry.trace import Status, StatusCode  # not at DAG parse time

    known = _without_none(attributes)
    # The text of an exception may quote the prompt.
    with _tracer().start_as_current_span(
        name, attributes=known, record_exception=False, set_status_on_exception=False
    ) as opened:
        try:
            yield opened
        except BaseException as error:
            opened.set_attribute("error.type", type(error).__name__)
            opened.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def record_past_span(
    name: str, started_at: float, seconds: float, attributes: Mapping[str, Any]
) -> None:
    """Record a span of the past, for example of the work of a triggerer.

    :param name: name of the span.
    :param started_at: epoch seconds of its start.
    :param seconds: its duration in seconds.
    :param attributes: attributes; those that are ``None`` are left out.
    """
    start = int(started_at * _NANOSECONDS)
    past = _tracer().start_span(name, attributes=_without_none(attributes), start_time=start)
    past.end(start + int(max(seconds, 0.0) * _NANOSECONDS))


def set_attributes(opened: Span, attributes: Mapping[str, Any]) -> None:
    """Set attributes of an open span.

    :param opened: the span.
    :param attributes: attributes; those that are ``None`` are left out.
    """
    opened.set_attributes(_without_none(attributes))


@cache
def _tracer() -> Tracer:
    from opentelemetry import trace  # not at DAG parse time

    return trace.get_tracer("airflow_provider_flux")


def _without_none(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}
