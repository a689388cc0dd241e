"""Input images and videos: from the text in a request to a file that was looked into."""

from __future__ import annotations

import binascii
import hashlib
import io
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from PIL import Image

from airflow_provider_flux.bfl.catalog import MediaField, MediaKind, Model
from airflow_provider_flux.bfl.inputs import MediaFile, inputs_of
from airflow_provider_flux.emulator import draft_cache
from airflow_provider_flux.emulator.background import in_thread
from airflow_provider_flux.emulator.drawing import video
from airflow_provider_flux.emulator.drawing.sizes import Files

BROKEN_IMAGE = "Invalid or corrupted image input"
BROKEN_DRAFT = "Invalid or corrupted draft cache"

_IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO")
#: An image of more pixels is refused for its size, so that nobody has to decode it.
_MOST_DECODED = 25_000_000
#: What Pillow raises on bytes that are no image, or only the beginning of one.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    ArithmeticError,
    struct.error,
    Image.DecompressionBombError,
)


class BrokenInputError(ValueError):
    """An input is not what its field takes."""


class Probe(NamedTuple):
    """What is seen in the bytes of an input."""

    media_type: str
    width: int | None = None
    height: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Inputs:
    """The media of a request, by field.

    :param given: files, and the URLs that are still to be fetched.
    :param error: why the task will fail; empty if the inputs are good so far.
    """

    given: Mapping[str, Sequence[MediaFile | str]] = field(default_factory=dict)
    error: str = ""

    @property
    def files(self) -> Files:
        """The files that are at hand."""
        return {
            name: [one for one in group if isinstance(one, MediaFile)]
            for name, group in self.given.items()
        }

    @property
    def are_pending(self) -> bool:
        """Whether there is a URL to be fetched."""
        return any(isinstance(one, str) for group in self.given.values() for one in group)


#: A request without media.
NO_INPUTS = Inputs()


async def read_inputs(model: Model, parameters: Mapping[str, Any]) -> Inputs:
    """Return the inputs of a request, with base64 and data URLs decoded; that is done in a thread."""
    texts = inputs_of(model, parameters)
    fields = model.schema_for(parameters).model_fields
    for spec in model.media:
        if spec.name not in texts and spec.name in fields and fields[spec.name].is_required():
            return Inputs(error=broken(spec))  # it is there, as the schema demands, and empty
    return await in_thread(_read_all, model, texts) if texts else NO_INPUTS


def broken(spec: MediaField) -> str:
    """Return what the service says of an input it cannot read."""
    return BROKEN_DRAFT if spec.kind is MediaKind.DRAFT else BROKEN_IMAGE


def read_bytes(data: bytes, spec: MediaField, source: str) -> MediaFile:
    """Return the file that these bytes are. Equal ones are kept once, as long as a task needs them.

    :raises BrokenInputError: if they are none that the field takes.
    """
    digest = hashlib.sha256(data).hexdigest()
    known = _KNOWN.get((digest, spec.kind))
    if known is not None:
        return known
    try:
        probe = _PROBES[spec.kind](data)
    except _UNREADABLE:
        raise BrokenInputError(broken(spec)) from None
    opened = partial(io.BytesIO, data)
    file = MediaFile(
        source,
        probe.media_type,
        len(data),
        digest,
        opened,
        probe.width,
        probe.height,
        probe.seconds,
    )
    return _KNOWN.setdefault((digest, spec.kind), file)


def _read_all(model: Model, texts: Mapping[str, Sequence[str]]) -> Inputs:
    try:
        given = {
            name: [_read(text, model.media_fields[name]) for text in group]
            for name, group in texts.items()
        }
    except BrokenInputError as error:
        return Inputs(error=str(error))
    return Inputs(given)


def _read(text: str, spec: MediaField) -> MediaFile | str:
    if spec.takes_url and text.startswith(("http://", "https://")):
        return text
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return read_bytes(binascii.a2b_base64(text), spec, "base64")
    except ValueError:  # not base64, or nothing that the field takes
        raise BrokenInputError(broken(spec)) from None


def _probe_image(data: bytes) -> Probe:
    with Image.open(io.BytesIO(data), formats=_IMAGE_FORMATS) as image:
        if image.width * image.height <= _MOST_DECODED:
            image.convert("RGB")  # decodes all of it: only that shows an image that was cut off
        return Probe(Image.MIME[image.format or ""], image.width, image.height)


def _probe_video(data: bytes) -> Probe:
    width, height, seconds = video.probe(data)
    return Probe("video/mp4", width, height, seconds)


def _probe_draft(data: bytes) -> Probe:
    draft_cache.unpack(data)
    return Probe("application/octet-stream")


_PROBES: Mapping[MediaKind, Callable[[bytes], Probe]] = {
    MediaKind.IMAGE: _probe_image,
    MediaKind.MASK: _probe_image,
    MediaKind.VIDEO: _probe_video,
    MediaKind.DRAFT: _probe_draft,
}
_KNOWN: WeakValueDictionary[tuple[str, MediaKind], MediaFile] = WeakValueDictionary()
