"""What the errors of stores mean: is the name taken, and may trying again help?

Each client has its own exceptions, and s3fs turns a 412 into one kind or another by the wording of
the store. The HTTP status, somewhere in the chain of causes, is what they have in common.
"""

from __future__ import annotations

import errno
import ssl
from collections.abc import Iterator
from typing import Any

from airflow_provider_flux.bfl.errors import FluxExistsError

_CONFLICTS = {409, 412}
_PASSING = {408, 425, 429}
_PRECONDITION_CODES = {"PreconditionFailed", "BlobAlreadyExists", "ConditionNotMet"}
_NEVER = (
    FluxExistsError,
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
)
_NEVER_BY_NUMBER = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP}


def is_conflict(error: BaseException) -> bool:
    """Whether an exclusive write was refused because there is an object already."""
    return any(
        isinstance(one, FileExistsError) or _code_of(one) in _PRECONDITION_CODES or _status_of(one) in _CONFLICTS
        for one in _chain(error)
    )


def may_pass(error: BaseException) -> bool:
    """Whether the same write may succeed in a moment."""
    statuses = [status for one in _chain(error) if (status := _status_of(one)) is not None]
    if statuses:
        return statuses[0] in _PASSING or statuses[0] >= 500
    if isinstance(error, _NEVER) or any(isinstance(one, ssl.SSLCertVerificationError) for one in _chain(error)):
        return False
    return not (isinstance(error, OSError) and error.errno in _NEVER_BY_NUMBER)


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
    return str(getattr(error, "error_code", None))
