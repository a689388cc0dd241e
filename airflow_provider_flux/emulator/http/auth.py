"""The ladder of key checks, as FastAPI dependencies."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader

from airflow_provider_flux.emulator.errors import RefusalError

_KEY = re.compile(r"bfl_[A-Za-z0-9_-]{8,}")
_REVOKED = "bfl_revoked"
_HEADER = APIKeyHeader(name="x-key", scheme_name="APIKeyHeader", auto_error=False)


def check_key(key: str | None) -> str:
    """Return a usable key.

    :raises RefusalError: 403 without one or with a revoked one, 422 for one that is malformed.
    """
    if not key:
        raise RefusalError(403, "Not authenticated")
    if not _KEY.fullmatch(key):
        raise RefusalError(422, "Invalid API key format")
    if key.startswith(_REVOKED):
        raise RefusalError(403, "Not authenticated")
    return key


async def _required(key: Annotated[str | None, Security(_HEADER)]) -> str:
    return check_key(key)


async def _optional(request: Request) -> None:
    key = request.headers.get("x-key")
    if key is not None:
        check_key(key)


#: The key of a route that needs one.
ApiKey = Annotated[str, Depends(_required)]
#: Checks a key where none is needed; get_result has no security in the service's OpenAPI document.
OptionalKey = Depends(_optional)
