"""JPEG files of a given weight that cost next to nothing, for load tests.

One image is encoded for each size. Each picture gets it with a comment that names the picture, so that every file is a
whole image with bytes of its own.
"""

from __future__ import annotations

import hashlib
import io
import struct
from functools import lru_cache

from PIL import Image

from airflow_provider_flux.emulator.drawing.backdrop import backdrop
from airflow_provider_flux.emulator.drawing.picture import Picture
from airflow_provider_flux.emulator.drawing.sizes import Size

#: The start of the file and its JFIF segment, which has to come first.
_HEAD = 20
_COMMENT = b"\xff\xfe"
_LONGEST_COMMENT = 65_533
#: Room for the comment that names the picture; a longer prompt is cut.
_LABEL = 1024
_FINEST = 100


def jpeg(picture: Picture, wanted: int) -> bytes:
    """Return a whole JPEG of ``wanted`` bytes, or of as few as its size allows; equal pictures give equal bytes."""
    told = f"{picture.digest.hex()} {picture.model} seed {picture.seed}: {picture.prompt}"
    label = told.encode(errors="replace")[:_LABEL].ljust(_LABEL)
    head, rest = _parts((picture.width, picture.height), wanted)
    return b"".join((head, _comment(label), rest))


@lru_cache(maxsize=16)
def _parts(size: Size, wanted: int) -> tuple[bytes, bytes]:
    """Return what stands before and after the comment: what no picture has for itself."""
    image = backdrop(hashlib.sha256(b"ballast").digest(), size)
    room = wanted - len(_comment(b" " * _LABEL))
    lowest, highest = 1, _FINEST
    while lowest < highest:  # the best quality that fits in
        middle = (lowest + highest + 1) // 2
        lowest, highest = (
            (middle, highest) if len(_encoded(image, middle)) <= room else (lowest, middle - 1)
        )
    encoded = _encoded(image, lowest)
    return encoded[:_HEAD], _filling(room - len(encoded)) + encoded[_HEAD:]


def _encoded(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=quality)
    return buffer.getvalue()


def _filling(length: int) -> bytes:
    """Return comments of that many bytes together."""
    filling = b""
    while (left := length - len(filling)) >= len(_comment(b"")):
        filling += _comment(b" " * min(left - len(_comment(b"")), _LONGEST_COMMENT))
    return filling


def _comment(text: bytes) -> bytes:
    return _COMMENT + struct.pack(">H", len(text) + 2) + text
