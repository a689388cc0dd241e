"""Texts for logs, without keys, signatures, passwords and image bytes.

Airflow writes messages to task logs, to its database and to the UI.
"""

from __future__ import annotations

import re

from airflow_provider_flux.bfl.urls import split_url

_SECRET_PATTERNS = (
    (re.compile(r"(https?://[^\s'\"?]+)\?[^\s'\"]*"), r"\1?<query removed>"),
    (re.compile(r"bfl_[A-Za-z0-9_\-]+"), "bfl_***"),
    (re.compile(r"data:[\w/+.\-]+;base64,[A-Za-z0-9+/=_\-]*"), "<base64 data removed>"),
)
#: Text that looks like base64. A URI is checked folder by folder, because a deep path is not a
#: secret.
_URI_OR_LONG = re.compile(r"[a-z][a-z0-9+.\-]*://[^\s'\"]*|[A-Za-z0-9+/=_\-]{80,}")
_LONG_SEGMENT = re.compile(r"[A-Za-z0-9+=_\-]{80,}")
_REMOVED = "<long value removed>"


def redact(text: str, *secrets: str | None) -> str:
    """Remove keys, signed queries and base64 from a text.

    :param text: a text that may quote the service, a URL or a parameter.
    :param secrets: further texts to remove, for example a webhook secret; ``None`` is ignored.
    :return: the text with a placeholder for each removed part.
    """
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    for pattern, replacement in _SECRET_PATTERNS:
        text = pattern.sub(replacement, text)
    return _URI_OR_LONG.sub(
        lambda match: _LONG_SEGMENT.sub(_REMOVED, match[0]) if "://" in match[0] else _REMOVED, text
    )


def describe_url(url: str) -> str:
    """Return scheme, host and path of a URL. The signature of a signed URL is in its query.

    :param url: any text.
    :return: the shortened URL, or ``<not a URL>``.
    """
    parts = split_url(url)
    if parts is None:
        return "<not a URL>"
    return redact(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


def hide_userinfo(uri: str) -> str:
    """Replace user and password in front of the host of a URI by ``***``.

    :param uri: a URI of an object store. A connection id alone (``s3://my_conn@bucket``) stays.
    """
    return re.sub(r"://[^/\s@:]*:[^/\s@]+@", "://***@", uri)
