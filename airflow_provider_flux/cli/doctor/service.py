"""Checks of the connection and of the service. None of them is billed."""

from __future__ import annotations

import socket
import time
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from airflow_provider_flux.account.budgets.account_budgets import list_budgets
from airflow_provider_flux.bfl.account import credits_request
from airflow_provider_flux.bfl.pricing import describe_credits
from airflow_provider_flux.bfl.request import estimate_cost
from airflow_provider_flux.bfl.settings import REGIONS, FluxSettings
from airflow_provider_flux.bfl.urls import matches_any
from airflow_provider_flux.cli.doctor.check import Finding
from airflow_provider_flux.cli.doctor.spend import cheapest_request
from airflow_provider_flux.hooks.flux import FluxHook

#: Seconds by which the clock may differ: the header Date has whole seconds.
_CLOCK_WARNING_SECONDS = 5.0
_CLOCK_FAILURE_SECONDS = 60.0
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class ServiceChecks:
    """Checks of one connection. Each reads the connection by itself.

    :param flux_conn_id: id of the connection.
    """

    def __init__(self, flux_conn_id: str) -> None:
        self._flux_conn_id = flux_conn_id

    @property
    def _settings(self) -> FluxSettings:
        return FluxHook(self._flux_conn_id).settings

    def check_connection(self) -> Finding:
        """Check that the connection can be read and is valid."""
        settings = self._settings
        return Finding(
            "ok",
            f"{self._flux_conn_id}: a key for {settings.base_url}, max_active "
            f"{settings.max_active}",
        )

    def check_balance(self) -> Finding:
        """Check that BFL accepts the key, and that the balance is enough for one image."""
        balance = FluxHook(self._flux_conn_id).get_conn().get_credits(retry=False)
        request = cheapest_request()
        price = estimate_cost(request).credits or 0.0
        if balance < price:
            return Finding(
                "failed",
                f"The balance is {describe_credits(balance)}, less than the {price:g} credits of "
                f"one image of {request.model}.",
                "Add credits to the BFL account, or use another key.",
            )
        return Finding("ok", f"BFL accepts the key. The balance is {describe_credits(balance)}.")

    def check_budgets(self) -> Finding:
        """Check that no budget of the account is used up, if it has any."""
        rows = list_budgets(self._settings)
        if not rows:
            return Finding("ok", "The connection has no budgets.")
        used_up = [row for row in rows if row["left"] <= 0]
        if used_up:
            first = used_up[0]
            return Finding(
                "warning",
                f"The budget of {first['budget']} is used up until {first['resets']}. Most was "
                f"spent by: {first['spenders']}.",
                "Wait until then, or raise 'budgets' of the connection.",
            )
        shown = [f"{row['left']:g} of {row['budget']} left" for row in rows]
        return Finding("ok", "; ".join(shown))

    def check_region(self) -> Finding:
        """Check that the host of the API is one of BFL, and that its name resolves."""
        settings = self._settings
        parts = urlsplit(settings.base_url)
        host = parts.hostname or ""
        if not _proxy_of(settings):
            try:
                socket.getaddrinfo(host, parts.port or _DEFAULT_PORTS[parts.scheme])
            except OSError as error:
                return Finding(
                    "failed",
                    f"The name {host} does not resolve ({error.strerror}).",
                    "Check the host of the connection and the DNS of this machine, or set proxy.",
                )
        region = next((name for name, url in REGIONS.items() if url == settings.base_url), None)
        if region:
            return Finding("ok", f"region {region}: {settings.base_url}")
        if matches_any(host, ["*.bfl.ai"]) or host in _LOOPBACK:
            return Finding("ok", f"{settings.base_url} is {_kind_of(host)}.")
        if parts.scheme == "http":
            return Finding(
                "warning",
                f"{settings.base_url} is {_kind_of(host)}, and the key is sent to it unencrypted.",
                "Use https, or leave the host of the connection empty for BFL.",
            )
        return Finding("ok", f"{settings.base_url} is {_kind_of(host)}. It gets the key.")

    def check_proxy(self) -> Finding:
        """Check that the proxy, if there is one, accepts connections."""
        settings = self._settings
        proxy = _proxy_of(settings)
        if not proxy:
            return Finding("ok", "No proxy is used.")
        source = "the connection" if settings.proxy else "the environment"
        remedy = "Fix the field proxy of the connection, or HTTPS_PROXY and NO_PROXY."
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        try:
            address = (parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme, 80))
        except ValueError:
            return Finding("failed", f"The proxy from {source} has no valid port.", remedy)
        shown = f"{address[0]}:{address[1]}, from {source}"
        try:
            socket.create_connection(address, timeout=settings.connect_timeout).close()
        except OSError as error:
            return Finding(
                "failed",
                f"The proxy {shown}, cannot be reached ({type(error).__name__}).",
                remedy,
            )
        return Finding("ok", f"The proxy {shown}, accepts connections.")

    def check_clock(self) -> Finding:
        """Compare the clock of this machine with the header ``Date`` of the service."""
        from airflow_provider_flux.client.transport import RequestsTransport

        settings = self._settings
        before = time.time()
        answer = RequestsTransport(settings).send(credits_request(settings))
        now = (before + time.time()) / 2
        try:
            theirs = parsedate_to_datetime(answer.headers["Date"]).timestamp()
        except (KeyError, ValueError, TypeError):
            return Finding("skipped", "The answer of the service has no valid header Date.")
        offset = now - theirs - 0.5  # the header is rounded down
        text = f"The clock of this machine is {abs(offset):.0f} s "
        text += f"{'ahead of' if offset > 0 else 'behind'} that of the service."
        remedy = "Synchronize the clock of this machine, for example with chrony."
        if abs(offset) > _CLOCK_FAILURE_SECONDS:
            return Finding("failed", text, remedy)
        if abs(offset) > _CLOCK_WARNING_SECONDS:
            return Finding("warning", text, remedy)
        return Finding("ok", "The clocks of this machine and of the service agree.")

    def check_trusted_hosts(self) -> Finding:
        """Check that the trusted hosts exist, and that no pattern trusts a whole top level."""
        settings = self._settings
        hosts = settings.trusted_hosts
        if not hosts:
            return Finding("ok", "Only the hosts of BFL and of the connection are trusted.")
        broad = [host for host in hosts if host.startswith("*.") and host.count(".") < 2]
        if broad:
            return Finding(
                "failed",
                f"trusted_hosts has {', '.join(broad)}: the key may go to anybody there.",
                "Name your own hosts in trusted_hosts of the connection.",
            )
        unknown = [] if _proxy_of(settings) else [host for host in hosts if not _resolves(host)]
        if unknown:
            return Finding(
                "warning",
                f"These trusted hosts do not resolve: {', '.join(unknown)}.",
                "Correct trusted_hosts of the connection.",
            )
        return Finding("ok", f"Trusted beside BFL: {', '.join(hosts)}.")


def _resolves(host: str) -> bool:
    if host.startswith("*."):
        return True
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True


def _proxy_of(settings: FluxSettings) -> str | None:
    """Return the proxy for the API; ``None`` if it is reached without one."""
    if settings.proxy:
        return settings.proxy
    from requests.utils import get_environ_proxies, select_proxy  # as the client decides

    proxy: str | None = select_proxy(settings.base_url, get_environ_proxies(settings.base_url))
    return proxy


def _kind_of(host: str) -> str:
    if matches_any(host, ["*.bfl.ai"]):
        return "a host of BFL"
    return "a service on this machine" if host in _LOOPBACK else "no host of BFL, but a gateway"
