"""Trust in URLs of the service: hosts that may get the API key, and hosts of downloads.

The service answers a submit with a polling URL on any of its clusters, and a poll with a signed
delivery URL on another host (source: BFL's integration guidelines and published answers). Both come
from outside, so both are checked before they are used: a forged one would send the key to a
stranger or read an internal address.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

from airflow_provider_flux.bfl.errors import FluxUntrustedURLError
from airflow_provider_flux.bfl.redaction import describe_url
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.bfl.urls import matches_any, split_url

#: Longest URL whose check is kept.
_MAX_CACHED_CHARACTERS = 1024
#: BFL serves results from its own domain, and directly from its Azure storage accounts.
_DELIVERY_ACCOUNT = re.compile(r"bfldelivery[a-z0-9]*\.blob\.core\.windows\.net")


def check_polling_url(url: str, settings: FluxSettings, *, kind: str = "polling") -> str:
    """Return a polling URL if the API key may be sent to it.

    :param url: the polling URL of a submit's answer, or a redirect of one.
    :param settings: the account; its ``base_url`` and ``trusted_hosts`` are trusted besides bfl.ai.
    :param kind: what the URL is, for the error.
    :raises FluxUntrustedURLError: if the URL is not https on ``bfl.ai``, not on the host of the
        connection, and not on one of its ``trusted_hosts``.
    """
    if not _is_service_url(url, settings):
        raise FluxUntrustedURLError(_refusal(kind, url))
    return url


def check_delivery_url(url: str, settings: FluxSettings) -> str:
    """Return a delivery URL if a result may be downloaded from it. The key is never sent to it.

    :param url: the signed URL of a result, or a redirect of one.
    :param settings: the account; see :func:`check_polling_url`.
    :raises FluxUntrustedURLError: if the URL is neither on a host that :func:`check_polling_url`
        accepts nor in one of BFL's delivery storage accounts.
    """
    parts = split_url(url)
    is_in_delivery_account = (
        parts is not None
        and _is_plain_https(parts)
        and bool(_DELIVERY_ACCOUNT.fullmatch(parts.hostname or ""))
    )
    if not is_in_delivery_account and not _is_service_url(url, settings):
        raise FluxUntrustedURLError(_refusal("delivery", url))
    return url


def _is_plain_https(parts: SplitResult) -> bool:
    return (
        parts.scheme == "https"
        and parts.port in {None, 443}
        and not parts.username
        and not parts.password
    )


def _is_service_url(url: str, settings: FluxSettings) -> bool:
    is_short = len(url) <= _MAX_CACHED_CHARACTERS
    return (_is_cached_service_url if is_short else _is_any_service_url)(url, settings)


def _is_any_service_url(url: str, settings: FluxSettings) -> bool:
    parts = split_url(url)
    if parts is None or not parts.hostname or parts.username or parts.password:
        return False
    base = urlsplit(settings.base_url)
    if parts.scheme != base.scheme and parts.scheme != "https":
        return False
    if (parts.scheme, parts.netloc.lower()) == (base.scheme, base.netloc.lower()):
        return True
    if matches_any(parts.hostname, settings.trusted_hosts):
        return True
    return _is_plain_https(parts) and matches_any(parts.hostname, ["*.bfl.ai"])


#: A generation is polled many times, always at the same URL.
_is_cached_service_url = lru_cache(maxsize=1024)(_is_any_service_url)


def _refusal(kind: str, url: str) -> str:
    return (
        f"Refused the {kind} URL {describe_url(url)}: it is neither https on a host of BFL nor on "
        "the host of the connection. If it is your own gateway, add its host to 'trusted_hosts' "
        "of the connection."
    )
