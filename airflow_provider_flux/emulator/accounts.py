"""Accounts: balance, finetunes, and the tasks that are not settled yet."""

from __future__ import annotations

import math
from collections.abc import Mapping

from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.emulator.config import EmulatorConfig
from airflow_provider_flux.emulator.errors import RefusalError
from airflow_provider_flux.emulator.tasks import Task

# The limit of most routes; a route with a smaller one keeps it, whatever the account may do.
_USUAL_MAX_ACTIVE = 24


class Account:
    """What belongs to one API key."""

    def __init__(self, config: EmulatorConfig) -> None:
        self.credits = config.credits
        self.finetunes = list(config.finetunes)
        self.unsettled: list[Task] = []
        self._max_active = config.max_active
        # Before this time nothing has ended: thousands of tasks are not looked through for each request.
        self._next_end = math.inf

    def check(self, model: Model, parameters: Mapping[str, object], cost: float) -> None:
        """Check that a task may be made.

        :raises RefusalError: 400 for an unknown finetune, 402 without enough credits, 429 with too many
            active tasks.
        """
        finetune = parameters.get("finetune_id")
        if finetune is not None and finetune not in self.finetunes:
            raise RefusalError(400, "Finetune not found or not ready")
        if self.credits < cost:
            raise RefusalError(402, "Insufficient credits")
        is_narrow = model.max_active < _USUAL_MAX_ACTIVE
        if len(self.unsettled) >= self._max_active or (
            is_narrow and self._of_the_kind(model) >= model.max_active
        ):
            raise RefusalError(429, "Rate limit exceeded: too many active tasks")

    def add(self, task: Task) -> None:
        """Keep an eye on a task until it has ended."""
        self.unsettled.append(task)
        self.expect(task)

    def expect(self, task: Task) -> None:
        """Learn when a task ends."""
        self._next_end = min(self._next_end, task.ends_at)

    def settle(self, now: float) -> float:
        """Let go of the tasks that have ended; give back what is not billed, and return how much that is."""
        if now < self._next_end:
            return 0.0
        refund = sum(task.refund for task in self.unsettled if task.ends_at <= now)
        self.credits += refund
        self.unsettled = [task for task in self.unsettled if task.ends_at > now]
        self._next_end = min((task.ends_at for task in self.unsettled), default=math.inf)
        return refund

    def _of_the_kind(self, model: Model) -> int:
        """Return how many active tasks count for the limit of a model: all videos share one."""
        if model.output == "video":
            return sum(1 for task in self.unsettled if task.model.output == "video")
        return sum(1 for task in self.unsettled if task.model.name == model.name)
