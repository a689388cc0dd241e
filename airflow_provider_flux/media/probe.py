"""Check by its header that an input is the image or video that its field takes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from airflow_provider_flux.bfl.catalog import MediaKind
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.media.video import DamagedVideoError, is_mp4, read_video


@dataclass(frozen=True)
class Facts:
    """The facts in the header of a file.

    :param media_type: MIME type.
    :param width: pixels; ``None`` if they are not known.
    :param height: pixels; ``None`` if they are not known.
    :param seconds: length of a video; ``None`` if it is not known.
    """

    media_type: str
    width: int | None = None
    height: int | None = None
    seconds: float | None = None


def probe(path: Path, kind: MediaKind, what: str) -> Facts:
    """Return the facts in the header of a file.

    :param path: the file.
    :param kind: kind of input that the field takes.
    :param what: field and source, for the error message.
    :raises FluxRequestError: if it is not of the kind the field takes. The message holds none of
        its bytes.
    """
    if not path.stat().st_size:
        raise FluxRequestError(f"{what} is empty.")
    if kind is MediaKind.DRAFT:
        return Facts("application/octet-stream")
    is_video = kind is MediaKind.VIDEO or (kind is MediaKind.FILE and is_mp4(_head(path)))
    return _probe_video(path, what) if is_video else _probe_image(path, what)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(12)


def _probe_image(path: Path, what: str) -> Facts:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", Image.DecompressionBombWarning
            )  # the pixel limit is checked later
            with Image.open(path) as image:
                return Facts(
                    Image.MIME.get(image.format or "", "image/unknown"), image.width, image.height
                )
    except Image.DecompressionBombError:
        raise FluxRequestError(f"{what} has far too many pixels.") from None
    except Exception:  # damaged headers raise many kinds
        raise FluxRequestError(f"{what} is not an image.") from None


def _probe_video(path: Path, what: str) -> Facts:
    try:
        with path.open("rb") as file:
            video = read_video(file)
    except DamagedVideoError as error:
        raise FluxRequestError(f"{what} cannot be used: {error}.") from None
    seconds = video.seconds or None  # a fragmented file does not contain it
    return Facts("video/mp4", video.width, video.height, seconds)
