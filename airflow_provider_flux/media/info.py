"""Properties of an image or a video that was inspected."""

from __future__ import annotations

from dataclasses import dataclass

#: Formats of results: the values of ``{ext}`` in ``output_path``.
ALL_FORMATS = ("jpeg", "png", "webp", "mp4")


@dataclass(frozen=True)
class MediaInfo:
    """Properties of an image or a video.

    :param format: BFL's name of the format, for example ``jpeg``: the ``{ext}`` of ``output_path``.
    :param width: width in pixels.
    :param height: height in pixels.
    :param size: size in bytes.
    :param sha256: SHA-256 of the bytes, in hexadecimal.
    :param seconds: length of a video in seconds; ``None`` for an image.
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
