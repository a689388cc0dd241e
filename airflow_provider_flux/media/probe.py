"""Check by its header that an input is the image or the video that its field takes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from airflow_provider_flux.bfl.catalog import MediaKind
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.inputs import is_turned
from airflow_provider_flux.media.orientation import read_orientation
from airflow_provider_flux.media.other_formats import HEAD_BYTES, describe_other_format
from airflow_provider_flux.media.video import DamagedVideoError, is_mp4, read_video

#: Formats of Pillow that an input may have, as the emulator accepts them.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


@dataclass(frozen=True)
class InputFacts:
    """Properties of an input file, read from its header.

    :param media_type: MIME type.
    :param width: width in pixels; ``None`` for a draft cache.
    :param height: height in pixels; ``None`` for a draft cache.
    :param seconds: length of a video; ``None`` for another file, or if the header does not name it.
    :param orientation: EXIF orientation, from 1 (upright, the default) to 8. The width and the
        height are those of the image as it is displayed.
    """

    media_type: str
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    orientation: int = 1


def probe_input(path: Path, kind: MediaKind, label: str) -> InputFacts:
    """Return the properties of an input file.

    :param path: the file.
    :param kind: kind of file that the field takes.
    :param label: field and source, with which the error message begins.
    :raises FluxRequestError: if it is of another kind. The message holds none of its bytes.
    """
    if not path.stat().st_size:
        raise FluxRequestError(f"{label} is empty.")
    if kind is MediaKind.DRAFT:
        return InputFacts("application/octet-stream")
    head = _head(path)
    if other := describe_other_format(head):
        raise FluxRequestError(f"{label} {other}.")
    is_video = kind is MediaKind.VIDEO or (kind is MediaKind.FILE and is_mp4(head))
    return _probe_video(path, label) if is_video else _probe_image(path, label)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _probe_image(path: Path, label: str) -> InputFacts:
    try:
        with warnings.catch_warnings():
            # The limit of pixels is checked later.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                media_type = Image.MIME.get(image.format or "", "image/unknown")
                orientation = read_orientation(image)
                sides = (image.width, image.height)
                width, height = reversed(sides) if is_turned(orientation) else sides
                return InputFacts(media_type, width, height, orientation=orientation)
    except Image.DecompressionBombError:
        raise FluxRequestError(f"{label} has too many pixels.") from None
    except Exception:  # damaged headers raise many kinds
        raise FluxRequestError(f"{label} is not an image.") from None


def _probe_video(path: Path, label: str) -> InputFacts:
    try:
        with path.open("rb") as file:
            video = read_video(file)
    except DamagedVideoError as error:
        raise FluxRequestError(f"{label} cannot be used: {error}.") from None
    seconds = video.seconds or None  # a fragmented file does not name it
    return InputFacts("video/mp4", video.width, video.height, seconds)
