"""The source of an input image or video: a store, a URL, a file of the worker, or base64."""

from __future__ import annotations

import base64
import binascii
import os
import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any
from urllib.parse import quote

from airflow_provider_flux.bfl.catalog import MediaField, MediaKind
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.inputs import InlineMedia, map_inputs
from airflow_provider_flux.bfl.redaction import describe_url, hide_userinfo, redact
from airflow_provider_flux.media.video import is_mp4

_SCHEME = re.compile(r"([a-z][a-z0-9+.\-]*)://", re.IGNORECASE)
_DATA_URL = re.compile(r"\s*data:[^,]{0,200};base64,", re.IGNORECASE)
_BASE64_HEAD = re.compile(r"[A-Za-z0-9+/\s]+=*\s*")
_HEAD_CHARACTERS = 64
#: Longest path of a file. Longer text is base64 of an unknown format.
_MAX_PATH_CHARACTERS = 4096
_MAX_SHOWN_CHARACTERS = 200
#: A draft cache has no known signature: base64 text is at least so long, a path rarely is.
_LONG_BASE64 = re.compile(r"\s*[A-Za-z0-9+/\r\n]{512}")
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\x00", b"MM\x00*")


class SourceKind(StrEnum):
    """The kind of a source, which decides how the input is read."""

    URL = "url"
    STORE = "store"
    FILE = "file"
    BASE64 = "base64"


_FILES = (SourceKind.FILE, SourceKind.STORE)


@dataclass(frozen=True)
class Source:
    """The source of an input.

    :param kind: kind of the source.
    :param text: URI, path or base64, which the repr does not contain.
    :param start: index in ``text`` at which base64 begins.
    """

    kind: SourceKind
    text: str = field(repr=False)
    start: int = 0

    def __str__(self) -> str:
        """Return the source for a log, without query and base64."""
        if self.kind is SourceKind.BASE64:
            return "base64"
        if self.kind is SourceKind.URL:
            return describe_url(self.text)
        text = hide_userinfo(self.text)
        return (
            text
            if len(text) <= _MAX_SHOWN_CHARACTERS
            else f"{redact(text[:_MAX_SHOWN_CHARACTERS])}..."
        )


def read_source(value: Any, *, name: str, kind: MediaKind = MediaKind.IMAGE) -> Source:
    """Return the source of an input.

    :param value: value of the field.
    :param name: name of the field, for the error.
    :param kind: kind of input that the field takes, an image by default.
    :raises FluxRequestError: if the value is not a source.
    """
    source = _read(value, name, kind)
    # A draft cache has no known signature: its name keeps a templated path from sending any other
    # file.
    if (
        kind is MediaKind.DRAFT
        and source.kind in _FILES
        and not source.text.lower().endswith(".bin")
    ):
        raise FluxRequestError(
            f"{name} ({source}) must be a .bin file, as a draft video was landed with."
        )
    return source


def _read(value: Any, name: str, kind: MediaKind) -> Source:
    text = value.text if isinstance(value, InlineMedia) else _as_text(value)
    if match := _DATA_URL.match(text):
        return Source(SourceKind.BASE64, text, match.end())
    if isinstance(value, InlineMedia):
        return Source(SourceKind.BASE64, text)
    if match := _SCHEME.match(text):
        return _of_scheme(match[1].lower(), text, name)
    if _is_base64(text, kind):
        return Source(SourceKind.BASE64, text)
    if text.startswith("/") and len(text) <= _MAX_PATH_CHARACTERS:
        return Source(SourceKind.FILE, text)
    raise FluxRequestError(
        f"{name} is neither a URI (s3://my_conn@bucket/key, gs://, abfs://, file:///), nor an "
        "http(s) URL, nor an "
        f"absolute path, nor the base64 of an image or video. {_hint(text)}"
    )


def hide(value: Any, kind: MediaKind = MediaKind.DRAFT) -> Any:
    """Wrap base64 in a value, so that it is neither shown nor stored.

    :param value: a value of any shape.
    :param kind: kind of input that the value is for. By default any long base64 is wrapped.
    """
    if isinstance(value, bytes):
        return InlineMedia(value.decode("latin-1"))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [hide(item, kind) for item in value]
    if isinstance(value, Mapping):
        return {name: hide(item, kind) for name, item in value.items()}
    if isinstance(value, str) and (
        _DATA_URL.match(value) or (not _SCHEME.match(value) and _is_base64(value, kind))
    ):
        return InlineMedia(value)
    return value


def find_source_problems(media: Iterable[MediaField], parameters: Mapping[str, Any]) -> list[str]:
    """Return the problems of inputs that have no source. Nothing is opened.

    :param media: the media fields of the model.
    :param parameters: parameters of the request.
    """
    problems: list[str] = []

    def check(spec: MediaField, value: Any) -> None:
        try:
            read_source(value, name=spec.name, kind=spec.kind)
        except FluxRequestError as error:
            problems.append(str(error).rstrip("."))

    for spec in media:
        if value := parameters.get(spec.name):
            map_inputs(value, partial(check, spec))
    return problems


def _of_scheme(scheme: str, text: str, name: str) -> Source:
    if scheme in {"http", "https"}:
        return Source(SourceKind.URL, quote(text, safe=string.punctuation))
    if scheme in {"file", "local"}:
        path = text.partition("://")[2].removeprefix("localhost")
        if not path.startswith("/"):
            raise FluxRequestError(f"{name}={text!r} is relative. Write file:///absolute/path.")
        return Source(SourceKind.FILE, path)
    return Source(SourceKind.STORE, text)


def _as_text(value: Any) -> str:
    """Return a text or a path as text. ``str`` keeps the connection of an ObjectStoragePath."""
    return (
        os.fspath(value)
        if isinstance(value, os.PathLike) and "://" not in str(value)
        else str(value).strip()
    )


def _is_base64(text: str, kind: MediaKind) -> bool:
    """Whether text is base64. Base64 of a JPEG starts like a path, ``/9j/``: its bytes decide."""
    head = text[:_HEAD_CHARACTERS]
    if not _BASE64_HEAD.fullmatch(head):
        return False
    plain = "".join(head.split()).rstrip("=")
    try:
        raw = base64.b64decode(plain[: len(plain) // 4 * 4])
    except binascii.Error:
        return False
    if raw.startswith(_MAGIC) or is_mp4(raw) or (raw[:4] == b"RIFF" and raw[8:12] == b"WEBP"):
        return True
    return kind is MediaKind.DRAFT and bool(_LONG_BASE64.match(text))


def _hint(text: str) -> str:
    if len(text) > _MAX_SHOWN_CHARACTERS:
        return f"It is a text of {len(text)} characters."
    return f"It is {redact(text)!r}."
