"""The rendering of pictures to the bytes of a file."""

from __future__ import annotations

import io
from functools import lru_cache

from airflow_provider_flux.emulator.drawing.edits import draw_image
from airflow_provider_flux.emulator.drawing.layers import draw_caption
from airflow_provider_flux.emulator.drawing.padded_jpeg import encode_padded_jpeg
from airflow_provider_flux.emulator.drawing.picture import Picture
from airflow_provider_flux.emulator.drawing.video import encode_video

_MAX_CACHED = 16
_ENCODER_OPTIONS: dict[str, dict[str, int]] = {
    "jpeg": {"quality": 90},
    "png": {"compress_level": 1},
    "webp": {"quality": 85, "method": 0},
}


@lru_cache(maxsize=_MAX_CACHED)
def render(picture: Picture, jpeg_bytes: int | None = None) -> bytes:
    """Return the encoded image or video; equal pictures give equal bytes.

    :param picture: the image or video to render.
    :param jpeg_bytes: requested size of a JPEG, with nothing drawn on it; ``None`` draws it.
    """
    if jpeg_bytes is not None and picture.format == "jpeg":
        return encode_padded_jpeg(picture, jpeg_bytes)
    if picture.clip is not None:
        return encode_video(picture, picture.clip)
    image = draw_image(picture)
    draw_caption(image, picture)
    buffer = io.BytesIO()
    image.save(buffer, picture.format, **_ENCODER_OPTIONS[picture.format])
    return buffer.getvalue()
