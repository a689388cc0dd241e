"""What the errors of stores mean: is the name taken, and may trying again help?

Each client has its own exceptions, and s3fs turns a 412 into one kind or another by the wording of
the store. The HTTP status, somewhere in the chain of causes, is what they have in common.
"""

from __future__ import annotations

import errno
import ssl
from collections.abc import Iterator
from typing import Any

from airflow_provider_flux.bfl.errors import FluxError

_TAKEN = {"PreconditionFailed", "BlobAlreadyExists", "ConditionNotMet", "UnmodifiedConditionNotMet"}
#: Codes of a 409 or 400 by which S3 asks to try again.
_PASSING_CODES = {"OperationAborted", "ConditionalRequestConflict", "RequestTimeout"}
_PASSING = {408, 425, 429}
_NOT_IMPLEMENTED = 501
_NEVER = (
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
)
_NEVER_BY_NUMBER = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.ENAMETOOLONG,
    errno.ELOOP,
}
#: Bases of the clients' own exceptions for what is wrong here, not at the store: credentials, parameters.
_NEVER_BY_NAME = {"BotoCoreError", "GoogleAuthError", "ClientAuthenticationError"}
#: Their exceptions for trouble on the way, which derive from the same bases.
_ON_THE_WAY = {"HTTPClientError", "ConnectionError", "TransportError"}


def is_conflict(error: BaseException) -> bool:
    """Whether an exclusive write was refused because there is an object already."""
    return any(
        isinstance(one, FileExistsError) or _code_of(one) in _TAKEN or _is_bare_412(one)
        for one in _chain(error)
    )


def _is_bare_412(error: BaseException) -> bool:
    """Whether it is a 412 that does not say what it is about, as the answer to a HEAD."""
    return _status_of(error) == 412 and _code_of(error) in {None, "", "412"}


def is_forbidden(error: BaseException) -> bool:
    """Whether the credentials do not allow it."""
    return any(
        isinstance(one, PermissionError) or _status_of(one) == 403 or _says_forbidden(one)
        for one in _chain(error)
    )


def is_unsupported(error: BaseException) -> bool:
    """Whether the store does not know what was asked of it, such as an exclusive write."""
    return any(_status_of(one) == _NOT_IMPLEMENTED for one in _chain(error))


def is_transient(error: BaseException) -> bool:
    """Whether the same write may succeed in a moment."""
    if not isinstance(error, Exception):
        return False  # somebody wants to stop
    if any(_code_of(one) in _PASSING_CODES for one in _chain(error)):
        return True
    statuses = [status for one in _chain(error) if (status := _status_of(one)) is not None]
    if statuses:
        return statuses[0] in _PASSING or (statuses[0] >= 500 and statuses[0] != _NOT_IMPLEMENTED)
    return not any(_is_final(one) for one in _chain(error))


def _is_final(error: BaseException) -> bool:
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & _NEVER_BY_NAME and not names & _ON_THE_WAY:
        return not getattr(error, "retryable", False)
    if isinstance(error, (*_NEVER, ssl.SSLCertVerificationError)):
        return True
    return _says_forbidden(error) or (
        isinstance(error, OSError) and error.errno in _NEVER_BY_NUMBER
    )


def _says_forbidden(error: BaseException) -> bool:
    """Whether it is the 403 of gcsfs, which has no number and no status."""
    return isinstance(error, OSError) and error.errno is None and str(error).startswith("Forbidden")


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__ or seen.__context__


def _status_of(error: BaseException) -> int | None:
    """Return the HTTP status an error carries: botocore's in a dict, Azure's and gcsfs's as an attribute."""
    response = getattr(error, "response", None)
    found: Any = None
    if isinstance(response, dict):
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    for name in ("status_code", "status", "code"):
        found = found if isinstance(found, int) else getattr(error, name, None)
    return found if isinstance(found, int) and 100 <= found < 600 else None


def _code_of(error: BaseException) -> Any:
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return response.get("Error", {}).get("Code")
    code = getattr(error, "error_code", None)
    return getattr(code, "value", code)
