"""JSON bodies with files in them: encoded to base64 while they are sent, so that memory stays small."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.inputs import MediaFile

#: Bytes of a file that are encoded at once; a multiple of three, so that the pieces can be joined.
_PIECE = 3 * 64 * 1024


class JsonBody:
    """A JSON document whose files are read when it is iterated over, as often as it is.

    ``len()`` is its size in bytes, known beforehand: it is sent with a Content-Length.
    """

    def __init__(self, parts: list[bytes | MediaFile]) -> None:
        self._parts = parts
        self._size = sum(
            len(part) if isinstance(part, bytes) else _encoded_size(part.size) for part in parts
        )
        self._turn = 0
        #: Whether all of it was handed out; before that, nobody can have read a whole request.
        self.is_fully_read = False

    def __len__(self) -> int:
        return self._size

    def reset(self) -> None:
        """Forget what was handed out: it is about to be sent, perhaps again."""
        self._turn += 1
        self.is_fully_read = False

    def __iter__(self) -> Iterator[bytes]:
        self.reset()  # now, not at the first piece, which may come when another turn has begun
        return self._hand_out(self._turn)

    def _hand_out(self, turn: int) -> Iterator[bytes]:
        left = self._size
        for piece in self._pieces():
            left -= len(piece)
            if turn == self._turn:  # not one that was broken off, and still runs in its thread
                self.is_fully_read = not left
            yield piece

    def _pieces(self) -> Iterator[bytes]:
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
                continue
            left = part.size
            with part.open() as file:
                while raw := file.read(_PIECE):
                    left -= len(raw)
                    if left < 0:
                        raise _changed()
                    yield base64.b64encode(raw)
            if left:
                raise _changed()


def encode_body(parameters: Mapping[str, Any]) -> bytes | JsonBody:
    """Return the parameters as a JSON body; one that streams if there are files among them.

    :raises FluxRequestError: if they are not JSON.
    """
    files: list[MediaFile] = []
    mark = uuid.uuid4().hex

    def place(value: Any) -> str:
        if not isinstance(value, MediaFile):
            raise TypeError(f"{type(value).__name__} is not JSON serializable")
        files.append(value)
        return mark

    try:
        text = json.dumps(dict(parameters), default=place, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FluxRequestError(f"The parameters cannot be sent as JSON: {error}") from None
    if not files:
        return text.encode()
    head, *others = text.split(mark)
    parts: list[bytes | MediaFile] = [head.encode()]
    for file, rest in zip(files, others, strict=True):
        parts += [file, rest.encode()]
    return JsonBody(parts)


def _encoded_size(size: int) -> int:
    return (size + 2) // 3 * 4


def _changed() -> FluxRequestError:
    return FluxRequestError("An input file changed while it was being sent.")
