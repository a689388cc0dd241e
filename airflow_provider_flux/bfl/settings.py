"""How to reach a BFL account: checked values, from whatever configuration held them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_flux.bfl.errors import FluxConfigurationError

#: Global, EU (GDPR) and US endpoints (source: BFL integration guidelines).
REGIONS: Mapping[str, str] = {
    "global": "https://api.bfl.ai",
    "eu": "https://api.eu.bfl.ai",
    "us": "https://api.us.bfl.ai",
}


@dataclass(frozen=True)
class FluxSettings:
    """A BFL account and how to talk to it.

    :param api_key: sent as ``x-key``; never part of the repr.
    :param base_url: scheme and host of the API, without a trailing slash.
    :param connect_timeout: seconds to open a connection.
    :param read_timeout: seconds to wait for the next bytes of an answer.
    :param proxy: URL of an HTTP proxy; without it the usual environment variables count.
    :param max_active: how many tasks may be active at once on the account.
    :param webhook_secret: default for ``webhook_secret`` of requests with a ``webhook_url``.
    :param trusted_hosts: hosts, or ``*.domain`` patterns, that may also serve polling and delivery
        URLs: a gateway of your own, say. BFL's hosts are always trusted.
    """

    api_key: str = field(repr=False)
    base_url: str = REGIONS["global"]
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    proxy: str | None = field(default=None, repr=False)
    max_active: int = 24
    webhook_secret: str | None = field(default=None, repr=False)
    trusted_hosts: tuple[str, ...] = ()


def read_settings(*, api_key: str | None, base_url: str | None, extra: Mapping[str, Any], source: str) -> FluxSettings:
    """Check configuration values and return them as :class:`FluxSettings`.

    :param source: where the values came from (``connection 'flux_default'``), for the error message.
    :raises FluxConfigurationError: naming the field, the fault and the way out; never the key.
    """
    return FluxSettings(
        api_key=_check_key(api_key, source),
        base_url=_check_base_url(base_url or _region_url(extra.get("region"), source), source),
        connect_timeout=_number(extra, "connect_timeout", 10.0, source),
        read_timeout=_number(extra, "read_timeout", 60.0, source),
        proxy=_check_proxy(extra.get("proxy"), source),
        max_active=_whole_number(extra, "max_active", 24, source),
        webhook_secret=extra.get("webhook_secret") or None,
        trusted_hosts=_names(extra.get("trusted_hosts")),
    )


def _check_key(key: str | None, source: str) -> str:
    if not key:
        raise FluxConfigurationError(
            f"{source} has no API key. Put your BFL key (bfl_...) into the password field, "
            "or set the environment variable BFL_API_KEY."
        )
    if not key.isascii() or any(c.isspace() or not c.isprintable() for c in key):
        raise FluxConfigurationError(
            f"The API key of {source} holds a space, a line break or another character that cannot be in a "
            "key (a file with a trailing newline?). Store the key alone."
        )
    return key


def _region_url(region: Any, source: str) -> str:
    url = REGIONS.get(str(region or "global"))
    if url is None:
        raise FluxConfigurationError(f"region={region!r} in {source} is not known. Use one of: {', '.join(REGIONS)}.")
    return url


def _check_base_url(url: str, source: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise FluxConfigurationError(
            f"host={url!r} in {source} is not a URL with scheme and host. Write it like {REGIONS['global']}."
        )
    if parts.username or parts.password or parts.query or parts.fragment or parts.path.strip("/"):
        raise FluxConfigurationError(
            f"host in {source} must be scheme and host only, like {REGIONS['global']}: no user, path or query."
        )
    if parts.scheme == "http" and (parts.hostname == "bfl.ai" or parts.hostname.endswith(".bfl.ai")):
        raise FluxConfigurationError(f"host={url!r} in {source} would send the key unencrypted. Use https.")
    return url.rstrip("/")


def _check_proxy(proxy: Any, source: str) -> str | None:
    if not proxy:
        return None
    parts = urlsplit(str(proxy))
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise FluxConfigurationError(f"proxy in {source} is not a URL like http://proxy.example:3128.")
    return str(proxy)


def _number(extra: Mapping[str, Any], name: str, default: float, source: str) -> float:
    value = extra.get(name)
    if value is None or value == "":
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number < float("inf"):
        raise FluxConfigurationError(f"{name}={value!r} in {source} must be a number greater than 0.")
    return number


def _whole_number(extra: Mapping[str, Any], name: str, default: int, source: str) -> int:
    number = _number(extra, name, default, source)
    if number != int(number):
        raise FluxConfigurationError(f"{name}={extra[name]!r} in {source} must be a whole number of 1 or more.")
    return int(number)


def _names(value: Any) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else list(value or ())
    return tuple(str(part).strip().lower() for part in parts if str(part).strip())
