"""What Airflow's ``retries`` may repeat: nothing that fails the same way, nothing that pays twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.providers.common.compat.sdk import AirflowFailException, AirflowTaskTimeout

from airflow_provider_flux.bfl.errors import (
    FluxError,
    FluxGenerationError,
    FluxModeratedError,
    FluxResultExpiredError,
    FluxSubmitUncertainError,
    FluxTaskNotFoundError,
)
from airflow_provider_flux.bfl.redaction import redact
from airflow_provider_flux.generation import Generation, describe_loss
from airflow_provider_flux.ledger.submission import TrackedSubmission

_NOTHING_TO_COLLECT = (
    FluxModeratedError,
    FluxGenerationError,
    FluxTaskNotFoundError,
    FluxResultExpiredError,
)


@contextmanager
def fail_without_retry(purchase: TrackedSubmission | None = None) -> Iterator[None]:
    """Raise errors that a retry cannot help as ``AirflowFailException``; others pass as they are.

    :param purchase: what this task has paid for. If that is written down, a retry collects it, so whatever goes
        wrong is left to Airflow's retries, unless it must fail the same way. If it is not, a retry would pay
        again, so whatever goes wrong ends the task, ``execution_timeout`` included; only a generation that
        BFL ended without charging for it is left to Airflow's retries.
    """
    try:
        yield
    except (Exception, AirflowTaskTimeout) as error:
        if purchase and purchase.generation:
            if isinstance(error, _NOTHING_TO_COLLECT):
                purchase.mark_failed(error)
            else:
                purchase.ensure_recorded()
        if not _ends_for_good(error, purchase):
            raise
        message = f"{type(error).__name__}: {redact(str(error))}"
        if purchase and purchase.generation:
            message += _what_next(error, purchase)
        raise AirflowFailException(message) from error


def _ends_for_good(error: BaseException, purchase: TrackedSubmission | None) -> bool:
    if isinstance(error, FluxSubmitUncertainError) and purchase and purchase.may_resubmit:
        return False
    if isinstance(error, FluxError) and error.is_permanent:
        return True
    is_lost_by_retry = (
        purchase is not None and purchase.generation is not None and not purchase.is_recorded
    )
    return is_lost_by_retry and not isinstance(error, (FluxGenerationError, AirflowFailException))


def _what_next(error: BaseException, purchase: TrackedSubmission) -> str:
    if isinstance(error, FluxTaskNotFoundError):
        return f" {describe_loss(purchase.accepted)}"
    return "" if isinstance(error, _NOTHING_TO_COLLECT) else f" {describe_recovery(purchase)}"


def describe_recovery(purchase: TrackedSubmission) -> str:
    """Say how what was paid for can still be had."""
    if purchase.is_recorded:
        return (
            f"Request {purchase.accepted['request_id']} was paid for and is on record: clearing the task, or `airflow flux "
            "recover`, collects it without paying again."
        )
    return f"The task is not retried, because that would pay again. {how_to_collect(purchase.accepted)}"


def how_to_collect(generation: Generation) -> str:
    """Say how an image that was paid for, and not landed, can still be had."""
    wanted = {"request_id": generation["request_id"], "polling_url": generation["polling_url"]}
    return f"To collect the image without paying: FluxToObjectStorageOperator(generation={wanted}, output_path=...)."
