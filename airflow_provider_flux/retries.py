"""What Airflow's ``retries`` may repeat: nothing that fails the same way, nothing that pays twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout

from airflow_provider_flux.bfl.errors import (
    FluxError,
    FluxGenerationError,
    FluxModeratedError,
    FluxResultExpiredError,
    FluxTaskNotFoundError,
)
from airflow_provider_flux.bfl.trust import redact
from airflow_provider_flux.xcom import Generation

_NOTHING_TO_COLLECT = (FluxModeratedError, FluxGenerationError, FluxTaskNotFoundError, FluxResultExpiredError)


@contextmanager
def failing_for_good(*, paid_for: Generation | Callable[[], Generation | None] | None = None) -> Iterator[None]:
    """Raise errors that a retry cannot help as ``AirflowFailException``; others pass as they are.

    :param paid_for: the generation this task has submitted. A retry would submit, and pay, again, so
        whatever goes wrong then ends the task, ``execution_timeout`` included; only a generation that
        BFL ended without charging for it is left to Airflow's retries. A function is asked when something
        goes wrong, since it may be in the middle of the submit.
    """
    try:
        yield
    except (Exception, AirflowTaskTimeout) as error:
        generation = paid_for() if callable(paid_for) else paid_for
        if not _ends_for_good(error, paid=generation is not None):
            raise
        message = f"{type(error).__name__}: {redact(str(error))}"
        if generation and not isinstance(error, _NOTHING_TO_COLLECT):
            message += f" The task is not retried, because that would pay again. {how_to_collect(generation)}"
        raise AirflowFailException(message) from error


def _ends_for_good(error: BaseException, *, paid: bool) -> bool:
    if isinstance(error, FluxError) and error.permanent:
        return True
    return paid and not isinstance(error, (FluxGenerationError, AirflowFailException))


def how_to_collect(generation: Generation) -> str:
    """Say how an image that was paid for, and not landed, can still be had."""
    wanted = {"request_id": generation["request_id"], "polling_url": generation["polling_url"]}
    return f"To collect the image without paying: FluxToObjectStorageOperator(generation={wanted}, output_path=...)."
