"""Is this the whole image, and what is it? Told from headers and end markers, without decoding.

Pillow alone does not notice a truncated JPEG (its ``verify()`` passes a stub of 1 KB), so the end of
each format is checked here; only a JPEG with bytes after its end is decoded, to be fair to it.
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib

from PIL import Image

from airflow_provider_flux.bfl.errors import FluxImageError
from airflow_provider_flux.media.info import MediaInfo

#: Largest image that is accepted, in pixels: four times the largest output of the service, "4k".
MAX_PIXELS = 64 * 1024 * 1024
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def inspect_image(data: bytes) -> MediaInfo:
    """Return what the image is.

    :raises FluxImageError: if it is empty, not an image, cut short, damaged or absurdly large.
    """
    if not data:
        raise FluxImageError("The result is empty.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as image:
                name, (width, height) = (image.format or "").lower(), image.size
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise FluxImageError("The result claims to be too many pixels to be an image of this service.") from None
    except Exception:  # damaged headers raise many kinds
        raise FluxImageError(f"The result is not an image (it starts with {data[:16]!r}).") from None
    if width * height > MAX_PIXELS:
        raise FluxImageError(f"The result is {width}x{height}, more than {MAX_PIXELS} pixels.")
    if not _is_whole(name, data):
        raise FluxImageError(f"The {name} result of {len(data)} bytes is cut short or damaged.")
    return MediaInfo(name, width, height, len(data), hashlib.sha256(data).hexdigest())


def _is_whole(name: str, data: bytes) -> bool:
    if name == "png":
        return _png_is_whole(data)
    if name == "webp":
        return len(data) >= 12 and len(data) >= struct.unpack("<I", data[4:8])[0] + 8
    return (name == "jpeg" and data.endswith(b"\xff\xd9")) or _decodes(data)


def _png_is_whole(data: bytes) -> bool:
    """Walk the chunks to IEND and check the CRC of each."""
    at = len(_PNG_SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        end = at + 8 + length
        if end + 4 > len(data) or zlib.crc32(data[at + 4 : end]) != struct.unpack(">I", data[end : end + 4])[0]:
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
