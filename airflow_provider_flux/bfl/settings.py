"""The settings of a BFL account, read and checked. They are independent of Airflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, urlsplit

from airflow_provider_flux.bfl.account_path import check_account_path
from airflow_provider_flux.bfl.budget_rules import BudgetRule, read_budget_rules
from airflow_provider_flux.bfl.errors import FluxConfigurationError
from airflow_provider_flux.bfl.quota_settings import (
    DEFAULT_MAX_ACTIVE,
    read_flag,
    read_max_active,
)
from airflow_provider_flux.bfl.urls import HOST

#: Global, EU (GDPR) and US endpoints (source: BFL integration guidelines).
REGIONS: Mapping[str, str] = {
    "global": "https://api.bfl.ai",
    "eu": "https://api.eu.bfl.ai",
    "us": "https://api.us.bfl.ai",
}


@dataclass(frozen=True)
class FluxSettings:
    """The settings of a BFL account.

    :param api_key: sent in the header ``x-key``. Not part of the repr.
    :param base_url: scheme and host of the API, without a trailing slash.
    :param connect_timeout: seconds to open a connection, by default 10.
    :param read_timeout: seconds that an answer may take, and the longest silence within it, by
        default 60. A large answer gets a second more for each 64 KiB that arrived.
    :param proxy: URL of an HTTP proxy. Without it, ``HTTPS_PROXY`` and ``HTTP_PROXY`` apply.
    :param max_active: how many requests may be active at once on the account, by default 24
        (source: BFL's concurrency limits).
    :param webhook_secret: default for ``webhook_secret`` of requests with a ``webhook_url``.
    :param webhook_hosts: hosts, or ``*.domain`` patterns, that may get ``webhook_secret``, besides
        those that the source of a DAG names.
    :param trusted_hosts: hosts, or ``*.domain`` patterns, that may also serve polling and delivery
        URLs, for example your own gateway. BFL's hosts are always trusted.
    :param private_input_hosts: hosts, or ``*.domain`` patterns, with private addresses from which
        the worker may read inputs. BFL cannot reach them, so the worker sends the bytes.
    :param account_path: URI or absolute path of a folder that all tasks of the account share,
        without a slash at its end.
    :param pause: whether no task submits anything, by default ``False``.
    :param budgets: credits that may be spent in each period.
    """

    api_key: str = field(repr=False)
    base_url: str = REGIONS["global"]
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    proxy: str | None = field(default=None, repr=False)
    max_active: int = DEFAULT_MAX_ACTIVE
    webhook_secret: str | None = field(default=None, repr=False)
    webhook_hosts: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    private_input_hosts: tuple[str, ...] = ()
    account_path: str | None = None
    pause: bool = False
    budgets: tuple[BudgetRule, ...] = ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that must never appear in a log or a message."""
        return tuple(secret for secret in (self.api_key, self.webhook_secret) if secret)


def read_settings(
    *, api_key: str | None, base_url: str | None, extra: Mapping[str, Any], source: str
) -> FluxSettings:
    """Check configuration values and return them as :class:`FluxSettings`.

    :param api_key: the key of the account.
    :param base_url: scheme and host of the API. ``None`` derives it from ``region`` of ``extra``.
    :param extra: all other settings by their names, as texts or JSON values.
    :param source: origin of the values for the message, for example ``connection 'flux_default'``.
    :raises FluxConfigurationError: if a value is missing or malformed. The message names the field
        and the remedy, and never the key.
    """
    return FluxSettings(
        api_key=_check_key(api_key, source),
        base_url=_check_base_url(base_url or _region_url(extra.get("region"), source), source),
        connect_timeout=_number(extra, "connect_timeout", 10.0, source),
        read_timeout=_number(extra, "read_timeout", 60.0, source),
        proxy=_check_proxy(extra.get("proxy"), source),
        max_active=read_max_active(extra, source),
        webhook_secret=str(extra["webhook_secret"]) if extra.get("webhook_secret") else None,
        webhook_hosts=_names(extra, "webhook_hosts", source),
        trusted_hosts=_names(extra, "trusted_hosts", source),
        private_input_hosts=_names(extra, "private_input_hosts", source),
        account_path=check_account_path(extra.get("account_path"), source),
        pause=read_flag(extra, "pause", source),
        budgets=read_budget_rules(extra, source),
    )


def _check_key(key: str | None, source: str) -> str:
    if not key:
        raise FluxConfigurationError(
            f"{source} has no API key. Enter your BFL key (bfl_...) in the password field, or set "
            "the environment variable BFL_API_KEY."
        )
    if not key.isascii() or any(c.isspace() or not c.isprintable() for c in key):
        raise FluxConfigurationError(
            f"The API key of {source} contains a space, a line break or another character that a "
            "key cannot contain (a file with a trailing newline?). Store only the key."
        )
    return key


def _region_url(region: Any, source: str) -> str:
    url = REGIONS.get(str(region or "global"))
    if url is None:
        raise FluxConfigurationError(
            f"region={region!r} in {source} is unknown. Use one of: {', '.join(REGIONS)}."
        )
    return url


def _check_base_url(url: str, source: str) -> str:
    # It may contain a password, or the key.
    shown = "<not shown>" if "@" in url or "bfl_" in url else repr(url)
    parts = _split(url)
    if (
        parts is None
        or parts.scheme not in {"http", "https"}
        or not HOST.fullmatch(parts.hostname or "")
    ):
        raise FluxConfigurationError(
            f"host={shown} in {source} is not a URL with scheme and host. Write it like "
            f"{REGIONS['global']}."
        )
    if parts.username or parts.password or parts.query or parts.fragment or parts.path.strip("/"):
        raise FluxConfigurationError(
            f"host in {source} has a user, a path or a query. Write only scheme and host, like "
            f"{REGIONS['global']}."
        )
    if parts.scheme == "http" and f".{parts.hostname}".endswith(".bfl.ai"):
        raise FluxConfigurationError(
            f"host={shown} in {source} would send the key unencrypted. Use https."
        )
    return url.rstrip("/")


def _check_proxy(proxy: Any, source: str) -> str | None:
    if not proxy:
        return None
    parts = _split(str(proxy))
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise FluxConfigurationError(
            f"proxy in {source} is not a URL. Write it like http://proxy.example:3128."
        )
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
        raise FluxConfigurationError(
            f"{name}={value!r} in {source} is not a number greater than 0."
        )
    return number


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises on a port that cannot be one
    except ValueError:
        return None
    return parts


def _names(extra: Mapping[str, Any], name: str, source: str) -> tuple[str, ...]:
    value = extra.get(name) or ()
    if not isinstance(value, (str, list, tuple)):
        raise FluxConfigurationError(
            f"{name}={value!r} in {source} is not a list of hosts. Separate host names by commas."
        )
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(str(part).strip().lower() for part in parts if str(part).strip())
