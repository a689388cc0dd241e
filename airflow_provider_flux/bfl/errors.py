"""Every way a FLUX request can fail: one class for each decision a user can take.

Messages never hold the API key, a webhook secret, image bytes or the signature of a signed URL,
because Airflow writes them to task logs, to the database and to the UI.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class FluxError(Exception):
    """Base of all errors of this provider.

    :param message: one sentence for the task log: what happened, and the way out.
    :param request_id: the id BFL gave the generation, when there is one.
    :param cost: credits (1 credit = 0.01 USD) the service reported for it, when known.
    """

    #: Doing the same again must fail the same way, or may be billed twice. The operators raise such
    #: an error as ``AirflowFailException``, so that Airflow's ``retries`` are not spent on it.
    permanent: ClassVar[bool] = False

    def __init__(
        self, message: str, *, request_id: str | None = None, cost: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.request_id = request_id
        self.cost = cost

    def as_dict(self) -> dict[str, Any]:
        """Return the error as JSON, to carry it from the triggerer to the worker."""
        return {
            "type": type(self).__name__,
            "message": self.message,
            "request_id": self.request_id,
            "cost": self.cost,
        }


class FluxConfigurationError(FluxError):
    """The connection is missing, incomplete or malformed. A retry fails the same way."""

    permanent = True


class FluxRequestError(FluxError, ValueError):
    """The request is not valid: unknown model or parameter, bad range, or refused by BFL (400, 422).

    Nothing was paid. A retry fails the same way.
    """

    permanent = True


class FluxAuthenticationError(FluxError):
    """BFL refused the API key (401, 403, or 422 "Invalid API key format").

    Nothing was paid. A retry fails until the key in the connection is replaced.
    """

    permanent = True


class FluxInsufficientCreditsError(FluxError):
    """The account has no credits left for this request (402).

    Nothing was paid. A retry fails until credits are added.
    """

    permanent = True


class FluxBudgetError(FluxError):
    """``max_cost`` of a batch is reached, or cannot be kept. What was submitted before has landed.

    Nothing more was paid. A retry fails the same way: raise ``max_cost`` and clear the task, which goes on with the
    rows that are left.
    """

    permanent = True


class FluxBatchError(FluxError):
    """Some rows of a batch have no image, more than ``max_failed`` or ``max_moderated`` allow for.

    All rows were tried, and the manifest says what became of each. A retry works on those without an image only.
    """


class FluxTransientError(FluxError):
    """Waiting may help: the same HTTP call can be made again without paying twice.

    :param retry_after: seconds the service asked to wait (``Retry-After``), when it said so.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.retry_after = retry_after


class FluxRateLimitedError(FluxTransientError):
    """Too many active tasks on the account (429). Nothing was paid; a retry is free."""


class FluxServiceError(FluxTransientError):
    """A 5xx, an unreadable answer, or the network failed while something was read. A retry is free."""


class FluxConnectionError(FluxServiceError):
    """The connection to BFL could not be opened, or broke while the request was being sent.

    BFL cannot have read a whole request, so nothing was paid. A retry is free.
    """


class FluxSubmitUncertainError(FluxError):
    """A submit was sent and its answer was lost: the image may have been made and billed.

    BFL has no idempotency key and no list of tasks, so nobody can tell. With ``on_uncertain="fail"`` it is not
    submitted again until a user clears the task; with ``"resubmit"`` a retry does, and may pay twice.
    """

    permanent = True


class FluxModeratedError(FluxError):
    """BFL's moderation refused the prompt, an input image or the result. Not charged.

    :param reasons: what the service named, for example ``["Sexual Content"]``. The same request is
        refused again: change the prompt or ``safety_tolerance``.
    """

    permanent = True

    def __init__(self, message: str, *, reasons: tuple[str, ...] = (), **facts: Any) -> None:
        super().__init__(message, **facts)
        self.reasons = tuple(reasons)

    def as_dict(self) -> dict[str, Any]:
        """Return the error as JSON, with the reasons."""
        return {**super().as_dict(), "reasons": list(self.reasons)}


class FluxInputError(FluxError):
    """An input image or video is not there, or could not be read. Nothing was paid by this try.

    A retry is free. An input that is too large, or no image at all, is a :class:`FluxRequestError`.
    """


class FluxGenerationError(FluxError):
    """BFL ended the generation with ``Error`` or ``Failed``. Not charged; a retry starts a new one."""


class FluxTaskNotFoundError(FluxError):
    """BFL no longer knows the generation: expired, or asked in the wrong region.

    The image was paid for and can no longer be fetched. Clearing the task pays for a new one.
    """

    permanent = True


class FluxTimeoutError(FluxError):
    """The generation was not ready at the deadline. BFL goes on and bills it; there is no cancel.

    A retry asks again, which is free, where the submit was recorded; its request id collects it, too.
    """


class FluxResultExpiredError(FluxError):
    """The signed URL of the image no longer works, and neither did a fresh one.

    The image was paid for and can no longer be fetched. Clearing the task pays for a new one.
    """

    permanent = True


class FluxUntrustedURLError(FluxError):
    """A polling or delivery URL points to a host that is not BFL's. Nothing was sent to it."""

    permanent = True


class FluxImageError(FluxError):
    """What was downloaded is not the complete image that was asked for. It was not stored.

    Downloading again is free while BFL keeps the result.
    """


class FluxStorageError(FluxError):
    """The image could not be written to ``output_path``. The old object, or none, is there.

    Before the submit, when the store or the ledger failed, nothing was paid. After it, a retry collects the image,
    which is free, where the submit was recorded; otherwise ``FluxToObjectStorageOperator`` does, by its request id.
    """


class FluxExistsError(FluxStorageError):
    """There is another object at ``output_path``, and ``if_exists="error"``. It is untouched.

    Nothing was paid if the name was known before the image, which is so without ``{request_id}``,
    ``{seed}`` and ``{sha256}`` in it. A retry fails the same way.
    """

    permanent = True


class FluxLedgerError(FluxError):
    """The record of what a task has paid for cannot be read, or was claimed by another process.

    Also a changed request with ``on_change="fail"``. Nothing was submitted, since the record may name, or names, an
    image that was paid for. A retry fails the same way.
    """

    permanent = True


class FluxTriggerEventError(FluxError):
    """A deferred task was resumed with an event this provider did not send."""

    permanent = True


_BY_NAME: Mapping[str, type[FluxError]] = {
    cls.__name__: cls
    for cls in list(globals().values())
    if isinstance(cls, type) and issubclass(cls, FluxError)
}


def error_from_dict(data: Mapping[str, Any]) -> FluxError:
    """Rebuild an error from :meth:`FluxError.as_dict`; an unknown type becomes :class:`FluxError`."""
    cls = _BY_NAME.get(str(data.get("type")), FluxError)
    facts: dict[str, Any] = {"request_id": data.get("request_id"), "cost": data.get("cost")}
    if cls is FluxModeratedError:
        facts["reasons"] = tuple(data.get("reasons") or ())
    return cls(str(data.get("message") or cls.__name__), **facts)
