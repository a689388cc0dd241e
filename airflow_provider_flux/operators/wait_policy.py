"""How long to wait for a generation, and where: by what its model usually takes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow_provider_flux.bfl.responses import GenerationResult
from airflow_provider_flux.configured_models import default_timeout, typical_seconds
from airflow_provider_flux.generation import Generation, poller_for, submitted_epoch
from airflow_provider_flux.hooks.flux import FluxHook

#: Seconds from which on a model is one that takes its time.
_LONG = 60.0


@dataclass(frozen=True)
class WaitPolicy:
    """How long one task waits, and where; durations are in seconds.

    :param inline_wait: on the worker, before deferring.
    :param timeout: from the submit; ``None`` for what suits the model.
    :param execution_timeout: of the task. Airflow does not enforce it while a task is deferred, so it counts here.
    """

    model: Any
    deferrable: bool
    inline_wait: float
    poll_interval: float
    timeout: float | None
    execution_timeout: timedelta | None

    @property
    def longest(self) -> float:
        """Seconds from the submit after which to give up."""
        seconds = self.timeout or default_timeout(self.model)
        return (
            min(seconds, self.execution_timeout.total_seconds())
            if self.execution_timeout
            else seconds
        )

    def deadline_of(self, generation: Generation) -> float:
        """Return when to give up, in epoch seconds: counted from the submit, whichever try has made it."""
        return submitted_epoch(generation) + self.longest

    def wait_here(self, hook: FluxHook, generation: Generation) -> GenerationResult | None:
        """Wait on the worker; ``None`` when it is time to defer.

        :raises FluxTimeoutError: at the deadline, after a last poll; other typed errors likewise.
        """
        if self.deferrable and self._would_be_in_vain:
            return None
        poller = poller_for(
            generation,
            deadline=self.deadline_of(generation),
            poll_interval=self.poll_interval,
            pause_at=time.time() + self.inline_wait if self.deferrable else None,
        )
        return hook.get_conn().wait_or_pause(poller, generation["polling_url"])

    def wait_on(
        self, hook: FluxHook, generation: Generation, deadline: float
    ) -> GenerationResult | None:
        """Wait on the worker until a deadline, in epoch seconds, without deferring."""
        poller = poller_for(generation, deadline=deadline, poll_interval=self.poll_interval)
        return hook.get_conn().wait(poller, generation["polling_url"])

    @property
    def _would_be_in_vain(self) -> bool:
        """Whether waiting on the worker is not wanted, or too short for a model that takes its time."""
        usual = typical_seconds(self.model)
        return not self.inline_wait or (usual >= _LONG and usual > self.inline_wait)
