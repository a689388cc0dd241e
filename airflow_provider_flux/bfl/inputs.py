"""Input images and videos, and the rules of the service about their size and length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from types import NoneType
from typing import Any, BinaryIO

from airflow_provider_flux.bfl.catalog.model import MIB, MediaField, Model
from airflow_provider_flux.bfl.pricing import MEGAPIXEL

#: FLUX.2 [pro] processes this many megapixels, inputs and output together.
_FLUX_2_MEGAPIXELS = 9
#: Seconds of a video that are upscaled.
_UPSCALED_SECONDS = 20
#: Seconds by which a video may exceed its limit, because its last piece of sound often outlasts its
#: pictures.
_SECONDS_TOLERANCE = 0.5
#: Types of values that are no path, as of nearly all values.
_PLAIN_TYPES = frozenset({str, int, float, bool, NoneType})


@dataclass(frozen=True)
class MediaFile:
    """An input image or video whose bytes are sent with the request, in base64.

    :param source: its origin, safe for a log: a URI without credentials, or ``base64``.
    :param media_type: MIME type, detected from the bytes.
    :param size: bytes.
    :param sha256: hash of the bytes in hexadecimal. It is part of the fingerprint of the request.
    :param open: opens the bytes for reading. It is called each time the request is sent.
    :param width: pixels. ``None`` if unknown.
    :param height: pixels. ``None`` if unknown.
    :param seconds: length of a video. ``None`` if unknown.
    :param orientation: EXIF orientation of an image, from 1 (upright, the default) to 8. The width
        and the height are those of the image as it is displayed.
    """

    source: str
    media_type: str
    size: int
    sha256: str
    open: Callable[[], BinaryIO] = field(repr=False, compare=False)
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    orientation: int = 1

    def __str__(self) -> str:
        """Return a description that is safe for a log."""
        shape = f" {self.width}x{self.height}" if self.width and self.height else ""
        return f"<{self.media_type}{shape}, {self.size} bytes, from {self.source}>"


class InlineMedia:
    """An input supplied as base64 text, of which logs and stores see only the length.

    :param text: base64, or a data URL.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        """Return a description that is safe for a log."""
        return f"<base64 text of {len(self.text)} characters>"

    __repr__ = __str__


def is_turned(orientation: int) -> bool:
    """Whether an image is displayed with its sides exchanged.

    :param orientation: EXIF orientation, from 1 to 8.
    """
    return orientation >= 5


def is_path(value: Any) -> bool:
    """Whether a value is a path object, which includes Airflow's ``ObjectStoragePath``.

    :param value: a value of a parameter.
    """
    if type(value) in _PLAIN_TYPES:
        return False
    return isinstance(value, PathLike) or hasattr(type(value), "conn_id")


def describe_input(value: Any) -> Any:
    """Return a path object, a file or base64 as a text that is safe for a log.

    :param value: a value of a parameter. Any other value is returned unchanged.
    """
    return str(value) if is_path(value) or isinstance(value, (MediaFile, InlineMedia)) else value


def map_inputs(value: Any, change: Callable[[Any], Any]) -> Any:
    """Apply a function to each input in the value of a field.

    :param value: an input, a list of inputs, or pairs of a time and an input.
    :param change: called with each input.
    :return: a value of the same shape.
    """
    if isinstance(value, (list, tuple)):
        return [map_inputs(item, change) for item in value]
    return value if isinstance(value, (int, float)) else change(value)


def inputs_of(model: Model, parameters: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the inputs of a request by field. A field without an input is left out.

    :param model: the model.
    :param parameters: by the service's own names.
    :return: :class:`MediaFile` objects, or URLs as text.
    """
    inputs = {name: list(iterate_inputs(parameters.get(name))) for name in model.media_fields}
    return {name: values for name, values in inputs.items() if values}


def iterate_inputs(value: Any) -> Iterator[Any]:
    """Yield the inputs in the value of a field.

    :param value: an input, a list of inputs, or pairs of a time and an input.
    """
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from iterate_inputs(item)
    elif value and not isinstance(value, (int, float)):
        yield value


def find_media_problems(model: Model, parameters: Mapping[str, Any]) -> list[str]:
    """Return the faults of the inputs that the worker has read, in the words of the service.

    The limits are those of the catalog. A URL that BFL fetches itself is not checked.

    :param model: the model.
    :param parameters: parameters whose inputs have been read.
    :return: one sentence each.
    """
    inputs = inputs_of(model, parameters)
    problems = [
        sentence
        for name, values in inputs.items()
        for file in _files(values)
        for sentence in _problems_of(model.media_fields[name], file)
    ]
    for spec in model.media:
        if spec.same_size_as and _differ_in_size(
            *(_files(inputs.get(n, [])) for n in (spec.name, spec.same_size_as))
        ):
            problems.append(f"{_title(spec.name)} must have the size of {spec.same_size_as}")
    if "auto_crop" in model.fields:
        problems += _outside_canvas(parameters, _files(inputs.get("input_image", [])))
    return problems


def find_media_warnings(model: Model, parameters: Mapping[str, Any]) -> list[str]:
    """Return the warnings about the inputs that the worker has read.

    :param model: the model.
    :param parameters: parameters whose inputs have been read.
    :return: one sentence each.
    """
    files = [file for values in inputs_of(model, parameters).values() for file in _files(values)]
    warnings = [_describe_orientation(file) for file in files if file.orientation != 1]
    if model.name == "flux-tools/video-upscale-v1":
        warnings += [
            f"input_video is {f.seconds:.0f} s long: only {_UPSCALED_SECONDS} s are upscaled"
            for f in files
            if _is_longer_than(f, _UPSCALED_SECONDS)
        ]
    if (
        model.name.startswith("flux-2-")
        and _pixels(parameters, files) > _FLUX_2_MEGAPIXELS * MEGAPIXEL
    ):
        warnings.append(
            f"inputs and output have more than {_FLUX_2_MEGAPIXELS} megapixels: the service may "
            "scale them down"
        )
    return warnings


def _files(values: Sequence[Any]) -> list[MediaFile]:
    return [value for value in values if isinstance(value, MediaFile)]


def _problems_of(spec: MediaField, file: MediaFile) -> Iterator[str]:
    name = _title(spec.name)
    if file.size > spec.max_bytes:
        yield f"{name} must not be larger than {spec.max_bytes // MIB} MB"
    if (
        file.seconds is not None
        and spec.max_seconds is not None
        and file.seconds > spec.max_seconds + _SECONDS_TOLERANCE
    ):
        yield f"{name} must not be longer than {spec.max_seconds:g} seconds"
    if file.width is None or file.height is None:
        return
    if spec.max_pixels and file.width * file.height > spec.max_pixels:
        yield f"{name} must not have more than {spec.max_pixels / 1e6:.3g} megapixels"
    if spec.min_side and min(file.width, file.height) < spec.min_side:
        yield f"{name} dimensions must be at least {spec.min_side}x{spec.min_side} pixels"


def _differ_in_size(files: Sequence[MediaFile], others: Sequence[MediaFile]) -> bool:
    return any(_sizes_of(file).isdisjoint(_sizes_of(other)) for file in files for other in others)


def _sizes_of(file: MediaFile) -> set[tuple[int | None, int | None]]:
    """Return the size of an image as it is displayed, and as it is stored: masks have either."""
    sizes = {(file.width, file.height)}
    return sizes | {(file.height, file.width)} if is_turned(file.orientation) else sizes


def _describe_orientation(file: MediaFile) -> str:
    width, height = file.width, file.height
    stored = f"{height}x{width}" if is_turned(file.orientation) else f"{width}x{height}"
    return (
        f"the image from {file.source} has EXIF orientation {file.orientation}: it is displayed as "
        f"{width}x{height} and stored as {stored}. BFL receives it as it is stored, and may ignore "
        "the orientation. If the result is turned, store the image upright: "
        "magick input.jpg -auto-orient output.jpg"
    )


def _outside_canvas(parameters: Mapping[str, Any], files: Sequence[MediaFile]) -> list[str]:
    """Return the fault of an image outside its canvas, unless the service may crop it."""
    canvas = parameters.get("width"), parameters.get("height")
    if (
        not files
        or parameters.get("auto_crop")
        or not all(isinstance(side, int) for side in canvas)
    ):
        return []
    axes = (
        (parameters.get("reference_offset_x"), files[0].width, canvas[0]),
        (parameters.get("reference_offset_y"), files[0].height, canvas[1]),
    )
    if all(_is_inside(offset, side, canvas_side) for offset, side, canvas_side in axes):
        return []
    return [
        f"Input_image of {files[0].width}x{files[0].height} is not inside the canvas of "
        f"{canvas[0]}x{canvas[1]}: change the offset or the canvas, or set auto_crop"
    ]


def _is_inside(offset: Any, side: int | None, canvas_side: Any) -> bool:
    if side is None or not isinstance(offset, (int, type(None))):
        return True
    return bool(side <= canvas_side if offset is None else 0 <= offset <= canvas_side - side)


def _pixels(parameters: Mapping[str, Any], files: Sequence[MediaFile]) -> int:
    out = [
        side if isinstance(side := parameters.get(name), int) else 0 for name in ("width", "height")
    ]
    return out[0] * out[1] + sum((file.width or 0) * (file.height or 0) for file in files)


def _is_longer_than(file: MediaFile, seconds: float) -> bool:
    return file.seconds is not None and file.seconds > seconds


def _title(name: str) -> str:
    """Return a field name in the form in which the service begins a sentence with it."""
    return name[:1].upper() + name[1:]
