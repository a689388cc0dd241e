"""URLs, accepted only if every HTTP library reads the same host from them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import SplitResult, urlsplit

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?"
#: A host name or IP address that every HTTP library reads the same: no trailing dot, no empty
#: label.
HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*|[0-9a-f.]*:[0-9a-f:.]*")
_PLAIN_URL = re.compile(r"[!-\[\]-~]+")  # printable ASCII without the backslash


def split_url(url: str) -> SplitResult | None:
    """Split a URL whose host every HTTP library reads the same.

    A backslash, for example, ends the host for urllib3 and is part of it for ``urlsplit``. A host
    that looks like a subdomain of bfl.ai would be a different one.

    :param url: any text.
    :return: its parts, or ``None`` if the text is not a URL or its host is ambiguous.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises on a port that is not a number
    except ValueError:
        return None
    return parts if _PLAIN_URL.fullmatch(url) and HOST.fullmatch(parts.hostname or "") else None


def host_of(url: str) -> str | None:
    """Return the host of an http(s) URL.

    :param url: any text.
    :return: the host, or ``None`` if the URL is not http(s) or its host is ambiguous.
    """
    parts = split_url(url)
    return parts.hostname if parts is not None and parts.scheme in {"http", "https"} else None


def matches_any(host: str, patterns: Iterable[str]) -> bool:
    """Whether a host matches at least one pattern.

    :param host: a host name in lower case.
    :param patterns: hosts, or ``*.domain`` for a domain and everything below it.
    """
    return any(_matches(host, pattern) for pattern in patterns)


def _matches(host: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return host == pattern[2:] or host.endswith(pattern[1:])
    return host == pattern
