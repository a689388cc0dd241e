"""Webhooks: a task's end is told to the receiver, whether anybody polls or not."""

from __future__ import annotations

import asyncio
import math

import aiohttp

from airflow_provider_flux.emulator.background import Background
from airflow_provider_flux.emulator.service import Service
from airflow_provider_flux.emulator.tasks import Task

#: Seconds before each of the retries.
_RETRY_WAITS = (0.1, 0.3, 0.9)
# The event loop has another clock; by the service's own the task must have ended.
_MARGIN = 0.005
_TIMEOUT = aiohttp.ClientTimeout(total=10)


class WebhookSender:
    """Send the poll body of each task that has a ``webhook_url`` when it ends."""

    def __init__(self, service: Service, background: Background) -> None:
        self._service = service
        self._background = background

    def watch(self, task: Task) -> None:
        """Send the webhook of a task, if it has one, when the task ends."""
        if task.webhook_url and task.ends_at < math.inf:
            self._background.start(self._deliver(task, task.webhook_url))

    async def _deliver(self, task: Task, url: str) -> None:
        await asyncio.sleep(max(0.0, task.ends_at - self._service.clock()) + _MARGIN)
        headers = {"X-Webhook-Secret": task.webhook_secret} if task.webhook_secret else {}
        async with aiohttp.ClientSession(timeout=_TIMEOUT, headers=headers) as session:
            for wait in (0.0, *_RETRY_WAITS):
                await asyncio.sleep(wait)
                if await self._post(session, url, task):
                    self._service.seen["webhooks"] += 1
                    return
        self._service.seen["webhooks_failed"] += 1

    async def _post(self, session: aiohttp.ClientSession, url: str, task: Task) -> bool:
        try:
            async with session.post(
                url, json=self._service.body(task), allow_redirects=False
            ) as answer:
                return answer.status < 300
        except (aiohttp.ClientError, TimeoutError):
            return False
