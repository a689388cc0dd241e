"""Images and videos that tests send as inputs."""

from __future__ import annotations

import base64
import io
import tempfile
from functools import cache
from pathlib import Path

import av
from PIL import Image

MIB = 1024 * 1024


@cache
def make_image(kind: str = "png", size: tuple[int, int] = (300, 300), shade: int = 90) -> bytes:
    """Return an image file."""
    file = io.BytesIO()
    Image.new("RGB", size, (shade, 60, 30)).save(file, kind.upper())
    return file.getvalue()


def make_large_image(size: int, kind: str = "jpeg") -> bytes:
    """Return an image file of ``size`` bytes: a picture with padding after it."""
    return make_image(kind).ljust(size, b"\xa5")


@cache
def make_video(
    seconds: float = 1.0, size: tuple[int, int] = (320, 192), *, index_first: bool = False
) -> bytes:
    """Return an mp4 video with its index at the end, as most tools write it, or at the front."""
    options = {"movflags": "+faststart"} if index_first else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip.mp4")
        with av.open(str(path), "w", format="mp4", options=options) as container:
            stream = container.add_stream(
                "libx264", rate=8, options={"preset": "ultrafast", "threads": "1"}
            )
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            for number in range(round(seconds * 8)):
                image = Image.effect_noise(size, 40 + number).convert("RGB")
                container.mux(stream.encode(av.VideoFrame.from_image(image)))
            container.mux(stream.encode(None))
        return path.read_bytes()


def decode(data: bytes) -> None:
    """Decode all pixels of an image.

    :raises OSError: if they are damaged.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except Exception as error:  # damaged files raise many kinds
        raise OSError(f"cannot decode the image: {error}") from error


def encode_base64(data: bytes) -> str:
    """Return the base64 of a file."""
    return base64.b64encode(data).decode()
