"""The moving part of a video: its size, its length, and the image that is seen at each time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.bfl.inputs import MediaFile
from airflow_provider_flux.bfl.schemas.flux3 import is_timed
from airflow_provider_flux.emulator.drawing.sizes import Files, Size, first_image, ratio_of

#: Pixels by resolution: half the sides of the service's own, so that a video is encoded quickly.
_AREAS = {"hd": 640 * 360, "fhd": 960 * 540, "qhd": 1280 * 720, "uhd": 1920 * 1080}
_DRAFT_AREA = 320 * 180
_MAX_AREA = 1920 * 1080
_AUTO_SECONDS = 5.0
_MAX_SECONDS = 20.0
_MAX_KEYFRAME_TIME = 1e6
_DEFAULT_RATIO = 16 / 9
#: The size of a video that is not fetched yet.
_UNKNOWN_SIZE = (640, 360)
_MODES = {"flux-tools/video-upscale-v1": "upscale", "flux-tools/video-edit-v1": "edit"}

#: The image, or the first frame of a video, that is seen from a second on.
Keyframes = tuple[tuple[float, MediaFile], ...]


@dataclass(frozen=True)
class Clip:
    """The time axis of a video.

    :param mode: the mode of the request; ``edit`` and ``upscale`` for the video tools.
    :param seconds: length of the video.
    :param ratio: width by height, before it is rounded to pixels.
    :param keyframes: the inputs and the second at which each is seen, in order of time.
    :param draft: whether the video is a draft, which can be enhanced later.
    """

    mode: str
    seconds: float
    ratio: float
    keyframes: Keyframes = ()
    draft: bool = False


def build_clip(model: Model, parameters: Mapping[str, Any], files: Files) -> Clip:
    """Return the clip of a request for a video.

    :param model: a model that makes videos.
    :param parameters: the checked body of the request.
    :param files: the inputs that are loaded.
    """
    mode = _MODES.get(model.name) or str(parameters["mode"])
    times = _keyframe_times(parameters.get("keyframes"))
    latest = max((time or 0.0 for time in times), default=0.0)
    seconds = _length(mode, parameters, files, latest=latest)
    images = [file for group in files.values() for file in group]
    return Clip(
        mode,
        seconds,
        ratio_of(parameters.get("aspect_ratio"), files, _DEFAULT_RATIO),
        _spread_keyframes(times, images, seconds),
        parameters.get("draft") is True,
    )


def video_size(clip: Clip, parameters: Mapping[str, Any], files: Files) -> Size:
    """Return width and height of a video: even numbers, as its encoding demands.

    :param clip: the clip of the same request.
    :param parameters: the checked body of the request.
    :param files: the inputs that are loaded.
    """
    source = first_image(files)
    if clip.mode in {"upscale", "edit"}:
        size = (source.width or 0, source.height or 0) if source else _UNKNOWN_SIZE
        factor = float(parameters.get("upscale_factor", 1.0))
        return _round_to_even(size[0] * factor, size[1] * factor)
    area = _DRAFT_AREA if clip.draft else _AREAS[parameters.get("resolution", "hd")]
    height = math.sqrt(area / clip.ratio)
    return _round_to_even(height * clip.ratio, height)


def _round_to_even(width: float, height: float) -> Size:
    factor = min(1.0, math.sqrt(_MAX_AREA / (width * height)))
    return max(round(width * factor / 2), 1) * 2, max(round(height * factor / 2), 1) * 2


def _length(mode: str, parameters: Mapping[str, Any], files: Files, *, latest: float) -> float:
    """Return the seconds of a video whose last keyframe is seen at ``latest``."""
    duration = parameters.get("duration")
    if isinstance(duration, int):
        return float(duration)
    lengths = [file.seconds for group in files.values() for file in group if file.seconds]
    if mode in {"upscale", "edit"} and lengths:
        return min(lengths[0], _MAX_SECONDS)
    return min(max(_AUTO_SECONDS, float(math.ceil(latest))), _MAX_SECONDS)


def _keyframe_times(keyframes: Any) -> list[float | None]:
    """Return the time of each keyframe, ``None`` for a keyframe without one."""
    if not isinstance(keyframes, list):
        return [None] if keyframes else []
    frames = [keyframes] if is_timed(keyframes) else keyframes
    pairs = [frame if is_timed(frame) else (None, frame) for frame in frames]
    return [_finite_time(time) for time, image in pairs if image]


def _finite_time(time: float | None) -> float | None:
    """Return a time, or ``None`` for NaN and infinities, which Python accepts in JSON."""
    return float(time) if time is not None and abs(time) <= _MAX_KEYFRAME_TIME else None


def _spread_keyframes(
    times: list[float | None], images: list[MediaFile], seconds: float
) -> Keyframes:
    """Return the keyframes in order of time; those without a time are spread over the video."""
    last = max(len(images) - 1, 1)
    even_times = [number * seconds / last for number in range(len(images))]
    requested = times if len(times) == len(images) else [None] * len(images)
    keyframes = [
        (min(max(even if time is None else time, 0.0), seconds), image)
        for time, even, image in zip(requested, even_times, images, strict=True)
    ]
    return tuple(sorted(keyframes, key=lambda keyframe: keyframe[0]))
