"""Accounts: the balance, the finetunes and the active tasks of an API key."""

from __future__ import annotations

import math
from collections.abc import Mapping

from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.emulator.charges import round_credits
from airflow_provider_flux.emulator.config import EmulatorConfig
from airflow_provider_flux.emulator.errors import RefusalError
from airflow_provider_flux.emulator.tasks import Task

# Most models have this limit. A model with a smaller one keeps it, whatever the account allows.
_DEFAULT_MAX_ACTIVE = 24


class Account:
    """The account of one API key.

    :param config: the configuration with balance, finetunes and limit of each account.
    """

    def __init__(self, config: EmulatorConfig) -> None:
        self.credits = config.credits
        self.finetunes = list(config.finetunes)
        self.active: list[Task] = []
        self._max_active = config.max_active
        # No task ends before this time, so that most requests need not look through all of them.
        self._next_end = math.inf

    def check(self, model: Model, parameters: Mapping[str, object], cost: float) -> None:
        """Check that the account allows a task.

        :param model: the model of the request.
        :param parameters: the checked body of the request.
        :param cost: credits of the request.
        :raises RefusalError: 400 for an unknown finetune, 402 if the balance is too low, 429 with
            too many active tasks.
        """
        finetune = parameters.get("finetune_id")
        if finetune is not None and finetune not in self.finetunes:
            raise RefusalError(400, "Finetune not found or not ready")
        if self.credits < cost:
            raise RefusalError(402, "Insufficient credits")
        has_own_limit = model.max_active < _DEFAULT_MAX_ACTIVE
        if len(self.active) >= self._max_active or (
            has_own_limit and self._count_active_of(model) >= model.max_active
        ):
            raise RefusalError(429, "Rate limit exceeded: too many active tasks")

    def add(self, task: Task) -> None:
        """Add an active task.

        :param task: a task that has not ended.
        """
        self.active.append(task)
        self.update_end(task)

    def update_end(self, task: Task) -> None:
        """Take account of a changed end of an active task.

        :param task: a task of this account.
        """
        self._next_end = min(self._next_end, task.ends_at)

    def release_ended(self, now: float) -> float:
        """Release the tasks that have ended, and refund those that are not billed.

        :param now: epoch seconds.
        :returns: the refunded credits.
        """
        if now < self._next_end:
            return 0.0
        refund = sum(task.refund for task in self.active if task.ends_at <= now)
        self.credits = round_credits(self.credits + refund)
        self.active = [task for task in self.active if task.ends_at > now]
        self._next_end = min((task.ends_at for task in self.active), default=math.inf)
        return refund

    def _count_active_of(self, model: Model) -> int:
        """Return how many active tasks count for the limit of a model: all videos share one."""
        if model.output == "video":
            return sum(1 for task in self.active if task.model.output == "video")
        return sum(1 for task in self.active if task.model.name == model.name)
