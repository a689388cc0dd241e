"""JSON bodies that encode their files to base64 while they are sent, to save memory."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.inputs import MediaFile

#: A multiple of three, so that the base64 of the pieces can be joined.
_PIECE_BYTES = 3 * 64 * 1024


class JsonBody:
    """A JSON document that reads its files whenever it is iterated over.

    ``len()`` is its size in bytes, which is sent as Content-Length.

    :param parts: the document, as pieces of JSON text and the files between them.
    """

    def __init__(self, parts: list[bytes | MediaFile]) -> None:
        self._parts = parts
        self._size = sum(
            len(part) if isinstance(part, bytes) else _encoded_size(part.size) for part in parts
        )
        self._iteration = 0
        #: Whether an iteration has reached the end. Before that, BFL cannot have read a whole
        #: request.
        self.is_fully_read = False

    def __len__(self) -> int:
        return self._size

    def reset(self) -> None:
        """Start over, because the document is about to be sent, for the first time or again."""
        self._iteration += 1
        self.is_fully_read = False

    def __iter__(self) -> Iterator[bytes]:
        self.reset()  # now, because the first piece may be read after another iteration has begun
        return self._read(self._iteration)

    def _read(self, iteration: int) -> Iterator[bytes]:
        left = self._size
        for piece in self._pieces():
            left -= len(piece)
            if iteration == self._iteration:  # an aborted one may still run in its thread
                self.is_fully_read = not left
            yield piece

    def _pieces(self) -> Iterator[bytes]:
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
                continue
            left = part.size
            with part.open() as file:
                while raw := file.read(_PIECE_BYTES):
                    left -= len(raw)
                    if left < 0:
                        raise _file_changed_error()
                    yield base64.b64encode(raw)
            if left:
                raise _file_changed_error()


def encode_body(parameters: Mapping[str, Any]) -> bytes | JsonBody:
    """Return the parameters as a JSON document.

    :param parameters: parameters of a request; files are
        :class:`~airflow_provider_flux.bfl.inputs.MediaFile`.
    :return: bytes, or a :class:`JsonBody` if there are files.
    :raises FluxRequestError: if the parameters cannot be represented in JSON.
    """
    files: list[MediaFile] = []
    placeholder = uuid.uuid4().hex

    def replace_file(value: Any) -> str:
        if not isinstance(value, MediaFile):
            raise TypeError(f"JSON cannot represent the type {type(value).__name__}")
        files.append(value)
        return placeholder

    try:
        text = json.dumps(dict(parameters), default=replace_file, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise FluxRequestError(f"The parameters cannot be sent as JSON: {error}.") from None
    if not files:
        return text.encode()
    head, *others = text.split(placeholder)
    parts: list[bytes | MediaFile] = [head.encode()]
    for file, rest in zip(files, others, strict=True):
        parts += [file, rest.encode()]
    return JsonBody(parts)


def _encoded_size(size: int) -> int:
    return (size + 2) // 3 * 4


def _file_changed_error() -> FluxRequestError:
    return FluxRequestError("An input file changed while it was sent.")
