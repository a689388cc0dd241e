"""Find bytes behind the end of an image or a video, where an archive or a program can hide.

A JPEG with a ZIP behind it is an image for a viewer, and a program for Python.
"""

from __future__ import annotations

import struct

_SOI_BYTES = 2
_PNG_SIGNATURE_BYTES = 8
_JPEG_END = 0xD9
#: Markers of a JPEG without a length: fill bytes, stuffed bytes, restarts, and the start.
_STANDALONE = frozenset({0x00, 0x01, *range(0xD0, 0xD9), 0xFF})
#: Boxes at the top of an mp4 file.
_MP4_BOXES = frozenset(
    {
        *(b"ftyp", b"styp", b"moov", b"mdat", b"moof", b"mfra", b"sidx", b"ssix", b"prft"),
        *(b"free", b"skip", b"wide", b"meta", b"udta", b"uuid", b"pdin", b"emsg"),
    }
)


def ends_before(data: bytes, media_format: str) -> bool:
    """Whether an image or a video ends before its file does.

    :param data: the whole content of a file that was inspected.
    :param media_format: its format: ``jpeg``, ``png``, ``webp`` or ``mp4``. The end of any other
        one is not known.
    """
    match media_format:
        case "jpeg":
            end = _end_of_jpeg(data)
        case "png":
            end = _end_of_png(data)
        case "webp":
            size = struct.unpack("<I", data[4:8])[0]
            end = size + 8 + size % 2
        case "mp4":
            end = _end_of_mp4(data)
        case _:
            return True
    return end < len(data)


def _end_of_jpeg(data: bytes) -> int:
    """Return the offset behind the end marker of a JPEG; 0 if there is none."""
    at = _SOI_BYTES
    while (at := data.find(b"\xff", at)) >= 0 and at + 1 < len(data):
        marker = data[at + 1]
        if marker == _JPEG_END:
            return at + 2
        if marker in _STANDALONE:
            at += 1 if marker == 0xFF else 2
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return 0


def _end_of_png(data: bytes) -> int:
    """Return the offset behind the last chunk of a PNG; 0 if there is none."""
    at: int = _PNG_SIGNATURE_BYTES
    while at + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        at += 12 + length
        if kind == b"IEND":
            return at
    return 0


def _end_of_mp4(data: bytes) -> int:
    """Return the offset behind the last box of an mp4 whose kind is known."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        if kind not in _MP4_BOXES:
            return at
        if size == 0:
            return len(data)
        if size == 1 and at + 16 <= len(data):
            size = struct.unpack(">Q", data[at + 8 : at + 16])[0]
        at += max(int(size), 8)
    return at
