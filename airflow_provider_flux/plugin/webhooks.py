"""The receiver of BFL's webhooks: ``POST /flux/webhooks/<reference>``.

Nobody logs in here: a request proves by the webhook secret of a connection that BFL sent it. It is
a hint only. The task, or whoever lands the image, asks BFL for the result.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from uuid import UUID

from airflow.utils.session import create_session
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.bfl.webhook import (
    MIN_SECRET_CHARACTERS,
    WebhookNotice,
    has_secret,
    is_genuine,
    read_notice,
    read_reference,
)
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.plugin.webhook_answers import keep_answer
from airflow_provider_flux.plugin.webhook_config import webhook_conn_ids
from airflow_provider_flux.plugin.webhook_limits import HandledNotices, RefusalLimiter
from airflow_provider_flux.plugin.webhook_tasks import Effect, apply_notice

log = logging.getLogger(__name__)
router = APIRouter(prefix="/webhooks")

#: Bytes of a body. An answer to a poll has a few hundred.
MAX_BODY_BYTES = 256 * 1024
#: Seconds in which the body of a request must arrive.
_BODY_SECONDS = 10.0
#: Notices that are handled at the same time, so that the API server has threads left for users.
_MAX_PARALLEL = 8
#: Seconds to wait until a task has recorded its submit.
_EARLY_SECONDS = 8.0
_EARLY_INTERVAL_SECONDS = 0.5
#: Seconds after which a changed secret counts.
_SECRETS_SECONDS = 60.0


class _Secrets:
    """The webhook secrets of the configured connections, which are read once in a minute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._secrets: tuple[str, ...] = ()
        self._read_at: float | None = None

    def read(self) -> tuple[str, ...]:
        """Return the secrets. The call blocks."""
        with self._lock:
            now = time.monotonic()
            if self._read_at is None or now - self._read_at >= _SECRETS_SECONDS:
                found = map(_read_secret, webhook_conn_ids())
                self._secrets = tuple(secret for secret in found if secret)
                self._read_at = now
            return self._secrets

    @property
    def fresh(self) -> tuple[str, ...] | None:
        """The secrets, if no connection has to be read."""
        is_old = self._read_at is None or time.monotonic() - self._read_at >= _SECRETS_SECONDS
        return None if is_old else self._secrets


def _read_secret(conn_id: str) -> str | None:
    try:
        secret = FluxHook(conn_id).settings.webhook_secret
    except FluxError as error:
        log.warning("Webhooks of connection %r are refused: %s", conn_id, error)
        return None
    if secret is None or len(secret) < MIN_SECRET_CHARACTERS:
        log.warning(
            "Webhooks of connection %r are refused: it has no webhook_secret of %d characters",
            conn_id,
            MIN_SECRET_CHARACTERS,
        )
        return None
    return secret


class WebhookReceiver:
    """Decides about each request. One process of the API server has one receiver.

    :ivar refusals: counts requests of strangers.
    """

    def __init__(self) -> None:
        self.refusals = RefusalLimiter()
        self._secrets = _Secrets()
        self._handled = HandledNotices()
        self._in_progress: set[Hashable] = set()
        self._slots = asyncio.Semaphore(_MAX_PARALLEL)

    async def receive(self, reference: str, request: Request) -> Response:
        """Answer a webhook.

        :param reference: the last part of the path.
        :param request: the request.
        """
        secrets = self._secrets.fresh
        if secrets is None:
            secrets = await run_in_threadpool(self._secrets.read)
        found = read_reference(reference, secrets)
        is_likely = found is not None and has_secret(request.headers, found[1])
        if not is_likely and self.refusals.is_exceeded:
            return _answer(429, "too many refused requests", {"Retry-After": "60"})
        if found is None:
            return self._refuse()
        body = await _read_body(request)
        if body is None:
            return _answer(413, "the body is too large, or did not arrive in time")
        task_instance, secret = found
        if not is_genuine(request.headers, body, secret):
            return self._refuse()
        notice = read_notice(body)
        if notice is None:
            return _answer(400, "the body names no generation")
        if not notice.is_final:
            return _answer(200, "ignored")
        return await self._handle(task_instance, notice)

    def _refuse(self) -> Response:
        self.refusals.add_refusal()
        return _answer(401, "the request is not from BFL")

    async def _handle(self, task_instance: UUID, notice: WebhookNotice) -> Response:
        key = (task_instance, notice.request_id)
        if key in self._handled or key in self._in_progress:
            return _answer(200, "ignored")
        self._in_progress.add(key)
        try:
            effect = await self._apply_when_recorded(task_instance, notice)
        finally:
            self._in_progress.discard(key)
        if effect is None or effect == "early":
            return _answer(503, "not handled yet", {"Retry-After": "5"})
        if effect != "ignored":
            self._handled.add(key)
        log.info("Webhook for request %s: %s", notice.request_id, effect)
        return _answer(200, effect)

    async def _apply_when_recorded(
        self, task_instance: UUID, notice: WebhookNotice
    ) -> Effect | None:
        """Apply a notice as soon as its task has recorded the submit; wait for a moment only."""
        deadline = time.monotonic() + _EARLY_SECONDS
        while True:
            effect = await self._run(_apply_in_session, task_instance, notice)
            if effect == "ignored" or time.monotonic() >= deadline:
                return await self._run(_keep_or_leave, task_instance, notice, effect)
            if effect != "early":
                return effect
            await asyncio.sleep(_EARLY_INTERVAL_SECONDS)

    async def _run(
        self,
        work: Callable[..., Effect | None],
        task_instance: UUID,
        notice: WebhookNotice,
        *more: Effect | None,
    ) -> Effect | None:
        async with self._slots:
            try:
                return await run_in_threadpool(work, task_instance, notice, *more)
            except Exception:
                log.exception("Webhook for request %s failed", notice.request_id)
                return None


def _apply_in_session(task_instance: UUID, notice: WebhookNotice) -> Effect:
    with create_session() as session:
        return apply_notice(task_instance, notice, session)


def _keep_or_leave(
    task_instance: UUID, notice: WebhookNotice, effect: Effect | None
) -> Effect | None:
    """Keep the request of a submit whose answer was lost; otherwise leave the effect as it is."""
    if effect in {"ignored", "early"} and keep_answer(task_instance, notice):
        return "kept"
    return effect


async def _read_body(request: Request) -> bytes | None:
    """Return the body; ``None`` if it is too large or too slow."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_BODY_SECONDS):
            parts, size = [], 0
            async for part in request.stream():
                size += len(part)
                if size > MAX_BODY_BYTES:
                    return None
                parts.append(part)
            return b"".join(parts)
    return None


def _answer(status: int, outcome: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"outcome": outcome}, status, headers=headers)


_receiver = WebhookReceiver()


@router.post("/{reference}")
async def receive_webhook(reference: str, request: Request) -> Response:
    """Receive a webhook of BFL.

    :param reference: the reference that the worker appended to the URL.
    :param request: the request.
    """
    return await _receiver.receive(reference, request)
