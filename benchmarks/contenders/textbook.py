"""Deferrable operator of the textbooks: submit, defer, and download after the trigger's event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import requests
from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

from benchmarks.contenders.documented import HEADERS, POLL_SECONDS, save, submit


class TextbookTrigger(BaseTrigger):
    """Polls every half second until the image is ready."""

    def __init__(self, polling_url: str) -> None:
        super().__init__()
        self.polling_url = polling_url

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        return "benchmarks.contenders.textbook.TextbookTrigger", {"polling_url": self.polling_url}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event with the status and the URL of the image."""
        async with aiohttp.ClientSession(headers=HEADERS) as session:
            while True:
                await asyncio.sleep(POLL_SECONDS)
                async with session.get(self.polling_url) as answer:
                    body = await answer.json()
                if body["status"] != "Pending":
                    yield TriggerEvent(
                        {"status": body["status"], "sample": (body["result"] or {}).get("sample")}
                    )
                    return


class TextbookOperator(BaseOperator):
    """Makes one image."""

    template_fields = ("url", "prompt", "path")

    def __init__(self, *, url: str, prompt: str, path: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.url, self.prompt, self.path = url, prompt, path

    def execute(self, context: Any) -> None:
        """Submit and defer."""
        with requests.Session() as session:
            polling_url = submit(session, self.url, self.prompt)
        self.defer(trigger=TextbookTrigger(polling_url), method_name="execute_complete")

    def execute_complete(self, context: Any, event: dict[str, Any]) -> None:
        """Download the image."""
        if event["status"] != "Ready":
            raise RuntimeError(event["status"])
        with requests.Session() as session:
            save(session, event["sample"], Path(self.path))
