"""Classify the errors of object stores: is the name taken, and can another attempt succeed?

Each client has exceptions of its own, and s3fs turns a 412 into one class or another by the wording
of the store. What they have in common is the HTTP status, somewhere in the chain of causes.
"""

from __future__ import annotations

import errno
import re
import ssl
from collections.abc import Iterator
from typing import Any

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.bfl.redaction import redact_line

_CONFLICT_CODES = {
    "PreconditionFailed",
    "BlobAlreadyExists",
    "ConditionNotMet",
    "UnmodifiedConditionNotMet",
}
#: Codes of a 409 or 400 by which S3 asks the client to try again.
_TRANSIENT_CODES = {"OperationAborted", "ConditionalRequestConflict", "RequestTimeout"}
_TRANSIENT_STATUSES = {408, 425, 429}
_NOT_IMPLEMENTED = 501
_FINAL_TYPES = (
    FluxError,
    PermissionError,
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    ImportError,
    NotImplementedError,
    AssertionError,
    MemoryError,
    ssl.SSLCertVerificationError,
)
_FINAL_ERRNOS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.ENAMETOOLONG,
    errno.ELOOP,
}
#: Base classes of the clients' exceptions for faults on this side: credentials and parameters.
_FINAL_CLASS_NAMES = {"BotoCoreError", "GoogleAuthError", "ClientAuthenticationError"}
#: Their exceptions for network faults, which derive from the same base classes.
_NETWORK_CLASS_NAMES = {"HTTPClientError", "ConnectionError", "TransportError"}
#: Codes of a 403 by which a store withholds whether an object exists: the credentials are right,
#: and may not read or list. Others, such as ``SignatureDoesNotMatch``, are about something else.
_WITHHOLDING_CODES = {
    "AccessDenied",
    "Forbidden",
    "Unauthorized",
    "AuthorizationFailure",
    "AuthorizationPermissionMismatch",
    "AuthorizationResourceTypeMismatch",
    "AuthorizationServiceMismatch",
    "InsufficientAccountPermissions",
    "UnauthorizedBlobOverwrite",
}
#: An error code; anything else in its place may hold a secret.
_CODE = re.compile(r"^[A-Za-z][A-Za-z0-9._]{1,63}$")
#: Texts of exceptions that say nothing: a store sent no message.
_EMPTY_TEXT = re.compile(r"^(\[Errno \d+\] )?None$")
_MAX_ERROR_CHARACTERS = 300
#: Causes of an error that are examined.
_MAX_CAUSES = 8


def is_conflict(error: BaseException) -> bool:
    """Whether the store refused an exclusive write because the object exists.

    :param error: what the filesystem raised.
    """
    return any(
        isinstance(cause, FileExistsError)
        or _code_of(cause) in _CONFLICT_CODES
        or _is_bare_412(cause)
        for cause in _causes(error)
    )


def is_forbidden(error: BaseException) -> bool:
    """Whether the credentials do not allow the request.

    :param error: what the filesystem raised.
    """
    return any(
        isinstance(cause, PermissionError) or _status_of(cause) == 403 or _is_gcsfs_403(cause)
        for cause in _causes(error)
    )


def is_withheld(error: BaseException) -> bool:
    """Whether the store withholds if the object exists, as S3 does without ``s3:ListBucket``.

    Wrong or expired credentials say nothing about the object.

    :param error: what the filesystem raised.
    """
    code = find_code(error)
    return is_forbidden(error) and (code is None or code in _WITHHOLDING_CODES)


def find_code(error: BaseException) -> str | None:
    """Return the error code of the store, for example ``SlowDown``.

    :param error: what the filesystem raised.
    :return: ``None`` if the store sent none, or only repeats the HTTP status in it.
    """
    codes = (_code_of(cause) for cause in _causes(error))
    return next((code for code in codes if isinstance(code, str) and _CODE.match(code)), None)


def describe_error(error: BaseException, *secrets: str | None) -> str:
    """Return the error of a store on one line, with its code and HTTP status and without secrets.

    :param error: what the filesystem raised.
    :param secrets: texts to hide.
    """
    message = redact_line(str(error), *secrets)[:_MAX_ERROR_CHARACTERS]
    status = next((found for cause in _causes(error) if (found := _status_of(cause))), None)
    facts = [
        fact
        for fact in (find_code(error), f"HTTP {status}" if status else None)
        if fact and fact not in message
    ]
    text = "" if _EMPTY_TEXT.match(message) else message
    described = f"{text} ({', '.join(facts)})" if text and facts else text or ", ".join(facts)
    return f"{type(error).__name__}: {described or 'the store sent no message'}"


def is_unsupported(error: BaseException) -> bool:
    """Whether the store does not support the request, for example an exclusive write.

    :param error: what the filesystem raised.
    """
    return any(_status_of(cause) == _NOT_IMPLEMENTED for cause in _causes(error))


def is_transient(error: BaseException) -> bool:
    """Whether the same request can succeed in a moment.

    :param error: what the filesystem raised. A cancellation or an exit is not transient.
    """
    if not isinstance(error, Exception):
        return False
    causes = list(_causes(error))
    if any(_code_of(cause) in _TRANSIENT_CODES for cause in causes):
        return True
    status = next((status for cause in causes if (status := _status_of(cause)) is not None), None)
    if status is None:
        return not any(_is_final(cause) for cause in causes)
    return status in _TRANSIENT_STATUSES or (status >= 500 and status != _NOT_IMPLEMENTED)


def _is_final(error: BaseException) -> bool:
    """Whether an error without an HTTP status will come again."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & _FINAL_CLASS_NAMES and not names & _NETWORK_CLASS_NAMES:
        return not getattr(error, "retryable", False)
    if isinstance(error, _FINAL_TYPES) or _is_gcsfs_403(error):
        return True
    return isinstance(error, OSError) and error.errno in _FINAL_ERRNOS


def _is_bare_412(error: BaseException) -> bool:
    """Whether it is a 412 without a code, like the answer to a HEAD request."""
    return _status_of(error) == 412 and _code_of(error) in {None, "", "412"}


def _is_gcsfs_403(error: BaseException) -> bool:
    """Whether it is the 403 of gcsfs, which has neither an errno nor a status."""
    return isinstance(error, OSError) and error.errno is None and str(error).startswith("Forbidden")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and the errors that caused it."""
    cause: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__


def _status_of(error: BaseException) -> int | None:
    """Return the HTTP status of an error.

    botocore has it in a dict, the clients of Azure and GCS in an attribute.
    """
    response = getattr(error, "response", None)
    status: Any = None
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    for name in ("status_code", "status", "code"):
        status = status if isinstance(status, int) else getattr(error, name, None)
    return status if isinstance(status, int) and 100 <= status < 600 else None


def _code_of(error: BaseException) -> Any:
    """Return the error code of the store, for example ``SlowDown``."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return response.get("Error", {}).get("Code")
    code = getattr(error, "error_code", None)
    return getattr(code, "value", code)
