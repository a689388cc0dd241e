"""What moves: how large and long a video is, and what is seen in it at which time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.bfl.inputs import MediaFile
from airflow_provider_flux.bfl.schemas.flux3 import is_timed
from airflow_provider_flux.emulator.drawing.sizes import Files, Size, first_image, ratio_of

#: Pixels by resolution: half the sides of the service's own, so that a video is made in a moment.
_AREAS = {"hd": 640 * 360, "fhd": 960 * 540, "qhd": 1280 * 720, "uhd": 1920 * 1080}
_DRAFT_AREA = 320 * 180
_LARGEST = 1920 * 1080
_AUTO_SECONDS = 5.0
_MOST_SECONDS = 20.0
_LATEST = 1e6
_USUAL_RATIO = 16 / 9
#: A video that is not fetched yet.
_UNKNOWN = (640, 360)
_MODES = {"flux-tools/video-upscale-v1": "upscale", "flux-tools/video-edit-v1": "edit"}

#: What is seen from a second on: an image, or the first frame of a video.
Keyframes = tuple[tuple[float, MediaFile], ...]


@dataclass(frozen=True)
class Clip:
    """The time in a moving picture.

    :param mode: the mode of the request; ``edit`` and ``upscale`` for the video tools.
    :param ratio: width by height, before it is rounded to pixels.
    :param draft: whether it can be enhanced later.
    """

    mode: str
    seconds: float
    ratio: float
    keyframes: Keyframes = ()
    draft: bool = False


def clip_of(model: Model, parameters: Mapping[str, Any], files: Files) -> Clip:
    """Return what a request for a video comes to."""
    mode = _MODES.get(model.name) or str(parameters["mode"])
    times = _times(parameters.get("keyframes"))
    seconds = _seconds(
        mode, parameters, files, latest=max((time or 0.0 for time in times), default=0.0)
    )
    images = [file for group in files.values() for file in group]
    ratio = ratio_of(parameters.get("aspect_ratio"), files, _USUAL_RATIO)
    return Clip(
        mode, seconds, ratio, _spread(times, images, seconds), parameters.get("draft") is True
    )


def video_size(clip: Clip, parameters: Mapping[str, Any], files: Files) -> Size:
    """Return width and height of a video: even numbers, as its encoding demands."""
    source = first_image(files)
    if clip.mode in {"upscale", "edit"}:
        size = (source.width or 0, source.height or 0) if source else _UNKNOWN
        factor = float(parameters.get("upscale_factor", 1.0))
        return _even(size[0] * factor, size[1] * factor)
    area = _DRAFT_AREA if clip.draft else _AREAS[parameters.get("resolution", "hd")]
    height = math.sqrt(area / clip.ratio)
    return _even(height * clip.ratio, height)


def _even(width: float, height: float) -> Size:
    factor = min(1.0, math.sqrt(_LARGEST / (width * height)))
    return max(round(width * factor / 2), 1) * 2, max(round(height * factor / 2), 1) * 2


def _seconds(mode: str, parameters: Mapping[str, Any], files: Files, *, latest: float) -> float:
    duration = parameters.get("duration")
    if isinstance(duration, int):
        return float(duration)
    lengths = [file.seconds for group in files.values() for file in group if file.seconds]
    if mode in {"upscale", "edit"} and lengths:
        return min(lengths[0], _MOST_SECONDS)
    return min(max(_AUTO_SECONDS, float(math.ceil(latest))), _MOST_SECONDS)


def _times(keyframes: Any) -> list[float | None]:
    """Return the time of each keyframe, ``None`` where none is written."""
    if not isinstance(keyframes, list):
        return [None] if keyframes else []
    frames = [keyframes] if is_timed(keyframes) else keyframes
    pairs = [frame if is_timed(frame) else (None, frame) for frame in frames]
    return [_time(time) for time, image in pairs if image]


def _time(written: float | None) -> float | None:
    """Return a time that can be counted with: JSON as Python reads it has infinities."""
    return float(written) if written is not None and abs(written) <= _LATEST else None


def _spread(times: list[float | None], images: list[MediaFile], seconds: float) -> Keyframes:
    """Return the keyframes in the order of their times; those without one are spread over the video."""
    last = max(len(images) - 1, 1)
    spread = [number * seconds / last for number in range(len(images))]
    given = times if len(times) == len(images) else [None] * len(images)
    placed = [
        (min(max(usual if time is None else time, 0.0), seconds), image)
        for time, usual, image in zip(given, spread, images, strict=True)
    ]
    return tuple(sorted(placed, key=lambda one: one[0]))
