"""Inspect an image by its headers and end markers: its format, size and completeness.

Pillow alone does not notice a truncated JPEG (its ``verify()`` passes a stub of 1 KB), so the end
of each format is checked here; only a JPEG with bytes after its end is decoded, to be fair to it.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib

from PIL import Image

from airflow_provider_flux.bfl.errors import FluxImageError
from airflow_provider_flux.media.info import MediaInfo

#: Largest image that is accepted, in pixels: four times the largest output of the service, "4k".
MAX_PIXELS = 64 * 1024 * 1024
#: Pillow has a name of its own for a JPEG that holds several pictures.
_NAMES = {"MPO": "jpeg"}
_JPEG_END = b"\xff\xd9"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def inspect_image(data: bytes, *, full_decode: bool = False) -> MediaInfo:
    """Return format, size and hash of an image.

    :param data: bytes of the file.
    :param full_decode: decode it as well, which takes 10 to 100 ms; it finds damage in the middle
        of a PNG's or WebP's data, and some of a JPEG's.
    :raises FluxImageError: if it is empty, not an image, cut short, damaged or absurdly large.
    """
    if not data:
        raise FluxImageError("The result is empty.")
    try:
        with Image.open(io.BytesIO(data)) as image:
            name, (width, height) = (
                _NAMES.get(image.format or "", (image.format or "").lower()),
                image.size,
            )
    except Image.DecompressionBombError:
        raise FluxImageError(
            "The result claims to be too many pixels to be an image of this service."
        ) from None
    except Exception:  # damaged headers raise many kinds
        raise FluxImageError(
            f"The result is not an image (it starts with {data[:16]!r})."
        ) from None
    if width * height > MAX_PIXELS:
        raise FluxImageError(f"The result is {width}x{height}, more than {MAX_PIXELS} pixels.")
    if not _is_whole(name, data) or (full_decode and not _decodes(data)):
        raise FluxImageError(f"The {name} result of {len(data)} bytes is cut short or damaged.")
    return MediaInfo(name, width, height, len(data), hashlib.sha256(data).hexdigest())


def _is_whole(name: str, data: bytes) -> bool:
    if name == "png":
        return _png_is_whole(data)
    if name == "webp":
        return len(data) >= 12 and len(data) >= struct.unpack("<I", data[4:8])[0] + 8
    return _jpeg_is_whole(data) if name == "jpeg" else _decodes(data)


def _jpeg_is_whole(data: bytes) -> bool:
    """See that the picture itself ends, and does so at the end of the file, or else decodes."""
    start = _start_of_picture(data)
    return start > 0 and (
        data.endswith(_JPEG_END) or (data.rfind(_JPEG_END) > start and _decodes(data))
    )


def _start_of_picture(data: bytes) -> int:
    """Return the offset of the picture after all other segments; 0 if there is none.

    A thumbnail among the segments has an end marker of its own.
    """
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xFF:  # fill byte
            at += 1
            continue
        if data[at + 1] == 0xDA:
            return at
        at += 2 + int(struct.unpack(">H", data[at + 2 : at + 4])[0])
    return 0


def _png_is_whole(data: bytes) -> bool:
    """Walk the chunks to IEND and check the CRC of each."""
    at = len(_PNG_SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        end = at + 8 + length
        if (
            end + 4 > len(data)
            or zlib.crc32(data[at + 4 : end]) != struct.unpack(">I", data[end : end + 4])[0]
        ):
            return False
        if kind == b"IEND":
            return True
        at = end + 4
    return False


def _decodes(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except Exception:
        return False
    return True
