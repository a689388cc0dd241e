"""FluxHook: from an Airflow connection to a client of the BFL API."""

from __future__ import annotations

import importlib
import os
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import (
    AirflowNotFoundException,
    AirflowTaskTimeout,
    BaseHook,
)

from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxError, FluxRequestError
from airflow_provider_flux.bfl.pricing import USD_PER_CREDIT
from airflow_provider_flux.bfl.priority import Priority
from airflow_provider_flux.bfl.redaction import describe_url
from airflow_provider_flux.bfl.request import GenerationRequest, build_request
from airflow_provider_flux.bfl.responses import Submission
from airflow_provider_flux.bfl.settings import FluxSettings, read_settings
from airflow_provider_flux.bfl.urls import host_of, matches_any
from airflow_provider_flux.compat import mask_secret
from airflow_provider_flux.configured_models import known_models

if TYPE_CHECKING:
    from airflow_provider_flux.client.aio import FluxAsyncClient
    from airflow_provider_flux.client.base import SubmitObserver
    from airflow_provider_flux.client.sync import FluxClient


class FluxHook(BaseHook):
    """Make clients of the BFL API with the key and the host of an Airflow connection.

    :meth:`get_conn` returns the synchronous client, with a method for each route of the API.
    :meth:`async_client` returns the asynchronous one.

    Without a connection ``flux_default`` the environment variables ``BFL_API_KEY`` and
    ``BFL_API_BASE`` are used. Proxies come from the connection, or from the usual environment
    variables.

    :param flux_conn_id: connection of type ``flux``: password = API key, host = base URL (default
        ``https://api.bfl.ai``), extras ``region``, ``connect_timeout``, ``read_timeout``,
        ``proxy``, ``max_active``, ``pause``, ``account_path``, ``budgets``, ``webhook_secret``,
        ``webhook_hosts``, ``trusted_hosts``, ``private_input_hosts``.
    :param webhook_hosts: hosts of webhooks that the source of the DAG names. The secret of the
        connection goes to them and to ``webhook_hosts`` of the connection only.
    """

    conn_name_attr: ClassVar[str] = "flux_conn_id"
    default_conn_name: ClassVar[str] = "flux_default"
    conn_type: ClassVar[str] = "flux"
    hook_name: ClassVar[str] = "FLUX (Black Forest Labs)"

    def __init__(
        self, flux_conn_id: str = default_conn_name, *, webhook_hosts: Collection[str] = ()
    ) -> None:
        super().__init__()
        self.webhook_hosts = webhook_hosts
        self.flux_conn_id = flux_conn_id

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Describe the connection form for Airflow before 3.2.

        Newer versions read the provider metadata.
        """
        from airflow_provider_flux.provider_info import CONNECTION_FORM

        return dict(CONNECTION_FORM)

    @cached_property
    def settings(self) -> FluxSettings:
        """The checked settings of the connection.

        :raises FluxConfigurationError: if the connection is missing, malformed, or not of type
            ``flux``.
        """
        try:
            connection = self.get_connection(self.flux_conn_id)
        except AirflowNotFoundException:
            return self._settings_from_environment()
        self._check_type(connection.conn_type)
        host = connection.host
        # Airflow's UI stores and sends port 0 for none.
        if host and connection.port and not host.endswith(f":{connection.port}"):
            host = f"{host}:{connection.port}"
        return _read_and_mask(
            connection.password, host, connection.extra_dejson, f"connection {self.flux_conn_id!r}"
        )

    def _check_type(self, conn_type: str | None) -> None:
        """Refuse a connection of another type, whose password is the secret of another service."""
        if conn_type == self.conn_type:
            return
        found = f"has the type {conn_type!r}" if conn_type else "has no type"
        raise FluxConfigurationError(
            f"The connection {self.flux_conn_id!r} {found}, so its password is not sent to BFL. "
            f"Name a connection of type {self.conn_type!r}, or set the type of this one: in JSON "
            f'"conn_type": "{self.conn_type}", in a URI {self.conn_type}://.'
        )

    def _settings_from_environment(self) -> FluxSettings:
        key = os.environ.get("BFL_API_KEY")
        if self.flux_conn_id != self.default_conn_name or not key:
            raise FluxConfigurationError(
                f"The connection {self.flux_conn_id!r} does not exist. Create it (type 'flux', "
                "password = your BFL key), or set BFL_API_KEY, which is used if "
                f"{self.default_conn_name!r} does not exist."
            )
        return _read_and_mask(
            key, os.environ.get("BFL_API_BASE"), {}, "the environment (BFL_API_KEY, BFL_API_BASE)"
        )

    def get_conn(self) -> FluxClient:
        """Return the synchronous client of the connection. Threads may share it.

        :raises FluxConfigurationError: if the connection is missing or malformed.
        """
        return self._client

    @cached_property
    def _client(self) -> FluxClient:
        from airflow_provider_flux.client.sync import FluxClient  # requests: not at DAG parse time

        return FluxClient(self.settings, log=self.log, interruptions=(AirflowTaskTimeout,))

    def prepare_async(self) -> None:
        """Read the connection and import aiohttp: the blocking part of :meth:`async_client`.

        Call it in a thread, before :meth:`async_client`. Before Airflow 3.3.2 a connection must not
        be read on an event loop at all.
        """
        _ = self.settings
        importlib.import_module("airflow_provider_flux.client.aio")

    def async_client(self) -> FluxAsyncClient:
        """Return the asynchronous client of the connection, to be used once with ``async with``."""
        from airflow_provider_flux.client.aio import FluxAsyncClient  # aiohttp: not at parse time

        return FluxAsyncClient(self.settings)

    def build_request(self, model: str, parameters: Mapping[str, Any]) -> GenerationRequest:
        """Check the parameters of a model and return the request.

        :param model: name of the model: one of the catalog, or of ``[flux] models`` in the
            configuration.
        :param parameters: parameters of the model by BFL's names; images and videos as a URI of an
            object store, a URL, an absolute path or base64.
        :raises FluxRequestError: if the model is unknown or a parameter is not valid.
        """
        return build_request(model, parameters, models=known_models())

    def prepare_inputs(
        self, request: GenerationRequest
    ) -> AbstractContextManager[GenerationRequest]:
        """Read and check the inputs of a request: files of the worker inside the ``with`` block.

        :param request: the request.
        :raises FluxRequestError: if an input is of the wrong kind, or breaks a limit.
        :raises FluxInputError: if an input is missing, or cannot be read. A retry may help.
        """
        # It imports Pillow, which parsing a DAG does not need.
        from airflow_provider_flux.media.prepare import prepare_inputs

        return prepare_inputs(request, self.settings)

    def submit(
        self,
        request: GenerationRequest,
        *,
        max_wait: float = 300.0,
        observer: SubmitObserver | None = None,
        priority: Priority = "normal",
    ) -> Submission:
        """Read the inputs of a request and submit it. **BFL bills this call.**

        See :meth:`~airflow_provider_flux.client.sync.FluxClient.submit` for what is sent again. The
        webhook secret of the connection is added to a request that has a webhook and no secret.

        :param request: the request, for example from :meth:`build_request`.
        :param max_wait: seconds to wait for a free slot while the account is at its limit of active
            generations (429), 300 by default. A last ``Retry-After`` of up to five minutes may be
            added.
        :param observer: object that is called around each POST.
        :param priority: ``high`` submits again soon after a 429, so that it gets the next free
            slot. Default ``normal``: the pauses grow.
        :raises FluxRequestError: if an input or the request is refused.
        :raises FluxInputError: if an input cannot be read; nothing was sent.
        :raises FluxSubmitUncertainError: if the answer was lost.
        :raises FluxError: the other typed refusals; nothing was billed then.
        """
        with self.prepare_inputs(self.with_webhook_secret(request)) as ready:
            return self.get_conn().submit(
                ready, max_wait=max_wait, observer=observer, priority=priority
            )

    def with_webhook_secret(self, request: GenerationRequest) -> GenerationRequest:
        """Add the secret of the connection to a request that has a webhook and no secret.

        :param request: the request.
        :raises FluxRequestError: if neither the source of the DAG nor the connection names the host
            of the webhook. Whoever supplies the URL would get the secret.
        """
        secret, parameters = self.settings.webhook_secret, request.parameters
        if not secret or not parameters.get("webhook_url") or parameters.get("webhook_secret"):
            return request
        self.check_webhook(parameters["webhook_url"])
        return replace(request, parameters={**parameters, "webhook_secret": secret})

    def check_webhook(self, url: Any) -> None:
        """Check that the secret of the connection, if there is one, may be sent to a webhook.

        :param url: URL of the webhook; ``None`` for none.
        :raises FluxRequestError: if neither the source of the DAG nor the connection names its
            host.
        """
        hosts = (*self.webhook_hosts, *self.settings.webhook_hosts)
        if not url or not self.settings.webhook_secret:
            return
        host = host_of(str(url))
        if host is None or not matches_any(host, hosts):
            raise FluxRequestError(
                f"webhook_url={describe_url(str(url))}: the webhook_secret of the connection "
                f"{self.flux_conn_id!r} goes only to hosts that the DAG file names in plain text, "
                "or that the connection names. Add the host to 'webhook_hosts' of the connection."
            )

    def test_connection(self) -> tuple[bool, str]:
        """Check key and host for the Test button, with a call that BFL does not bill.

        :return: whether they work, and a message that never contains the key.
        """
        try:
            balance = self.get_conn().get_credits(retry=False)
        except FluxError as error:
            return False, str(error)
        usd = balance * USD_PER_CREDIT
        return (
            True,
            f"Connected to {self.settings.base_url}: {balance:g} credits left (${usd:.2f}).",
        )


def _read_and_mask(
    key: str | None, host: str | None, extra: Mapping[str, Any], source: str
) -> FluxSettings:
    """Read the settings, and have Airflow mask their secrets in logs."""
    settings = read_settings(api_key=key, base_url=host, extra=extra, source=source)
    proxy_password = urlsplit(settings.proxy or "").password
    for secret in (settings.api_key, settings.webhook_secret, proxy_password):
        if secret:
            mask_secret(secret)
    return settings
