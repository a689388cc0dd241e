"""Webhooks: the end of a task is sent to its receiver, whether or not anybody polls."""

from __future__ import annotations

import asyncio
import math

import aiohttp

from airflow_provider_flux.emulator.background_jobs import BackgroundJobs
from airflow_provider_flux.emulator.service import Service
from airflow_provider_flux.emulator.tasks import Task

#: Seconds before each of the retries.
_RETRY_SECONDS = (0.1, 0.3, 0.9)
#: Seconds added to the wait. The event loop and the service have different clocks, and the task
#: must have ended by that of the service.
_CLOCK_MARGIN_SECONDS = 0.005
_TIMEOUT = aiohttp.ClientTimeout(total=10)


class WebhookSender:
    """Sends the poll body of each task that has a ``webhook_url`` when the task ends.

    :param service: the service of the tasks.
    :param background_jobs: runs the waits and the requests.
    """

    def __init__(self, service: Service, background_jobs: BackgroundJobs) -> None:
        self._service = service
        self._background_jobs = background_jobs

    def watch(self, task: Task) -> None:
        """Send the webhook of a task, if it has one, when the task ends.

        :param task: a task whose inputs are loaded.
        """
        if task.webhook_url and task.ends_at < math.inf:
            self._background_jobs.start(self._deliver(task, task.webhook_url))

    async def _deliver(self, task: Task, url: str) -> None:
        await asyncio.sleep(max(0.0, task.ends_at - self._service.clock()) + _CLOCK_MARGIN_SECONDS)
        headers = {"X-Webhook-Secret": task.webhook_secret} if task.webhook_secret else {}
        async with aiohttp.ClientSession(timeout=_TIMEOUT, headers=headers) as session:
            for wait in (0.0, *_RETRY_SECONDS):
                await asyncio.sleep(wait)
                if await self._post(session, url, task):
                    self._service.counts["webhooks"] += 1
                    return
        self._service.counts["webhooks_failed"] += 1

    async def _post(self, session: aiohttp.ClientSession, url: str, task: Task) -> bool:
        try:
            async with session.post(
                url, json=self._service.describe(task), allow_redirects=False
            ) as response:
                return response.status < 300
        except (aiohttp.ClientError, TimeoutError):
            return False
