"""The size and the time of an answer: no answer fills the memory, and none drips for ever."""

from __future__ import annotations

import time

from airflow_provider_flux.bfl.content_encoding import UndecodableBodyError, decode_body

#: Largest answer of the API, decoded. BFL's answers have a few kilobytes, but a refusal quotes the
#: request with its inputs. JSON takes up to 30 times its size in memory.
MAX_ANSWER_BYTES = 2 * 1024 * 1024
#: Bytes of an answer that are read at a time.
CHUNK_BYTES = 64 * 1024
#: Slowest answer that is read to its end, in bytes per second.
_MIN_BYTES_PER_SECOND = 64 * 1024
#: Longest duration of an answer, however large it is, unless the timeout is longer.
MAX_ANSWER_SECONDS = 300.0


class AnswerBody:
    """The body of an answer of the API, up to :data:`MAX_ANSWER_BYTES`.

    A larger body is cut. It is no JSON then, so that the status alone decides.

    :param encoding: header ``Content-Encoding``; ``None`` if the answer has none.
    """

    def __init__(self, encoding: str | None) -> None:
        self._encoding = encoding
        self._data = bytearray()

    def add(self, chunk: bytes) -> bool:
        """Append a chunk, and return whether to read on.

        :param chunk: the next bytes as they arrived.
        """
        self._data += chunk[: MAX_ANSWER_BYTES - len(self._data)]
        return len(self._data) < MAX_ANSWER_BYTES

    def get(self) -> bytes:
        """Return the decoded body; nothing if it cannot be decoded."""
        try:
            return decode_body(bytes(self._data), self._encoding, max_bytes=MAX_ANSWER_BYTES)
        except UndecodableBodyError:
            return b""


class AnswerTime:
    """The time that an answer may still take, from the end of its request.

    An answer has the timeout, and a second more for each 64 KiB that arrived. A timeout for each
    read alone would let a server send a byte at a time for ever.

    :param timeout: seconds for the headers and the first bytes.
    """

    def __init__(self, timeout: float) -> None:
        self._begin = time.monotonic()
        self._timeout = timeout
        self._received = 0

    def add(self, size: int) -> None:
        """Count bytes that arrived.

        :param size: their number.
        """
        self._received += size

    def left(self) -> float:
        """Return the seconds that are left; 0 or less if the time is over."""
        seconds = self._timeout + self._received / _MIN_BYTES_PER_SECOND
        longest = max(MAX_ANSWER_SECONDS, self._timeout)
        return self._begin + min(seconds, longest) - time.monotonic()
