"""The checks of the API key, as FastAPI dependencies."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader

from airflow_provider_flux.emulator.errors import RefusalError

_KEY_PATTERN = re.compile(r"bfl_[A-Za-z0-9_-]{8,}")
_REVOKED_PREFIX = "bfl_revoked"
_HEADER = APIKeyHeader(name="x-key", scheme_name="APIKeyHeader", auto_error=False)


def check_key(key: str | None) -> str:
    """Return a valid key.

    :param key: the value of the header ``x-key``; ``None`` if it is missing.
    :raises RefusalError: 403 for a missing or revoked key, 422 for a malformed one.
    """
    if not key:
        raise RefusalError(403, "Not authenticated")
    if not _KEY_PATTERN.fullmatch(key):
        raise RefusalError(422, "Invalid API key format")
    if key.startswith(_REVOKED_PREFIX):
        raise RefusalError(403, "Not authenticated")
    return key


async def _require_key(key: Annotated[str | None, Security(_HEADER)]) -> str:
    return check_key(key)


async def _check_optional_key(request: Request) -> None:
    key = request.headers.get("x-key")
    if key is not None:
        check_key(key)


#: The key of a route that requires one.
ApiKey = Annotated[str, Depends(_require_key)]
#: The check of a route that accepts a key without requiring one: get_result has no security in
#: the OpenAPI document of the service.
OptionalKey = Depends(_check_optional_key)
