"""What a result is."""

from __future__ import annotations

from dataclasses import dataclass

#: The formats of results, by the ``ext`` of their names.
ALL_FORMATS = ("jpeg", "png", "webp", "mp4")


@dataclass(frozen=True)
class MediaInfo:
    """What an image or a video is. ``format`` is BFL's name for it, and the ``{ext}`` of ``output_path``.

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
