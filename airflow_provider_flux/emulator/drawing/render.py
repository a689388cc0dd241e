"""The rendering of pictures to the bytes of a file."""

from __future__ import annotations

import io
from functools import lru_cache

from PIL import Image

from airflow_provider_flux.emulator.drawing.edits import draw_image
from airflow_provider_flux.emulator.drawing.layers import draw_caption
from airflow_provider_flux.emulator.drawing.padded_jpeg import encode_padded_jpeg
from airflow_provider_flux.emulator.drawing.picture import Picture
from airflow_provider_flux.emulator.drawing.scenes import draw_scene, scene_quality
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
    if picture.scene:
        return _encode(draw_scene(picture), picture.format, quality=scene_quality(picture))
    if jpeg_bytes is not None and picture.format == "jpeg":
        return encode_padded_jpeg(picture, jpeg_bytes)
    if picture.clip is not None:
        return encode_video(picture, picture.clip)
    image = draw_image(picture)
    draw_caption(image, picture)
    return _encode(image, picture.format)


def _encode(image: Image.Image, file_format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    known = _ENCODER_OPTIONS[file_format]
    changed = {name: value for name, value in options.items() if name in known}
    image.save(buffer, file_format, **{**known, **changed})
    return buffer.getvalue()
