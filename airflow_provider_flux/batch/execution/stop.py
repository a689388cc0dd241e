"""A request to stop a batch, which any thread may make at any time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import RLock

from airflow_provider_flux.bfl.errors import FluxError


class StopRequest:
    """Request to the event loop of a batch to submit nothing more.

    It may be made before the loop runs, and from a signal handler. The earliest deadline and the
    first error count.
    """

    def __init__(self) -> None:
        #: Time of the monotonic clock until which rows in flight may land; ``None`` without a stop.
        self.deadline: float | None = None
        #: The error that ends the batch, if there is one.
        self.error: FluxError | None = None
        self._wake: Callable[[], object] | None = None
        self._lock = RLock()  # a signal handler may interrupt its own thread
        self._is_closed = False

    @property
    def is_made(self) -> bool:
        """Whether nothing more is to be submitted."""
        return self.deadline is not None

    @property
    def has_no_deadline(self) -> bool:
        """Whether the rows in flight, and those of earlier tries, have all the time they need."""
        return self.deadline is None or self.deadline == float("inf")

    def make(self, grace: float, error: FluxError | None = None) -> None:
        """Request the stop. After the loop has ended this does nothing.

        :param grace: seconds that rows in flight have to land. With ``inf`` they have all the time
            they need, and the submits of earlier tries are still resumed.
        :param error: the error that ends the batch.
        """
        with self._lock:
            if self._is_closed:
                return
            deadline = time.monotonic() + grace
            self.deadline = deadline if self.deadline is None else min(self.deadline, deadline)
            self.error = self.error or error
            if self._wake:
                self._wake()

    def wake(self) -> None:
        """Wake the loop, if it runs, so that it looks for what has changed."""
        with self._lock:
            if self._wake:
                self._wake()

    @contextmanager
    def waking(self, wake: Callable[[], object]) -> Iterator[None]:
        """Wake the loop when a stop is requested inside the ``with`` block.

        :param wake: wakes the loop. Any thread may call it.
        """
        self._wake = wake
        try:
            yield
        finally:
            with self._lock:
                self._is_closed, self._wake = True, None
