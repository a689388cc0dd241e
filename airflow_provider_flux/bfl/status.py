"""The status of a generation, as BFL reports it."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """The status of a generation. ``UNKNOWN`` is any text that this version does not know."""

    PENDING = "Pending"
    REASONING = "Reasoning"
    GENERATING = "Generating"
    READY = "Ready"
    ERROR = "Error"
    FAILED = "Failed"
    REQUEST_MODERATED = "Request Moderated"
    CONTENT_MODERATED = "Content Moderated"
    TASK_NOT_FOUND = "Task not found"
    UNKNOWN = "Unknown"

    @classmethod
    def of(cls, text: object) -> Status:
        """Return the status with this text, whatever its case.

        *Error* and *Failed* have to be spelled as BFL spells them: gateways write ``error`` about
        themselves, and that must not end a generation that is billed.

        :param text: the status as the service wrote it.
        """
        written = str(text).strip()
        exact = _BY_VALUE.get(written)
        if exact is not None:
            return exact
        words = written.replace("_", " ").replace("-", " ").casefold()
        found = next((status for status in cls if status.value.casefold() == words), cls.UNKNOWN)
        is_certain = written == found.value or found not in {cls.ERROR, cls.FAILED}
        return found if is_certain else cls.UNKNOWN

    @property
    def is_success(self) -> bool:
        """Whether the result can be downloaded."""
        return self is Status.READY

    @property
    def is_moderated(self) -> bool:
        """Whether moderation ended the generation."""
        return self in {Status.REQUEST_MODERATED, Status.CONTENT_MODERATED}

    @property
    def is_failure(self) -> bool:
        """Whether the generation ended without a result. *Task not found* may be temporary."""
        return self.is_moderated or self in {Status.ERROR, Status.FAILED}


_BY_VALUE = {status.value: status for status in Status}
