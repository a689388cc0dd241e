"""Input images and videos: what is known of one, and the rules of the service that need to know it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, BinaryIO

from airflow_provider_flux.bfl.catalog.model import MIB, MediaField, Model
from airflow_provider_flux.bfl.pricing import MEGAPIXEL

#: [pro] works on this many megapixels, inputs and output together.
_FLUX_2_MEGAPIXELS = 9
#: Seconds by which a video may be longer than its limit: the last piece of its sound is often
#: longer than its pictures.
_ROUNDING = 0.5


@dataclass(frozen=True)
class MediaFile:
    """An input image or video whose bytes go along with the request, in base64.

    :param source: where it came from, fit for a log: a URI without credentials, or ``base64``.
    :param media_type: MIME type, told from the bytes.
    :param size: bytes.
    :param sha256: of the bytes; part of the fingerprint of the request.
    :param width: pixels, where they are known.
    :param height: pixels, where they are known.
    :param seconds: length of a video, where it is known.
    :param open: opens the bytes for reading, as often as the request is sent.
    """

    source: str
    media_type: str
    size: int
    sha256: str
    open: Callable[[], BinaryIO] = field(repr=False, compare=False)
    width: int | None = None
    height: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        """Return what may be written to a log."""
        shape = f" {self.width}x{self.height}" if self.width and self.height else ""
        return f"<{self.media_type}{shape}, {self.size} bytes, from {self.source}>"


class InlineMedia:
    """An input that was given as base64 text. Whoever prints, logs or stores it sees its length alone."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        """Return what may be shown."""
        return f"<base64 text of {len(self.text)} characters>"

    __repr__ = __str__


def is_path(value: Any) -> bool:
    """Whether a value is a path object; Airflow's ObjectStoragePath is one, but no ``os.PathLike``."""
    return isinstance(value, PathLike) or hasattr(type(value), "conn_id")


def describe_input(value: Any) -> Any:
    """Return an input as text: a path object as its path, a file or base64 as what may be shown of it."""
    return str(value) if is_path(value) or isinstance(value, (MediaFile, InlineMedia)) else value


def map_inputs(value: Any, change: Callable[[Any], Any]) -> Any:
    """Apply ``change`` to the inputs in a field's value: one, a list of them, or pairs with a time."""
    if isinstance(value, (list, tuple)):
        return [map_inputs(item, change) for item in value]
    return value if isinstance(value, (int, float)) else change(value)


def inputs_of(model: Model, parameters: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the media of a request, by field: :class:`MediaFile`, or the text of a URL."""
    found = {name: list(iterate_inputs(parameters.get(name))) for name in model.media_fields}
    return {name: values for name, values in found.items() if values}


def iterate_inputs(value: Any) -> Iterator[Any]:
    """Yield the media in a field that may hold one, a list of them, or pairs with a time."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from iterate_inputs(item)
    elif value and not isinstance(value, (int, float)):
        yield value


def find_media_problems(model: Model, parameters: Mapping[str, Any]) -> list[str]:
    """Return what the service would refuse about the inputs whose bytes are at hand."""
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
    """Return what may not be meant, or may be refused, about the inputs whose bytes are at hand."""
    files = [file for values in inputs_of(model, parameters).values() for file in _files(values)]
    warnings = []
    if model.name == "flux-tools/video-upscale-v1":
        warnings += [
            f"input_video is {f.seconds:.0f} s long: only 20 s are upscaled"
            for f in files
            if _over(f, 20)
        ]
    if (
        model.name.startswith("flux-2-")
        and _pixels(parameters, files) > _FLUX_2_MEGAPIXELS * MEGAPIXEL
    ):
        warnings.append(
            f"inputs and output are more than {_FLUX_2_MEGAPIXELS} megapixels: they may be scaled "
            "down"
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
        and file.seconds > spec.max_seconds + _ROUNDING
    ):
        yield f"{name} must not be longer than {spec.max_seconds:g} seconds"
    if file.width is None or file.height is None:
        return
    if spec.max_pixels and file.width * file.height > spec.max_pixels:
        yield f"{name} must not have more than {spec.max_pixels / 1e6:.3g} megapixels"
    if spec.min_side and min(file.width, file.height) < spec.min_side:
        yield f"{name} dimensions must be at least {spec.min_side}x{spec.min_side} pixels"


def _differ_in_size(ones: Sequence[MediaFile], others: Sequence[MediaFile]) -> bool:
    return any(
        (one.width, one.height) != (other.width, other.height) for one in ones for other in others
    )


def _outside_canvas(parameters: Mapping[str, Any], files: Sequence[MediaFile]) -> list[str]:
    """An image placed on a canvas must lie inside it, unless the service may crop it."""
    canvas = parameters.get("width"), parameters.get("height")
    if (
        not files
        or parameters.get("auto_crop")
        or not all(isinstance(side, int) for side in canvas)
    ):
        return []
    places = (
        (parameters.get("reference_offset_x"), files[0].width, canvas[0]),
        (parameters.get("reference_offset_y"), files[0].height, canvas[1]),
    )
    if all(_is_inside(offset, side, room) for offset, side, room in places):
        return []
    return [
        f"Input_image of {files[0].width}x{files[0].height} does not lie inside the canvas of "
        f"{canvas[0]}x{canvas[1]}: change the offset or the canvas, or set auto_crop"
    ]


def _is_inside(offset: Any, side: int | None, room: Any) -> bool:
    if side is None or not isinstance(offset, (int, type(None))):
        return True
    return bool(side <= room if offset is None else 0 <= offset <= room - side)


def _pixels(parameters: Mapping[str, Any], files: Sequence[MediaFile]) -> int:
    out = [
        side if isinstance(side := parameters.get(name), int) else 0 for name in ("width", "height")
    ]
    return out[0] * out[1] + sum((file.width or 0) * (file.height or 0) for file in files)


def _over(file: MediaFile, seconds: float) -> bool:
    return file.seconds is not None and file.seconds > seconds


def _title(name: str) -> str:
    """Return a field name as the service begins a sentence with it."""
    return name[:1].upper() + name[1:]
