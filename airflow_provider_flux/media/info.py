"""Facts about a result."""

from __future__ import annotations

from dataclasses import dataclass

#: The formats of results, by the ``ext`` of their names.
ALL_FORMATS = ("jpeg", "png", "webp", "mp4")


@dataclass(frozen=True)
class MediaInfo:
    """Format, size and hash of an image or a video.

    :param format: BFL's name of the format, which is the ``{ext}`` of ``output_path``.
    :param width: pixels.
    :param height: pixels.
    :param size: bytes.
    :param sha256: SHA-256 of the bytes, in hexadecimal.
    :param seconds: length of a video; ``None`` for an image.
    """

    format: str
    width: int
    height: int
    size: int
    sha256: str
    seconds: float | None = None

    @property
    def content_type(self) -> str:
        """The MIME type."""
        return f"video/{self.format}" if self.seconds is not None else f"image/{self.format}"
