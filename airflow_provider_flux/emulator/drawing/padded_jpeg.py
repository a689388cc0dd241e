"""JPEG files of a requested size that cost next to nothing, for load tests.

One image is encoded for each size in pixels. Every picture gets that image with a comment that
names the picture, so that each file is a whole image with bytes of its own.
"""

from __future__ import annotations

import hashlib
import io
import struct
from functools import lru_cache

from PIL import Image

from airflow_provider_flux.emulator.drawing.layers import draw_backdrop
from airflow_provider_flux.emulator.drawing.picture import Picture
from airflow_provider_flux.emulator.drawing.sizes import Size

#: Bytes of the start of the file and its JFIF segment, which has to come first.
_HEAD_BYTES = 20
_COMMENT_MARKER = b"\xff\xfe"
_MAX_COMMENT_BYTES = 65_533
#: Bytes of the comment that names the picture; a longer prompt is cut.
_LABEL_BYTES = 1024
_MAX_QUALITY = 100


def encode_padded_jpeg(picture: Picture, size_bytes: int) -> bytes:
    """Return a whole JPEG of a requested size; equal pictures give equal bytes.

    :param picture: the picture that the comment of the file names.
    :param size_bytes: requested size of the file; it is larger if the image needs more.
    """
    facts = f"{picture.digest.hex()} {picture.model} seed {picture.seed}: {picture.prompt}"
    label = facts.encode(errors="replace")[:_LABEL_BYTES].ljust(_LABEL_BYTES)
    head, rest = _shared_parts((picture.width, picture.height), size_bytes)
    return b"".join((head, _comment(label), rest))


@lru_cache(maxsize=16)
def _shared_parts(size: Size, size_bytes: int) -> tuple[bytes, bytes]:
    """Return the bytes before and after the comment, which all pictures of a size share."""
    image = draw_backdrop(hashlib.sha256(b"ballast").digest(), size)
    available = size_bytes - len(_comment(b" " * _LABEL_BYTES))
    lowest, highest = 1, _MAX_QUALITY
    while lowest < highest:  # search the best quality that fits
        middle = (lowest + highest + 1) // 2
        if len(_encode(image, middle)) <= available:
            lowest = middle
        else:
            highest = middle - 1
    encoded = _encode(image, lowest)
    padding = _padding(available - len(encoded))
    return encoded[:_HEAD_BYTES], padding + encoded[_HEAD_BYTES:]


def _encode(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=quality)
    return buffer.getvalue()


def _padding(length: int) -> bytes:
    """Return comments that have ``length`` bytes together."""
    padding = b""
    while (missing := length - len(padding)) >= len(_comment(b"")):
        padding += _comment(b" " * min(missing - len(_comment(b"")), _MAX_COMMENT_BYTES))
    return padding


def _comment(text: bytes) -> bytes:
    return _COMMENT_MARKER + struct.pack(">H", len(text) + 2) + text
