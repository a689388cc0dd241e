"""The address by which a client reaches the emulator, also through a reverse proxy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.requests import Request

_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
#: The two names of the loopback address: a redirect from one to the other changes the host.
_OTHER_NAMES = {"localhost": "127.0.0.1"}


def external_base_url(request: Request) -> str:
    """Return scheme, host and path prefix by which the client reached the emulator.

    The header ``Forwarded`` counts, else ``X-Forwarded-Host``, ``-Port`` and ``-Proto``.
    ``X-Forwarded-Prefix`` adds a path. Of several values, the first counts, which the outermost
    proxy wrote. A value that is no host, port, scheme or path is ignored.

    :param request: the HTTP request.
    """
    hop = _read_hop(request)
    own = urlsplit(str(request.base_url))
    scheme = hop["proto"] if hop["proto"] in _DEFAULT_PORTS else own.scheme
    host = _HOST.fullmatch(hop["host"]) or _HOST.fullmatch(own.netloc)
    if host is None:  # an unusual Host header: keep what the server makes of it
        return str(request.base_url).rstrip("/")
    port = host["port"] or ""
    if hop["port"].isdecimal() and (hop["host"] == "" or not port):
        port = hop["port"]
    if port == _DEFAULT_PORTS[scheme]:
        port = ""
    prefix = _PREFIX.fullmatch(hop["prefix"].rstrip("/"))
    return f"{scheme}://{host['name']}{':' if port else ''}{port}{prefix[0] if prefix else ''}"


def external_url(request: Request) -> str:
    """Return the URL of a request as the client sent it.

    :param request: the HTTP request.
    """
    return _with_path(external_base_url(request), request)


def url_by_other_name(request: Request) -> str:
    """Return the URL of a request under the other name of this machine.

    ``127.0.0.1`` becomes ``localhost``, and ``localhost`` becomes ``127.0.0.1``.

    :param request: the HTTP request.
    """
    parts = urlsplit(external_base_url(request))
    name = _OTHER_NAMES.get(parts.hostname or "", "localhost")
    netloc = f"{name}:{parts.port}" if parts.port else name
    return _with_path(f"{parts.scheme}://{netloc}{parts.path}", request)


def _with_path(base_url: str, request: Request) -> str:
    query = f"?{request.url.query}" if request.url.query else ""
    return f"{base_url}{request.url.path}{query}"


def _read_hop(request: Request) -> Mapping[str, str]:
    """Return host, port, proto and prefix that the outermost proxy reports; empty if unknown."""

    def first(name: str) -> str:
        return request.headers.get(name, "").partition(",")[0].strip()

    hop = {name: first(f"x-forwarded-{name}") for name in ("host", "port", "proto", "prefix")}
    pairs = (part.partition("=") for part in first("forwarded").split(";"))
    forwarded = {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}
    if "host" in forwarded or "proto" in forwarded:
        hop |= {"host": forwarded.get("host", ""), "port": "", "proto": forwarded.get("proto", "")}
    return hop | {"proto": hop["proto"].lower()}
