"""The error with which the emulator refuses a request."""

from __future__ import annotations

from typing import Any


class RefusalError(Exception):
    """A request is answered with an error of the service, and makes no task.

    :param status: HTTP status.
    :param detail: value of ``detail`` in the body.
    :param retry_after: seconds for the ``Retry-After`` header; ``None`` sends none.
    """

    def __init__(self, status: int, detail: Any, *, retry_after: float | None = None) -> None:
        super().__init__(f"HTTP {status}: {detail}")
        self.status = status
        self.detail = detail
        self.retry_after = retry_after
