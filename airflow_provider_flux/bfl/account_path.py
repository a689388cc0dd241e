"""Check the setting ``account_path``: the folder that all tasks of one account share."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from airflow_provider_flux.bfl.errors import FluxConfigurationError

#: Bytes of a path. S3 allows 1,024 for a key, and the names below the folder need some of them.
_MAX_BYTES = 700
_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<place>[^/]*)(?P<rest>/.*)?")
_LOCAL_SCHEMES = {"file", "local"}
#: Characters that a query, a template or a pattern begins with, or that no name should have.
_REFUSED = re.compile(r"[?#{}*\\\x00-\x1f\x7f]")


def check_account_path(value: Any, source: str) -> str | None:
    """Return the folder without a slash at its end.

    :param value: the setting: ``None`` or an empty text for none.
    :param source: origin of the value for the message, for example ``connection 'flux_default'``.
    :return: ``None`` if it is not set.
    :raises FluxConfigurationError: if it is no absolute path and no URI of a folder.
    """
    if value is None or value == "":
        return None
    if problem := _find_problem(value):
        raise FluxConfigurationError(
            f"account_path={_show(value)} in {source} {problem}. Write a folder that all tasks of "
            "the account may read and write, like s3://aws_default@my-bucket/flux or "
            "/shared/flux."
        )
    return str(value).rstrip("/")


def _find_problem(value: Any) -> str | None:
    """Return what is wrong, as the end of a sentence; ``None`` if nothing is."""
    if not isinstance(value, str):
        return f"has type {type(value).__name__}, not text"
    if len(value.encode(errors="replace")) > _MAX_BYTES:
        return f"is longer than {_MAX_BYTES} bytes"
    if value != value.strip() or _REFUSED.search(value):
        return "has a space around it, or a character that is not allowed (? # { } * \\ or control)"
    if ".." in unquote(value).split("/"):
        return "has a part '..'"
    return _find_problem_of_place(value)


def _find_problem_of_place(value: str) -> str | None:
    uri = _URI.fullmatch(value)
    if uri is None:
        if not value.startswith("/"):
            return "is neither a URI nor an absolute path"
        return None if value.strip("/") else "is the root of the disk"
    rest = (uri["rest"] or "").strip("/")
    if uri["scheme"].lower() in _LOCAL_SCHEMES:
        if uri["place"]:
            return f"has a host; a local folder is written {uri['scheme']}:///folder"
        return None if rest else "is the root of the disk"
    user, _, bucket = uri["place"].rpartition("@")
    if ":" in uri["place"] or "@" in user + rest:
        return "has credentials in it; name an Airflow connection in front of the @"
    return None if bucket else "names no bucket"


def _show(value: Any) -> str:
    """Return the value for a message: never credentials, never more than a line."""
    text = str(value)
    if ":" in text.partition("://")[2]:
        return "<not shown>"
    return repr(text if len(text) <= 100 else text[:100] + "...")
