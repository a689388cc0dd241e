"""The messages between a batch and the processes that carry out its checks.

A message is JSON after its length in four bytes. The bytes of an image follow their message.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

HEADER_BYTES = 4
#: Bytes of the longest answer of a check.
MAX_ANSWER_BYTES = 1024 * 1024


def encode_frame(message: Mapping[str, Any]) -> bytes:
    """Return a message as bytes.

    :param message: JSON values.
    """
    data = json.dumps(message).encode()
    return len(data).to_bytes(HEADER_BYTES) + data


def read_frame(read: Callable[[int], bytes]) -> dict[str, Any] | None:
    """Read a message.

    :param read: reads a number of bytes, fewer at the end.
    :return: the message; ``None`` if the other side has ended.
    """
    header = read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return None
    message = json.loads(read(int.from_bytes(header)))
    assert isinstance(message, dict)  # noqa: S101 - this module wrote it
    return message
