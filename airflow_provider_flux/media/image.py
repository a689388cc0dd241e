"""Format, size and completeness of an image, read from its headers and end markers.

Pillow's ``verify()`` does not notice a truncated JPEG: it accepts the first 1 KB of one. This
module therefore checks the end of each format. It decodes only a JPEG with bytes after its end.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib

from PIL import Image

from airflow_provider_flux.bfl.errors import FluxImageError
from airflow_provider_flux.media.info import MediaInfo

#: Pixels of the largest accepted image: four times the largest output of the service, "4k".
MAX_RESULT_PIXELS = 64 * 1024 * 1024
#: Pixels of the largest image that is decoded, which takes four bytes for each of them.
_MAX_DECODED_PIXELS = 16 * 1024 * 1024
#: Formats that Pillow may try. Some others start a program or open further files.
_PILLOW_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "AVIF")
#: Pillow calls a JPEG that holds several pictures MPO.
_FORMAT_NAMES = {"MPO": "jpeg"}
_JPEG_END = b"\xff\xd9"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def inspect_image(data: bytes) -> MediaInfo:
    """Return the format, the size and the hash of an image.

    The pixels are not decoded: damage within them is found in a PNG only, by its checksums.

    :param data: the whole file.
    :raises FluxImageError: if it is empty, not an image, cut short, damaged, or has more than
        :data:`MAX_RESULT_PIXELS`.
    """
    if not data:
        raise FluxImageError("The result is empty.")
    try:
        with Image.open(io.BytesIO(data), formats=_PILLOW_FORMATS) as image:
            pillow_name, (width, height) = image.format or "", image.size
    except Image.DecompressionBombError:
        raise FluxImageError(
            "The header of the result claims more pixels than any image of this service has."
        ) from None
    except Exception:  # damaged headers raise many kinds
        raise FluxImageError(
            f"The result is not an image (it starts with {data[:16]!r})."
        ) from None
    if width * height > MAX_RESULT_PIXELS:
        raise FluxImageError(
            f"The result is {width}x{height}, more than {MAX_RESULT_PIXELS} pixels."
        )
    name = _FORMAT_NAMES.get(pillow_name, pillow_name.lower())
    if not _is_whole(name, data):
        raise FluxImageError(f"The {name} result of {len(data)} bytes is cut short or damaged.")
    return MediaInfo(name, width, height, len(data), hashlib.sha256(data).hexdigest())


def _is_whole(name: str, data: bytes) -> bool:
    if name == "png":
        return _is_whole_png(data)
    if name == "webp":
        return len(data) >= 12 and len(data) >= struct.unpack("<I", data[4:8])[0] + 8
    return _is_whole_jpeg(data) if name == "jpeg" else _can_decode(data)


def _is_whole_jpeg(data: bytes) -> bool:
    """Whether the end marker of the picture ends the file, or the file decodes in spite of more."""
    start = _find_picture(data)
    if start == 0:
        return False
    return data.endswith(_JPEG_END) or (data.rfind(_JPEG_END) > start and _can_decode(data))


def _find_picture(data: bytes) -> int:
    """Return the offset of the picture, after a thumbnail with its own end; 0 if there is none."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xFF:  # fill byte
            at += 1
            continue
        if data[at + 1] == 0xDA:
            return at
        at += 2 + int(struct.unpack(">H", data[at + 2 : at + 4])[0])
    return 0


def _is_whole_png(data: bytes) -> bool:
    """Whether the chunks reach to IEND, each with the right CRC."""
    at = len(_PNG_SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        end = at + 8 + length
        if end + 4 > len(data):
            return False
        if zlib.crc32(data[at + 4 : end]) != struct.unpack(">I", data[end : end + 4])[0]:
            return False
        if kind == b"IEND":
            return True
        at = end + 4
    return False


def _can_decode(data: bytes) -> bool:
    """Whether an image decodes. A large one is not tried: its file may be small."""
    try:
        with Image.open(io.BytesIO(data), formats=_PILLOW_FORMATS) as image:
            if image.width * image.height > _MAX_DECODED_PIXELS:
                return False
            image.load()
    except Exception:
        return False
    return True
