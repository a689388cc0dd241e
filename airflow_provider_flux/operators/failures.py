"""Errors that Airflow must not retry: they recur, or a retry pays again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

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
from airflow_provider_flux.policies.task_policy import has_policy_of_user

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator

    from airflow_provider_flux.ledger.submission import TrackedSubmission

#: Errors after which BFL has no result that a later try could land.
_NO_RESULT_LEFT = (
    FluxModeratedError,
    FluxGenerationError,
    FluxTaskNotFoundError,
    FluxResultExpiredError,
)


@contextmanager
def fail_without_retry(
    task: BaseOperator | None, submission: TrackedSubmission | None = None
) -> Iterator[None]:
    """Raise ``AirflowFailException`` in place of errors that a retry must not follow.

    Without an accepted generation these are the permanent errors. With one, it depends on the
    ledger. If the generation is on record, a retry resumes it, so only permanent errors end the
    task. If it is not, a retry would pay again, so every error ends the task, also
    ``execution_timeout``. A generation that BFL ended without a charge is an exception: Airflow may
    retry it.

    Airflow does not ask the ``retry_policy`` of a task about ``AirflowFailException``. If the user
    has set one, an error whose retry cannot be billed twice stays as it is, so that the policy
    decides.

    :param task: the operator; ``None`` if no policy is asked.
    :param submission: submission of this task, if it has one.
    :raises AirflowFailException: in place of an error that a retry must not follow. The message
        says how to land an image that BFL bills, and ends with the section of the documentation.
    :raises FluxError: the error, with that message, if a policy of the user decides, or with the
        section alone if Airflow may retry.
    """
    try:
        yield
    except (Exception, AirflowTaskTimeout) as error:
        accepted = submission if submission and submission.generation else None
        if accepted:
            _record(accepted, error)
        if not _is_final(error, submission):
            if isinstance(error, FluxSubmitUncertainError):
                error.is_permanent = False  # for the retry policy: on_uncertain="resubmit"
            if isinstance(error, FluxError):
                error.args = (_add_reference(error, str(error)),)
            raise
        message = redact(str(error))
        if accepted:
            message += _describe_remedy(error, accepted)
        message = _add_reference(error, message)
        if _is_decided_by_user(error, task, submission):
            error.args = (message,)
            raise
        raise AirflowFailException(f"{type(error).__name__}: {message}") from error


def _add_reference(error: BaseException, message: str) -> str:
    """Add the section of the documentation, which the UI shows only as a part of the message."""
    if not isinstance(error, FluxError) or message.endswith(error.reference):
        return message
    return f"{message} {error.reference}"


def _is_decided_by_user(
    error: BaseException, task: BaseOperator | None, submission: TrackedSubmission | None
) -> bool:
    """Whether a policy of the user decides about a retry, because it cannot be billed twice."""
    if not isinstance(error, FluxError) or isinstance(error, FluxSubmitUncertainError):
        return False
    may_pay_again = submission and submission.generation and not submission.is_recorded
    return not may_pay_again and has_policy_of_user(task)


def _record(submission: TrackedSubmission, error: BaseException) -> None:
    """Record that BFL has no result left, or that there is one to resume."""
    if isinstance(error, _NO_RESULT_LEFT):
        submission.mark_failed(error)
    else:
        submission.ensure_recorded()


def _is_final(error: BaseException, submission: TrackedSubmission | None) -> bool:
    """Whether Airflow must not retry after an error."""
    if isinstance(error, FluxSubmitUncertainError) and submission and submission.may_resubmit:
        return False
    if isinstance(error, FluxError) and error.is_permanent:
        return True
    if submission is None or submission.generation is None or submission.is_recorded:
        return False
    return not isinstance(error, (FluxGenerationError, AirflowFailException))


def _describe_remedy(error: BaseException, submission: TrackedSubmission) -> str:
    if isinstance(error, FluxTaskNotFoundError):
        return f" {describe_loss(submission.accepted)}"
    if isinstance(error, _NO_RESULT_LEFT):
        return ""
    return f" {describe_recovery(submission)}"


def describe_recovery(submission: TrackedSubmission) -> str:
    """Return instructions for landing an image that BFL bills.

    :param submission: a submission with an accepted generation.
    """
    if submission.is_recorded:
        request_id = submission.accepted["request_id"]
        return (
            f"Request {request_id} is billed and on record. Clear the task, or run `airflow flux "
            "recover`, to land the image without paying again."
        )
    remedy = describe_transfer(submission.accepted)
    return f"Airflow does not retry this task, because a retry would pay again. {remedy}"


def describe_transfer(generation: Generation) -> str:
    """Return the operator call that lands a generation which is not on record.

    :param generation: an accepted generation.
    """
    arguments = {
        "request_id": generation["request_id"],
        "polling_url": generation["polling_url"],
    }
    return (
        "To land the image without paying again, run "
        f"FluxToObjectStorageOperator(generation={arguments}, output_path=...)."
    )
