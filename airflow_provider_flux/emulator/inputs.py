"""Inputs: the images, videos and draft caches in the body of a request."""

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

from PIL import Image, ImageOps

from airflow_provider_flux.bfl.catalog import MediaField, MediaKind, Model
from airflow_provider_flux.bfl.inputs import MediaFile, inputs_of
from airflow_provider_flux.emulator.background_jobs import run_in_thread
from airflow_provider_flux.emulator.drawing.draft_cache import unpack_draft
from airflow_provider_flux.emulator.drawing.sizes import Files
from airflow_provider_flux.emulator.drawing.video import probe_video

BROKEN_IMAGE = "Invalid or corrupted image input"
BROKEN_DRAFT = "Invalid or corrupted draft cache"

_IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO")
#: An image of more pixels is refused for its size without being decoded.
_MAX_DECODED_PIXELS = 25_000_000
#: The errors that Pillow raises for bytes that are no image, or only the beginning of one.
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
    """An input is not a file that its field takes."""


class Probe(NamedTuple):
    """The facts that the bytes of an input show.

    :param media_type: MIME type.
    :param width: pixels; ``None`` for a draft cache.
    :param height: pixels; ``None`` for a draft cache.
    :param seconds: length of a video; ``None`` for anything else.
    """

    media_type: str
    width: int | None = None
    height: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Inputs:
    """The media of a request.

    :param by_field: files, and the URLs that are not fetched yet, by field.
    :param error: the reason for which the task will fail; empty if all inputs so far are valid.
    """

    by_field: Mapping[str, Sequence[MediaFile | str]] = field(default_factory=dict)
    error: str = ""

    @property
    def files(self) -> Files:
        """The files that are loaded, by field."""
        return {
            name: [entry for entry in group if isinstance(entry, MediaFile)]
            for name, group in self.by_field.items()
        }

    @property
    def are_pending(self) -> bool:
        """Whether a URL is not fetched yet."""
        return any(isinstance(entry, str) for group in self.by_field.values() for entry in group)


#: A request without media.
NO_INPUTS = Inputs()


async def read_inputs(model: Model, parameters: Mapping[str, Any]) -> Inputs:
    """Return the inputs of a request, with base64 and data URLs decoded in a thread.

    :param model: the model of the request.
    :param parameters: the checked body of the request.
    """
    texts = inputs_of(model, parameters)
    fields = model.schema_for(parameters).model_fields
    for spec in model.media:
        if spec.name not in texts and spec.name in fields and fields[spec.name].is_required():
            return Inputs(error=error_of(spec))  # the schema has checked it: it is there, but empty
    return await run_in_thread(_read_all, model, texts) if texts else NO_INPUTS


def error_of(spec: MediaField) -> str:
    """Return the error text of the service for an input that it cannot read.

    :param spec: the field of the input.
    """
    return BROKEN_DRAFT if spec.kind is MediaKind.DRAFT else BROKEN_IMAGE


def read_file(data: bytes, spec: MediaField, source: str) -> MediaFile:
    """Return the file of these bytes. Equal files are kept once, as long as a task needs them.

    :param data: the bytes of the file.
    :param spec: the field of the input.
    :param source: origin of the file for log lines: a host name or ``base64``.
    :raises BrokenInputError: if the field does not take such a file.
    """
    digest = hashlib.sha256(data).hexdigest()
    known = _KNOWN_FILES.get((digest, spec.kind))
    if known is not None:
        return known
    try:
        probe = _PROBES[spec.kind](data)
    except _UNREADABLE:
        raise BrokenInputError(error_of(spec)) from None
    file = MediaFile(
        source,
        probe.media_type,
        len(data),
        digest,
        partial(io.BytesIO, data),
        probe.width,
        probe.height,
        probe.seconds,
    )
    return _KNOWN_FILES.setdefault((digest, spec.kind), file)


def _read_all(model: Model, texts: Mapping[str, Sequence[str]]) -> Inputs:
    try:
        by_field = {
            name: [_read(text, model.media_fields[name]) for text in group]
            for name, group in texts.items()
        }
    except BrokenInputError as error:
        return Inputs(error=str(error))
    return Inputs(by_field)


def _read(text: str, spec: MediaField) -> MediaFile | str:
    """Return the file of a base64 text or a data URL; another URL as it is."""
    if spec.takes_url and text.startswith(("http://", "https://")):
        return text
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return read_file(binascii.a2b_base64(text), spec, "base64")
    except ValueError:  # no base64, or no file that the field takes
        raise BrokenInputError(error_of(spec)) from None


def _probe_image(data: bytes) -> Probe:
    with Image.open(io.BytesIO(data), formats=_IMAGE_FORMATS) as image:
        if image.width * image.height <= _MAX_DECODED_PIXELS:
            image.convert("RGB")  # decodes the whole image, which detects a truncated file
            upright = ImageOps.exif_transpose(image)
            return Probe(Image.MIME[image.format or ""], upright.width, upright.height)
        return Probe(Image.MIME[image.format or ""], image.width, image.height)


def _probe_video(data: bytes) -> Probe:
    width, height, seconds = probe_video(data)
    return Probe("video/mp4", width, height, seconds)


def _probe_draft(data: bytes) -> Probe:
    unpack_draft(data)
    return Probe("application/octet-stream")


_PROBES: Mapping[MediaKind, Callable[[bytes], Probe]] = {
    MediaKind.IMAGE: _probe_image,
    MediaKind.MASK: _probe_image,
    MediaKind.VIDEO: _probe_video,
    MediaKind.DRAFT: _probe_draft,
}
_KNOWN_FILES: WeakValueDictionary[tuple[str, MediaKind], MediaFile] = WeakValueDictionary()
