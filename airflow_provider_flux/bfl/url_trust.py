"""Who may get the API key, what may be downloaded, and what may be written to a log.

The service answers a submit with a polling URL on any of its clusters, and a result with a signed
delivery URL on another host. Both come from outside, so both are checked before they are followed:
a forged one would send the key, or read an internal address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

from airflow_provider_flux.bfl.errors import FluxUntrustedURLError
from airflow_provider_flux.bfl.settings import HOST, FluxSettings

# BFL serves results from its own domain, and from its Azure storage accounts directly.
_DELIVERY_BLOB = re.compile(r"bfldelivery[a-z0-9]*\.blob\.core\.windows\.net")
_PLAIN_URL = re.compile(r"[!-\[\]-~]+")  # printable ASCII without the backslash
_SECRET_SHAPES = (
    (re.compile(r"(https?://[^\s'\"?]+)\?[^\s'\"]*"), r"\1?<query removed>"),
    (re.compile(r"bfl_[A-Za-z0-9_\-]+"), "bfl_***"),
    (re.compile(r"data:[\w/+.\-]+;base64,[A-Za-z0-9+/=_\-]*"), "<base64 data removed>"),
)
#: What looks like base64. In a URI it is looked for folder by folder: a deep path is no secret.
_URI_OR_LONG = re.compile(r"[a-z][a-z0-9+.\-]*://[^\s'\"]*|[A-Za-z0-9+/=_\-]{80,}")
_LONG_PART = re.compile(r"[A-Za-z0-9+=_\-]{80,}")
_REMOVED = "<long value removed>"


def check_polling_url(url: str, settings: FluxSettings) -> str:
    """Return ``url`` if the key may be sent to it.

    :raises FluxUntrustedURLError: if it is not https on ``bfl.ai``, on the host of the connection, or
        on one of its ``trusted_hosts``.
    """
    if not _is_service_url(url, settings):
        raise FluxUntrustedURLError(_refusal("polling", url))
    return url


def check_delivery_url(url: str, settings: FluxSettings) -> str:
    """Return ``url`` if a result may be downloaded from it (always without the key).

    :raises FluxUntrustedURLError: if it is neither on a host of :func:`check_polling_url` nor in one
        of BFL's delivery storage accounts.
    """
    parts = _split(url)
    is_blob = (
        parts is not None
        and _is_plain_https(parts)
        and bool(_DELIVERY_BLOB.fullmatch(parts.hostname or ""))
    )
    if not is_blob and not _is_service_url(url, settings):
        raise FluxUntrustedURLError(_refusal("delivery", url))
    return url


def host_of(url: str) -> str | None:
    """Return the host of an http(s) URL that every HTTP library reads the same; ``None`` for any other."""
    parts = _split(url)
    return parts.hostname if parts is not None and parts.scheme in {"http", "https"} else None


def matches_any(host: str, patterns: Iterable[str]) -> bool:
    """Whether a host is one of the given hosts or ``*.domain`` patterns."""
    return any(_matches(host, pattern) for pattern in patterns)


def hide_userinfo(uri: str) -> str:
    """Return a URI without a password in front of its host; a connection id alone stays."""
    return re.sub(r"://[^/\s@:]*:[^/\s@]+@", "://***@", uri)


def redact(text: str, *secrets: str | None) -> str:
    """Return ``text`` without keys, signed queries, base64 bodies and the given ``secrets``."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    for shape, replacement in _SECRET_SHAPES:
        text = shape.sub(replacement, text)
    return _URI_OR_LONG.sub(
        lambda found: _LONG_PART.sub(_REMOVED, found[0]) if "://" in found[0] else _REMOVED, text
    )


def describe_url(url: str) -> str:
    """Return scheme, host and path of ``url``, for a log: what is signed is in the query."""
    parts = _split(url)
    return (
        redact(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")
        if parts
        else "<not a URL>"
    )


def _split(url: str) -> SplitResult | None:
    """Split a URL whose host every HTTP library reads the same; ``None`` for any other.

    A backslash, say, ends the host for urllib3 and is part of it for urlsplit: what looks like a host
    below bfl.ai would be another one.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises on a port that is not a number
    except ValueError:
        return None
    return parts if _PLAIN_URL.fullmatch(url) and HOST.fullmatch(parts.hostname or "") else None


def _is_plain_https(parts: SplitResult) -> bool:
    return (
        parts.scheme == "https"
        and parts.port in {None, 443}
        and not parts.username
        and not parts.password
    )


def _is_service_url(url: str, settings: FluxSettings) -> bool:
    parts = _split(url)
    if parts is None or not parts.hostname or parts.username or parts.password:
        return False
    base = urlsplit(settings.base_url)
    if parts.scheme != base.scheme and parts.scheme != "https":
        return False
    if (parts.scheme, parts.netloc.lower()) == (base.scheme, base.netloc.lower()):
        return True
    if matches_any(parts.hostname, settings.trusted_hosts):
        return True
    return _is_plain_https(parts) and _matches(parts.hostname, "*.bfl.ai")


def _matches(host: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return host == pattern[2:] or host.endswith(pattern[1:])
    return host == pattern


def _refusal(kind: str, url: str) -> str:
    return (
        f"Refused the {kind} URL {describe_url(url)}: not https on a host of BFL, and not the host of the "
        "connection. If it is a gateway of yours, name its host in the connection's 'trusted_hosts'."
    )
