"""The errors of this provider: one class for each decision that a user can make.

Each docstring says what happened, whether BFL bills for it, and what a retry does. A message never
holds the API key, a webhook secret, image bytes or the signature of a signed URL, because Airflow
writes messages to task logs, to its database and to the UI.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: The page of the documentation that has a section for each class below.
DOCUMENTATION = "docs/errors.md"


class FluxError(Exception):
    """Base class of all errors of this provider.

    :param message: the fault, then the remedy as an imperative. It is written to the task log.
    :param request_id: id that BFL gave the generation. ``None`` if BFL has not accepted the
        request.
    :param cost: credits (1 credit = 0.01 USD) that the service reported for it. ``None`` if
        unknown.
    """

    #: Whether a retry fails the same way, or may be billed twice. The operators raise a permanent
    #: error as ``AirflowFailException``, and ``FluxRetryPolicy`` fails after it, so that Airflow's
    #: ``retries`` are not spent on it.
    is_permanent: bool = False

    def __init__(
        self, message: str, *, request_id: str | None = None, cost: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.request_id = request_id
        self.cost = cost
        self.add_note(self.reference)  # tracebacks show it, for example those of import errors

    @property
    def reference(self) -> str:
        """Return the sentence that names the section of the documentation about this error.

        A class of another module is described by its nearest base class in this one.
        """
        name = next(cls.__name__ for cls in type(self).__mro__ if cls.__module__ == __name__)
        return f"See {DOCUMENTATION}#{name.lower()}"

    def as_dict(self) -> dict[str, Any]:
        """Return the error as a JSON object, which carries it from the triggerer to the worker."""
        return {
            "type": type(self).__name__,
            "message": self.message,
            "request_id": self.request_id,
            "cost": self.cost,
        }


class FluxConfigurationError(FluxError):
    """A connection, a package or a setting is missing or malformed.

    Nothing was billed, unless the error occurs after a deferral. A retry fails the same way until
    the setting that the message names is corrected.
    """

    is_permanent = True


class FluxRequestError(FluxError, ValueError):
    """The request is not valid.

    It names an unknown model or parameter, a value is out of range, an input breaks a limit, or BFL
    refused it (HTTP 400, 404, 405 or 422). Nothing was billed. A retry fails the same way.
    """

    is_permanent = True


class FluxAuthenticationError(FluxError):
    """BFL refused the API key (HTTP 401, 403, or 422 "Invalid API key format").

    Nothing was billed at the submit. If a poll was refused, the generation is billed. A retry fails
    until the key in the connection is replaced.
    """

    is_permanent = True


class FluxInsufficientCreditsError(FluxError):
    """The balance of the account is too low for this request (HTTP 402).

    Nothing was billed. A retry fails until credits are added.
    """

    is_permanent = True


class FluxBudgetError(FluxError):
    """A submit would exceed ``max_cost`` of its batch, or a budget of its account.

    The submits before it are billed, and the batch has landed them. A retry fails the same way
    until ``max_cost`` is raised, or until the budget resets. Then clear the task: it continues with
    the remaining rows.

    :param message: see :class:`FluxError`.
    :param resets_at: epoch second at which the budget of the account resets. ``None`` for
        ``max_cost``, which never does.
    """

    is_permanent = True

    def __init__(self, message: str, *, resets_at: float | None = None, **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.resets_at = resets_at


class FluxBatchError(FluxError):
    """More rows of a batch ended without an image than ``max_failed`` or ``max_moderated`` allows.

    The batch also raises it if it stopped early, for example because the task was ended. The
    manifest has the outcome of each row; the rows that were submitted are billed. A retry works
    only on rows that have no image.
    """


class FluxTransientError(FluxError):
    """Base class of temporary failures: the same HTTP call can be repeated without a second charge.

    :param message: see :class:`FluxError`.
    :param retry_after: seconds that the service asked to wait (``Retry-After``). ``None`` if it did
        not.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.retry_after = retry_after


class FluxRateLimitedError(FluxTransientError):
    """The account has too many active generations (429), or videos were submitted too fast (402).

    Nothing was billed. A retry submits, and is not a second charge.
    """


class FluxServiceError(FluxTransientError):
    """BFL answered with an error that is no refusal, or unreadably, or the network failed.

    The error is for example a 5xx or a 408. It belongs to a read: after a submit the same answer
    is a :class:`FluxSubmitUncertainError`.

    The failed call is not billed. A generation that was submitted before is. If its submit is in
    the ledger, a retry resumes it without a second charge.
    """


class FluxConnectionError(FluxServiceError):
    """The connection to BFL could not be opened, or broke before the whole request was sent.

    BFL cannot have read a whole request, so nothing was billed. A retry submits, and is not a
    second charge.
    """


class FluxSubmitUncertainError(FluxError):
    """A submit was sent, and its answer was lost or unclear.

    Only the documented refusals (HTTP 400, 401, 402, 403, 404, 405, 422, 429) prove that BFL
    generated nothing. Any other answer without an id is unclear, for example a 408, 409 or 503.

    BFL may have generated and billed the image. It has neither an idempotency key nor a list of
    requests, so this cannot be determined. With ``on_uncertain="fail"`` nothing is submitted again
    until a user clears the task. With ``on_uncertain="resubmit"`` a retry submits again, which may
    be a second charge.
    """

    is_permanent = True


class FluxModeratedError(FluxError):
    """BFL's moderation refused the prompt, an input or the result.

    BFL does not charge for it (source: BFL's published rule). The same request is refused again:
    change the prompt or ``safety_tolerance``.

    :param message: see :class:`FluxError`.
    :param reasons: the reasons that BFL gave, for example ``("Sexual Content",)``. May be empty.
    """

    is_permanent = True

    def __init__(self, message: str, *, reasons: tuple[str, ...] = (), **facts: Any) -> None:
        super().__init__(message, **facts)
        self.reasons = tuple(reasons)

    def as_dict(self) -> dict[str, Any]:
        """Return the error as a JSON object, with the reasons."""
        return {**super().as_dict(), "reasons": list(self.reasons)}


class FluxRejectedError(FluxError):
    """A check rejected the image of a row.

    The journal of a batch records it; no task raises it. The generation is billed, and the image is
    kept under ``rejected/``. A batch tries the row again with another seed, up to ``max_rerolls``.
    """

    is_permanent = True


class FluxCheckError(FluxError):
    """A check could not be carried out: it raised, gave no answer in time, or ended its process.

    The generation is billed, and its image, which may be good, is kept under ``rejected/``. The
    row is not submitted again until a user clears the task. A batch raises it if the checks of many
    images in a row failed.
    """

    is_permanent = True


class FluxInputError(FluxError):
    """An input, or a file of rows, does not exist, or its store, host or database failed.

    Nothing was billed in this try. A retry reads the input again. If an input breaks a limit or is
    not an image, the error is a :class:`FluxRequestError`.
    """


class FluxGenerationError(FluxError):
    """BFL ended the generation with status ``Error`` or ``Failed``.

    BFL does not charge for it (source: BFL's published rule). A retry submits a new generation.
    """


class FluxTaskNotFoundError(FluxError):
    """BFL does not know the generation: it has expired, or the wrong region was polled.

    The image was billed and can no longer be downloaded. Clearing the task submits a new
    generation, which is billed.
    """

    is_permanent = True


class FluxTimeoutError(FluxError):
    """The generation was not ready at the deadline.

    BFL has no cancel, so it finishes and bills the generation. If the submit is in the ledger, a
    retry polls it again, which is free. If it is not, land the image by its request id.
    """


class FluxResultExpiredError(FluxError):
    """The delivery host refused the signed URL of the result, and a fresh one too.

    The image was billed and can no longer be downloaded. Clearing the task submits a new
    generation, which is billed.

    :param message: see :class:`FluxError`.
    :param request_id: see :class:`FluxError`.
    :param cost: see :class:`FluxError`.
    :param is_still_valid: whether the host refused a URL that has not expired by its own query, so
        that a later try may succeed.
    """

    is_permanent = True

    def __init__(
        self,
        message: str,
        *,
        request_id: str | None = None,
        cost: float | None = None,
        is_still_valid: bool = False,
    ) -> None:
        super().__init__(message, request_id=request_id, cost=cost)
        self.is_still_valid = is_still_valid


class FluxUntrustedURLError(FluxError):
    """A polling or delivery URL, or a redirect, leads to a host that is not BFL's.

    Nothing was sent to that host. The generation is billed. A retry fails the same way until the
    host is one of the ``trusted_hosts`` of the connection.
    """

    is_permanent = True


class FluxImageError(FluxError):
    """The downloaded file is not a complete image, or not of the requested format or size.

    Nothing was stored. The generation is billed. A retry downloads it again, which is free while
    BFL keeps the result.
    """


class FluxStorageError(FluxError):
    """The store failed to read or write an object at ``output_path`` or in the ledger.

    An existing object is unchanged, and no partial object exists. Before the submit nothing was
    billed. After it, a retry resumes the generation without a second charge if the submit is in the
    ledger. If it is not, land the image by its request id with ``FluxToObjectStorageOperator``.
    """


class FluxExistsError(FluxStorageError):
    """Another object exists at ``output_path``, and ``if_exists`` does not replace it.

    The object is unchanged. If the path contains none of ``{request_id}``, ``{seed}`` and
    ``{sha256}``, it is checked before the submit, and nothing was billed. A retry fails the same
    way.
    """

    is_permanent = True


class FluxLedgerError(FluxError):
    """A record of the ledger cannot be read, or another process works on the same task.

    The operator also raises it if the request has changed and ``on_change="fail"``. This try
    submitted nothing, because the record may name a generation that was billed. A retry fails the
    same way.
    """

    is_permanent = True


class FluxTriggerEventError(FluxError):
    """A deferred task was resumed with an event that this provider did not send.

    The generation is billed if the task had submitted. A retry is not attempted.
    """

    is_permanent = True


_BY_NAME: Mapping[str, type[FluxError]] = {
    cls.__name__: cls
    for cls in list(globals().values())
    if isinstance(cls, type) and issubclass(cls, FluxError)
}


def error_from_dict(data: Mapping[str, Any]) -> FluxError:
    """Rebuild an error from its JSON object.

    :param data: the result of :meth:`FluxError.as_dict`.
    :return: an error of the same type, or a :class:`FluxError` if this version does not know the
        type.
    """
    cls = _BY_NAME.get(str(data.get("type")), FluxError)
    facts: dict[str, Any] = {"request_id": data.get("request_id"), "cost": data.get("cost")}
    if cls is FluxModeratedError:
        facts["reasons"] = tuple(data.get("reasons") or ())
    return cls(str(data.get("message") or cls.__name__), **facts)
