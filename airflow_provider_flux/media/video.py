"""Size, length and completeness of an mp4 video, read from its boxes without decoding.

An mp4 file is a sequence of boxes. Each has its size and a type of four letters (ISO/IEC
14496-12).
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from airflow_provider_flux.bfl.errors import FluxImageError
from airflow_provider_flux.media.info import MediaInfo

_CONTAINERS = {b"moov", b"trak"}
#: A whole file has few boxes. The limit ends the search in a damaged one.
_MAX_BOXES = 10_000
_FIXED_POINT = 65536


class DamagedVideoError(ValueError):
    """The file is not an mp4 video, or not a whole one."""


@dataclass(frozen=True)
class VideoInfo:
    """Properties of a video.

    :param width: width in pixels.
    :param height: height in pixels.
    :param seconds: length in seconds; 0 if the header does not name it.
    """

    width: int
    height: int
    seconds: float


@dataclass(frozen=True)
class _Box:
    kind: bytes
    start: int
    end: int


def is_mp4(head: bytes) -> bool:
    """Whether a file begins like an mp4 video.

    :param head: its first 12 bytes, or more.
    """
    return head[4:8] == b"ftyp"


def inspect_video(data: bytes) -> MediaInfo:
    """Return the size, the length and the hash of an mp4 video.

    :param data: the whole file.
    :raises FluxImageError: if it is not an mp4 video, cut short or damaged.
    """
    try:
        video = read_video(io.BytesIO(data))
    except DamagedVideoError as error:
        raise FluxImageError(
            f"The result of {len(data)} bytes is not a whole video: {error}."
        ) from None
    return MediaInfo(
        "mp4",
        video.width,
        video.height,
        len(data),
        hashlib.sha256(data).hexdigest(),
        seconds=round(video.seconds, 3),
    )


def read_video(file: BinaryIO) -> VideoInfo:
    """Return the size and the length of an mp4 video.

    :param file: the file, opened in binary mode.
    :raises DamagedVideoError: if it is not an mp4 video, is cut short, or has no pictures.
    """
    size = file.seek(0, 2)
    file.seek(0)
    if not is_mp4(file.read(12)):
        raise DamagedVideoError("it is not an mp4 video")
    boxes = list(_boxes(file, 0, size))
    top = {box.kind for box in boxes if box.kind in {b"moov", b"mdat"}}
    if top != {b"moov", b"mdat"}:
        raise DamagedVideoError("it is cut short or damaged")
    seconds = next((_seconds(_content(file, box)) for box in boxes if box.kind == b"mvhd"), 0.0)
    sizes = [_size(_content(file, box)) for box in boxes if box.kind == b"tkhd"]
    width, height = max(sizes, default=(0, 0))
    if not width or not height:
        raise DamagedVideoError("it has no pictures")
    return VideoInfo(width, height, seconds)


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[_Box]:
    """Yield the boxes between two offsets, and those inside containers."""
    todo = [(start, end)]
    for _ in range(_MAX_BOXES):
        if not todo:
            return
        at, end = todo.pop()
        box = _read_box(file, at, end)
        if box.end < end:
            todo.append((box.end, end))
        if box.kind in _CONTAINERS and box.start < box.end:
            todo.append((box.start, box.end))
        yield box
    raise DamagedVideoError("it is damaged")


def _read_box(file: BinaryIO, at: int, end: int) -> _Box:
    file.seek(at)
    head = file.read(16)
    if len(head) < 8:
        raise DamagedVideoError("it is cut short or damaged")
    size, kind = struct.unpack(">I4s", head[:8])
    content = at + 8
    if size == 1 and len(head) == 16:
        size, content = struct.unpack(">Q", head[8:])[0], at + 16
    elif size == 0:
        size = end - at
    if at + size > end or at + size < content:
        raise DamagedVideoError("it is cut short or damaged")
    return _Box(kind, content, at + size)


def _content(file: BinaryIO, box: _Box) -> bytes:
    file.seek(box.start)
    return file.read(min(box.end - box.start, 128))


def _seconds(mvhd: bytes) -> float:
    """Return the length of the video from its header: version, times, scale, duration."""
    try:
        layout, offset = (">IQ", 20) if mvhd[:1] == b"\x01" else (">II", 12)
        scale, duration = struct.unpack_from(layout, mvhd, offset)
    except struct.error:
        raise DamagedVideoError("it is damaged") from None
    return float(duration / scale) if scale else 0.0


def _size(tkhd: bytes) -> tuple[int, int]:
    """Return the size of the pictures of a track; 0 for sound."""
    try:
        width, height = struct.unpack_from(">II", tkhd, 88 if tkhd[:1] == b"\x01" else 76)
    except struct.error:
        raise DamagedVideoError("it is damaged") from None
    return int(width // _FIXED_POINT), int(height // _FIXED_POINT)
