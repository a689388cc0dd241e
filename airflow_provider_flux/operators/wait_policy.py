"""Wait policy of one task: whether it waits on the worker, and until when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow_provider_flux.configured_models import default_timeout, typical_seconds
from airflow_provider_flux.generation import Generation, wait_start

#: Typical seconds of a generation from which on its model counts as slow.
_SLOW_SECONDS = 60.0


@dataclass(frozen=True)
class WaitPolicy:
    """Decisions about the wait of one task. It reads no clock and calls no service.

    :param model: name of the model.
    :param deferrable: whether the task may defer to the triggerer.
    :param inline_wait: seconds to wait on the worker before the task defers.
    :param timeout: seconds from the submit after which to give up; ``None`` for the default of the
        model.
    :param execution_timeout: ``execution_timeout`` of the task. Airflow does not enforce it while a
        task is deferred, so it shortens the timeout.
    """

    model: Any
    deferrable: bool
    inline_wait: float
    timeout: float | None
    execution_timeout: timedelta | None

    @property
    def max_wait(self) -> float:
        """Seconds from the submit after which to give up."""
        seconds = self.timeout or default_timeout(self.model)
        if self.execution_timeout is None:
            return seconds
        return min(seconds, self.execution_timeout.total_seconds())

    @property
    def starts_on_worker(self) -> bool:
        """Whether the task waits on the worker first.

        It does not if it may defer and ``inline_wait`` is 0, or too short for a slow model.
        """
        if not self.deferrable:
            return True
        usual = typical_seconds(self.model)
        is_too_slow = usual >= _SLOW_SECONDS and usual > self.inline_wait
        return self.inline_wait > 0 and not is_too_slow

    def deadline_of(self, generation: Generation, now: float) -> float:
        """Return the epoch seconds at which to give up.

        They count from the submit, in whichever try that was, but never from the future.

        :param generation: the submitted generation.
        :param now: epoch seconds of this machine.
        """
        return wait_start(generation, now) + self.max_wait

    def pause_at(self, now: float) -> float | None:
        """Return the epoch seconds at which to defer; ``None`` if the task must not defer.

        :param now: epoch seconds at which the wait starts.
        """
        return now + self.inline_wait if self.deferrable else None
