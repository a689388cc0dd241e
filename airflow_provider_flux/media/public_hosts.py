"""Connections of the worker to public addresses only."""

from __future__ import annotations

import ipaddress
from typing import Any

from requests.adapters import HTTPAdapter
from requests_hardened.ip_filter import InvalidIPAddress  # type: ignore[import-untyped]
from requests_hardened.ip_filter_adapter import IPFilterAdapter  # type: ignore[import-untyped]

from airflow_provider_flux.client.urllib3_adapter import TimeoutAdapter, TimeoutMixin

#: Networks that ``ipaddress`` calls global, at least in some versions, although an address in them
#: can lead to a private one: old forms and tunnels of IPv4, and site-local addresses.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "::/96",
        "::ffff:0:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2001::/23",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
    )
)


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet.

    :param address: an IPv4 or IPv6 address.
    :raises ValueError: if it is not an address.
    """
    ip = ipaddress.ip_address(address.partition("%")[0].strip("[]"))
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    in_other = any(ip in network for network in _NOT_PUBLIC if network.version == ip.version)
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and not in_other


def is_private_literal(host: str) -> bool:
    """Whether a host is an IP address, and not a public one.

    :param host: host of a URL.
    """
    try:
        return not is_public(host)
    except ValueError:
        return False


def make_adapter(scheme: str, read_timeout: float, *, is_private: bool) -> HTTPAdapter:
    """Return the adapter for the connections to one host.

    :param scheme: ``http`` or ``https``.
    :param read_timeout: see :class:`AnswerTime`.
    :param is_private: whether the host may have a private address.
    """
    if is_private:
        return TimeoutAdapter(read_timeout)
    return _PublicAdapter(scheme, read_timeout)


class _PublicAdapter(TimeoutMixin, IPFilterAdapter):  # type: ignore[misc]
    """An adapter that connects to the public address that it has checked, and to no other."""

    def __init__(self, scheme: str, read_timeout: float) -> None:
        self.timeout_when_open = read_timeout
        super().__init__(is_https_proto=scheme == "https")

    def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> Any:
        """Return the keys of the pool, with the address in the place of the host.

        :param args: arguments of :class:`requests.adapters.HTTPAdapter`.
        :param kwargs: arguments of :class:`requests.adapters.HTTPAdapter`.
        :raises InvalidIPAddress: if the address is not public.
        """
        host_params, pool_kwargs = super().build_connection_pool_key_attributes(*args, **kwargs)
        if not is_public(host_params["host"]):
            raise InvalidIPAddress
        return host_params, pool_kwargs
