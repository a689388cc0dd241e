"""FluxHook: from an Airflow connection to the BFL API."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import (
    AirflowNotFoundException,
    AirflowTaskTimeout,
    BaseHook,
)
from tenacity import Retrying

from airflow_provider_flux.bfl import account, delivery, protocol, retries
from airflow_provider_flux.bfl.errors import (
    FluxConfigurationError,
    FluxError,
    FluxInsufficientCreditsError,
    FluxSubmitUncertainError,
)
from airflow_provider_flux.bfl.polling import DEFAULT_TIMEOUT, Poller
from airflow_provider_flux.bfl.pricing import USD_PER_CREDIT
from airflow_provider_flux.bfl.request import GenerationRequest, build_request
from airflow_provider_flux.bfl.responses import GenerationResult, Submission
from airflow_provider_flux.bfl.settings import FluxSettings, read_settings
from airflow_provider_flux.client.transport import RequestsTransport
from airflow_provider_flux.client.wait import Waiter
from airflow_provider_flux.compat import mask_secret
from airflow_provider_flux.configured_models import known_models

if TYPE_CHECKING:
    from airflow_provider_flux.client.aio import FluxAsyncClient

_T = TypeVar("_T")


class FluxHook(BaseHook):
    """Talk to BFL with the key and the host of an Airflow connection.

    Without a connection ``flux_default`` the environment variables ``BFL_API_KEY`` and
    ``BFL_API_BASE`` are used. Proxies come from the connection, or from the usual environment
    variables.

    :param flux_conn_id: connection of type ``flux``: password = API key, host = base URL (default
        ``https://api.bfl.ai``), extras ``region``, ``connect_timeout``, ``read_timeout``, ``proxy``,
        ``max_active``, ``webhook_secret``, ``trusted_hosts``, ``private_input_hosts``.
    """

    conn_name_attr: ClassVar[str] = "flux_conn_id"
    default_conn_name: ClassVar[str] = "flux_default"
    conn_type: ClassVar[str] = "flux"
    hook_name: ClassVar[str] = "FLUX (Black Forest Labs)"

    def __init__(self, flux_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.flux_conn_id = flux_conn_id

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Describe the connection form for Airflow before 3.2; newer ones read the provider metadata."""
        from airflow_provider_flux.provider_info import CONNECTION_FORM

        return dict(CONNECTION_FORM)

    @cached_property
    def settings(self) -> FluxSettings:
        """The checked settings of the connection.

        :raises FluxConfigurationError: if the connection is missing or malformed.
        """
        try:
            connection = self.get_connection(self.flux_conn_id)
        except AirflowNotFoundException:
            return self._settings_from_environment()
        host = connection.host
        if host and connection.port:
            host = f"{host}:{connection.port}"
        return self._checked(
            connection.password, host, connection.extra_dejson, f"connection {self.flux_conn_id!r}"
        )

    def _settings_from_environment(self) -> FluxSettings:
        key = os.environ.get("BFL_API_KEY")
        if self.flux_conn_id != self.default_conn_name or not key:
            raise FluxConfigurationError(
                f"The connection {self.flux_conn_id!r} does not exist. Create it (type 'flux', password = your BFL "
                f"key), or set BFL_API_KEY, which is used when {self.default_conn_name!r} does not exist."
            )
        return self._checked(
            key, os.environ.get("BFL_API_BASE"), {}, "the environment (BFL_API_KEY, BFL_API_BASE)"
        )

    def _checked(
        self, key: str | None, host: str | None, extra: Mapping[str, Any], source: str
    ) -> FluxSettings:
        settings = read_settings(api_key=key, base_url=host, extra=extra, source=source)
        proxy_password = urlsplit(settings.proxy or "").password
        for secret in (settings.api_key, settings.webhook_secret, proxy_password):
            if secret:
                mask_secret(secret)
        return settings

    @cached_property
    def _transport(self) -> RequestsTransport:
        return RequestsTransport(self.settings)

    def get_conn(self) -> RequestsTransport:
        """Return the pooled HTTP transport of the connection."""
        return self._transport

    def prepared(self, request: GenerationRequest) -> AbstractContextManager[GenerationRequest]:
        """Read and check the inputs of a request; they are at hand as files inside the ``with`` block.

        :raises FluxRequestError: if an input is of the wrong kind, or breaks a limit.
        :raises FluxInputError: if an input is not there, or could not be read; trying again may help.
        """
        from airflow_provider_flux.media.prepare import prepared  # Pillow: not at DAG parse time

        return prepared(request, self.settings)

    def submit(
        self,
        model: str | GenerationRequest,
        parameters: Mapping[str, Any] | None = None,
        *,
        max_wait: float = 300.0,
        before_post: Callable[[], None] = lambda: None,
        when_refused: Callable[[BaseException], None] = lambda _error: None,
    ) -> Submission:
        """Submit one generation. **This is what BFL bills.**

        It is sent again only after a 429, or when BFL cannot have read a whole request: then nothing
        was paid. Any other loss of the answer is an error, since BFL has no idempotency key. A 402
        that a video is refused with although there are credits counts as a 429.

        :param model: model name, or a request that was built before.
        :param parameters: parameters of the model by BFL's own names; images and videos as a URI of an
            object store, a URL, an absolute path or base64.
        :param max_wait: seconds to wait for a free slot while the account is at its task limit (429);
            a last ``Retry-After`` of up to five minutes may come on top.
        :param before_post: called before each POST. If it raises, nothing is sent.
        :param when_refused: called after each POST that nothing was paid for, with the reason.
        :raises FluxRequestError: if the request is not valid; before anything is sent if we can tell.
        :raises FluxInputError: if an input could not be read; nothing was sent.
        :raises FluxSubmitUncertainError: if the answer was lost.
        :raises FluxError: the other typed refusals; nothing was paid then.
        """
        if not isinstance(model, GenerationRequest):
            model = build_request(model, parameters or {}, models=known_models())
        with self.prepared(self.with_webhook_secret(model)) as request:
            for warning in request.warnings:
                self.log.warning("%s: %s", request.model, warning)
            described = protocol.submit_request(request, self.settings)
            retrying = Retrying(**retries.submit_retries(max_wait), before_sleep=self._log_retry)

            def once() -> Submission:
                try:
                    before_post()
                    return self._submit_once(described, request)
                except FluxSubmitUncertainError:
                    raise
                except (
                    FluxError,
                    AirflowTaskTimeout,
                ) as error:  # a timeout during the POST is an uncertain submit
                    when_refused(error)
                    raise

            return retrying(once)

    def _submit_once(
        self, described: protocol.HttpRequest, request: GenerationRequest
    ) -> Submission:
        try:
            return protocol.read_submission(
                self._transport.send(described), request, now=time.time()
            )
        except FluxInsufficientCreditsError as error:
            if not retries.is_402_ambiguous(request):
                raise
            raise retries.resolve_402(error, request, balance=self._balance()) from None
        except FluxError:
            raise
        except AirflowTaskTimeout as error:
            if not described.is_fully_sent:
                raise
            raise protocol.network_error(
                described, type(error).__name__, nothing_sent=False
            ) from None
        except Exception as error:  # whatever it is, the request may be out
            raise protocol.network_error(
                described, type(error).__name__, nothing_sent=False
            ) from None

    def get_result(self, request_id: str, polling_url: str | None = None) -> GenerationResult:
        """Ask once where a generation stands; transient trouble is retried. Free.

        :param polling_url: as the submit returned it. A task lives in one cluster: without it the
            host of the connection is asked, which may not know the task.
        :raises FluxUntrustedURLError: if the key must not be sent there.
        """
        return self._read(
            protocol.poll_request(request_id, polling_url, self.settings), protocol.read_result
        )

    def wait(
        self,
        submission: Submission,
        *,
        deadline: float | None = None,
        poll_interval: float = 0.5,
        pause_at: float | None = None,
    ) -> GenerationResult | None:
        """Wait for a generation on this thread.

        :param deadline: epoch seconds at which to give up; ten minutes from now by default.
        :param poll_interval: shortest seconds between polls; it grows with the time waited.
        :param pause_at: epoch seconds after which ``None`` is returned instead of waiting on.
        :raises FluxTimeoutError: at the deadline, after a last poll.
        :raises FluxModeratedError: if moderation refused it; other typed errors likewise.
        """
        poller = Poller(
            request_id=submission.request_id,
            submitted_at=submission.submitted_at,
            deadline=time.time() + DEFAULT_TIMEOUT if deadline is None else deadline,
            poll_interval=poll_interval,
            cost=submission.cost,
            pause_at=pause_at,
        )
        described = protocol.poll_request(
            submission.request_id, submission.polling_url, self.settings
        )
        return Waiter(poller, described, self._transport, self.log).wait()

    def download(
        self,
        sample: str,
        *,
        request_id: str | None = None,
        max_bytes: int = delivery.MAX_RESULT_BYTES,
    ) -> bytes:
        """Read the bytes behind a signed URL; a broken download is started again. Free.

        :param sample: ``GenerationResult.sample``, which lives for 10 minutes.
        :raises FluxResultExpiredError: if it does not live any more.
        :raises FluxUntrustedURLError: if it leads to a host that is not BFL's.
        """

        def once() -> bytes:
            return self._transport.download(sample, request_id=request_id, max_bytes=max_bytes)

        return Retrying(**retries.read_retries(), before_sleep=self._log_retry)(once)

    def get_credits(self) -> float:
        """Return the balance of the account in credits (1 credit = 0.01 USD). Free."""
        return self._read(account.credits_request(self.settings), account.read_credits)

    def get_my_finetunes(self) -> list[Any]:
        """Return the finetunes of the account (``GET /v1/my_finetunes``), as BFL lists them. Free."""
        return self._read(account.finetunes_request(self.settings), account.read_finetunes)

    def get_finetune_details(self, finetune_id: str) -> dict[str, Any]:
        """Return what a finetune was made with (``GET /v1/finetune_details``). Free.

        :raises FluxRequestError: if there is none with that id, or it is not the account's.
        """
        return self._read(
            account.finetune_request(finetune_id, self.settings), account.read_finetune
        )

    def delete_finetune(self, finetune_id: str) -> dict[str, Any]:
        """Delete a finetune for good (``POST /v1/delete_finetune``) and return BFL's confirmation.

        :raises FluxRequestError: if there is none with that id, or it is not the account's.
        :raises FluxServiceError: if the answer was lost; :meth:`get_my_finetunes` tells what happened.
        """
        return account.read_deletion(
            self._transport.send(account.delete_finetune_request(finetune_id, self.settings))
        )

    def report_license_usage(self, model: str, number_of_generations: int) -> None:
        """Report images made with open weights under a licence (``POST /v1/licenses/models/{model}/usage``).

        It is sent once: a report whose answer was lost may have been counted.

        :param model: ``flux-1-dev``, ``flux-1-kontext-dev``, ``flux-1-krea-dev`` or ``flux-tools``.
        :param number_of_generations: images since the last report, 1 or more.
        :raises FluxRequestError: if the model or the number is refused.
        :raises FluxServiceError: if the answer was lost.
        """
        described = account.usage_request(model, number_of_generations, self.settings)
        account.check_usage(self._transport.send(described))

    def test_connection(self) -> tuple[bool, str]:
        """Check key and host with a free call, for the Test button; the key is never part of the answer."""
        try:
            described = account.credits_request(self.settings)
            credits_left = account.read_credits(self._transport.send(described))
        except FluxError as error:
            return False, str(error)
        usd = credits_left * USD_PER_CREDIT
        return (
            True,
            f"Connected to {self.settings.base_url}: {credits_left:g} credits left (${usd:.2f}).",
        )

    def prepare_async(self) -> None:
        """Do what blocks, in a thread, before :meth:`async_client`: read the connection, import aiohttp.

        Before Airflow 3.3.2 a connection must not be read on an event loop at all.
        """
        _ = self.settings
        importlib.import_module("airflow_provider_flux.client.aio")

    def async_client(self) -> AbstractAsyncContextManager[FluxAsyncClient]:
        """Return the async client of the connection; its session is shared on the running loop."""
        from airflow_provider_flux.client.aio import (
            open_async_client,  # aiohttp: not at DAG parse time
        )

        return open_async_client(self.settings)

    def with_webhook_secret(self, request: GenerationRequest) -> GenerationRequest:
        """Add the connection's secret to a request that has a webhook and none of its own."""
        parameters = request.parameters
        if (
            not self.settings.webhook_secret
            or not parameters.get("webhook_url")
            or parameters.get("webhook_secret")
        ):
            return request
        return replace(
            request, parameters={**parameters, "webhook_secret": self.settings.webhook_secret}
        )

    def _balance(self) -> float | None:
        try:
            return self.get_credits()
        except FluxError:
            return None

    def _read(
        self, described: protocol.HttpRequest, reader: Callable[[protocol.HttpAnswer], _T]
    ) -> _T:
        """Send a request that only reads; transient trouble is retried."""

        def once() -> _T:
            return reader(self._transport.send(described))

        return Retrying(**retries.read_retries(), before_sleep=self._log_retry)(once)

    def _log_retry(self, state: Any) -> None:
        self.log.warning(
            "%s Trying again in %.1f s.", state.outcome.exception(), state.next_action.sleep
        )
