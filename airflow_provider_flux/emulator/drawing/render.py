"""Render pictures to the bytes of a file."""

from __future__ import annotations

import io
from functools import lru_cache

from airflow_provider_flux.emulator.drawing import edits, padded_jpeg, video
from airflow_provider_flux.emulator.drawing.caption import write_caption
from airflow_provider_flux.emulator.drawing.picture import Picture

_CACHED = 16
_ENCODING: dict[str, dict[str, int]] = {
    "jpeg": {"quality": 90},
    "png": {"compress_level": 1},
    "webp": {"quality": 85, "method": 0},
}


@lru_cache(maxsize=_CACHED)
def render(picture: Picture, jpeg_bytes: int | None = None) -> bytes:
    """Return the encoded image or video; equal pictures give equal bytes.

    :param jpeg_bytes: about how large a JPEG is to be, with nothing drawn on it.
    """
    if jpeg_bytes is not None and picture.format == "jpeg":
        return padded_jpeg.jpeg(picture, jpeg_bytes)
    if picture.clip is not None:
        return video.encode(picture, picture.clip)
    image = edits.draw(picture)
    write_caption(image, picture)
    buffer = io.BytesIO()
    image.save(buffer, picture.format, **_ENCODING[picture.format])
    return buffer.getvalue()
