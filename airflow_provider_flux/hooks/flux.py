"""FluxHook: from an Airflow connection to the BFL API."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import AirflowNotFoundException, AirflowTaskTimeout, BaseHook
from tenacity import Retrying

from airflow_provider_flux.bfl import delivery, protocol, retrying
from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxError
from airflow_provider_flux.bfl.generation import GenerationRequest, build_request
from airflow_provider_flux.bfl.polling import Done, Failed, Outcome, Paused, Poller
from airflow_provider_flux.bfl.pricing import USD_PER_CREDIT
from airflow_provider_flux.bfl.responses import Submission, TaskResult
from airflow_provider_flux.bfl.settings import FluxSettings, read_settings
from airflow_provider_flux.compat import mask_secret
from airflow_provider_flux.hooks.transport import RequestsTransport

if TYPE_CHECKING:
    from airflow_provider_flux.client import FluxAsyncClient

#: Seconds to wait for a generation.
DEFAULT_TIMEOUT = 600.0
#: Seconds between two progress lines in the task log while nothing changes.
_PROGRESS_EVERY = 30.0


class FluxHook(BaseHook):
    """Talk to BFL with the key and the host of an Airflow connection.

    Without a connection ``flux_default`` the environment variables ``BFL_API_KEY`` and
    ``BFL_API_BASE`` are used. Proxies come from the connection, or from the usual environment
    variables.

    :param flux_conn_id: connection of type ``flux``: password = API key, host = base URL (default
        ``https://api.bfl.ai``), extras ``region``, ``connect_timeout``, ``read_timeout``, ``proxy``,
        ``max_active``, ``webhook_secret``, ``trusted_hosts``.
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
        return self._checked(connection.password, host, connection.extra_dejson, f"connection {self.flux_conn_id!r}")

    def _settings_from_environment(self) -> FluxSettings:
        key = os.environ.get("BFL_API_KEY")
        if self.flux_conn_id != self.default_conn_name or not key:
            raise FluxConfigurationError(
                f"The connection {self.flux_conn_id!r} does not exist. Create it (type 'flux', password = your BFL "
                f"key), or set BFL_API_KEY, which is used when {self.default_conn_name!r} does not exist."
            )
        return self._checked(key, os.environ.get("BFL_API_BASE"), {}, "the environment (BFL_API_KEY, BFL_API_BASE)")

    def _checked(self, key: str | None, host: str | None, extra: Mapping[str, Any], source: str) -> FluxSettings:
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

    def submit(
        self, model: str | GenerationRequest, parameters: Mapping[str, Any] | None = None, *, max_wait: float = 300.0
    ) -> Submission:
        """Submit one generation. **This is what BFL bills.**

        It is sent again only after a 429, or when no connection could be opened: then nothing was
        paid. Any other loss of the answer is an error, since BFL has no idempotency key.

        :param model: model name, or a request that was built before.
        :param parameters: parameters of the model by BFL's own names.
        :param max_wait: seconds to wait for a free slot while the account is at its task limit (429);
            a last ``Retry-After`` of up to five minutes may come on top.
        :raises FluxRequestError: if the request is not valid; before anything is sent if we can tell.
        :raises FluxSubmitUncertainError: if the answer was lost.
        :raises FluxError: the other typed refusals; nothing was paid then.
        """
        request = model if isinstance(model, GenerationRequest) else build_request(model, parameters or {})
        request = self._with_webhook_secret(request)
        described = protocol.submit_request(request, self.settings)

        def once() -> Submission:
            try:
                return protocol.read_submission(self._transport.send(described), request, now=time.time())
            except FluxError:
                raise
            except (Exception, AirflowTaskTimeout) as error:  # whatever it is, the request may be out
                raise protocol.lost_answer(described, type(error).__name__, nothing_sent=False) from None

        return Retrying(**retrying.submit_retries(max_wait), before_sleep=self._log_retry)(once)

    def get_result(self, request_id: str, polling_url: str | None = None) -> TaskResult:
        """Ask once where a generation stands; transient trouble is retried. Free.

        :param polling_url: as the submit returned it. A task lives in one cluster: without it the
            host of the connection is asked, which may not know the task.
        :raises FluxUntrustedURLError: if the key must not be sent there.
        """
        described = protocol.poll_request(request_id, polling_url, self.settings)

        def once() -> TaskResult:
            return protocol.read_result(self._transport.send(described))

        return Retrying(**retrying.read_retries(), before_sleep=self._log_retry)(once)

    def wait(
        self,
        submission: Submission,
        *,
        deadline: float | None = None,
        poll_interval: float = 0.5,
        pause_at: float | None = None,
    ) -> TaskResult | None:
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
        described = protocol.poll_request(submission.request_id, submission.polling_url, self.settings)
        delay = poller.first_wait(time.time())
        progress = _Progress(self.log, submission.request_id)
        while True:
            time.sleep(delay)
            outcome = self._poll(poller, described, progress)
            if isinstance(outcome, Done):
                return outcome.result
            if isinstance(outcome, Failed):
                raise outcome.error
            if isinstance(outcome, Paused):
                return None
            delay = outcome.seconds

    def _poll(self, poller: Poller, described: protocol.HttpRequest, progress: _Progress) -> Outcome:
        try:
            result = protocol.read_result(self._transport.send(described))
        except FluxError as error:
            progress.tell(f"poll failed: {error}")
            return poller.on_error(error, time.time())
        percent = "" if result.progress is None else f", {result.progress:.0%}"
        progress.tell(f"{result.status_text}{percent}", state=result.status_text)
        return poller.on_result(result, time.time())

    def download(
        self, sample: str, *, request_id: str | None = None, max_bytes: int = delivery.MAX_RESULT_BYTES
    ) -> bytes:
        """Read the bytes behind a signed URL; a broken download is started again. Free.

        :param sample: ``TaskResult.sample``, which lives for 10 minutes.
        :raises FluxResultExpiredError: if it does not live any more.
        :raises FluxUntrustedURLError: if it leads to a host that is not BFL's.
        """

        def once() -> bytes:
            return self._transport.download(sample, request_id=request_id, max_bytes=max_bytes)

        return Retrying(**retrying.read_retries(), before_sleep=self._log_retry)(once)

    def get_credits(self) -> float:
        """Return the balance of the account in credits (1 credit = 0.01 USD). Free."""
        described = protocol.credits_request(self.settings)

        def once() -> float:
            return protocol.read_credits(self._transport.send(described))

        return Retrying(**retrying.read_retries())(once)

    def test_connection(self) -> tuple[bool, str]:
        """Check key and host with a free call, for the Test button; the key is never part of the answer."""
        try:
            described = protocol.credits_request(self.settings)
            credits_left = protocol.read_credits(self._transport.send(described))
        except FluxError as error:
            return False, str(error)
        usd = credits_left * USD_PER_CREDIT
        return True, f"Connected to {self.settings.base_url}: {credits_left:g} credits left (${usd:.2f})."

    def prepare_async(self) -> None:
        """Do what blocks, in a thread, before :meth:`async_client`: read the connection, import aiohttp.

        Before Airflow 3.3.2 a connection must not be read on an event loop at all.
        """
        _ = self.settings
        importlib.import_module("airflow_provider_flux.client")

    def async_client(self) -> AbstractAsyncContextManager[FluxAsyncClient]:
        """Return the async client of the connection; its session is shared on the running loop."""
        from airflow_provider_flux.client import shared_client  # aiohttp: not at DAG parse time

        return shared_client(self.settings)

    def _with_webhook_secret(self, request: GenerationRequest) -> GenerationRequest:
        """Add the connection's secret to a request that has a webhook and none of its own."""
        parameters = request.parameters
        if not self.settings.webhook_secret or not parameters.get("webhook_url") or parameters.get("webhook_secret"):
            return request
        with_secret = {**parameters, "webhook_secret": self.settings.webhook_secret}
        return GenerationRequest(request.model, request.path, with_secret)

    def _log_retry(self, state: Any) -> None:
        self.log.warning("%s Trying again in %.1f s.", state.outcome.exception(), state.next_action.sleep)


class _Progress:
    """Lines for the task log at a human pace: when something changes, and now and then."""

    def __init__(self, log: Any, request_id: str) -> None:
        self._log = log
        self._request_id = request_id
        self._state: str | None = None
        self._told_at = 0.0

    def tell(self, text: str, *, state: str = "trouble") -> None:
        now = time.monotonic()
        if state != self._state or now - self._told_at >= _PROGRESS_EVERY:
            self._log.info("Request %s: %s", self._request_id, text)
            self._state, self._told_at = state, now
