"""Source of an input: an object of a store, a URL, a file of the worker, or base64."""

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
#: Longest path of a file. Longer text is base64, but of no known format.
_MAX_PATH_CHARACTERS = 4096
_MAX_SHOWN_CHARACTERS = 200
#: Base64 of a draft cache, which has no known signature: so long a run without a dot is no path.
_LONG_BASE64 = re.compile(r"\s*[A-Za-z0-9+/\r\n]{512}")
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\x00", b"MM\x00*")


class SourceKind(StrEnum):
    """The way to read an input."""

    URL = "url"
    STORE = "store"
    FILE = "file"
    BASE64 = "base64"


_FILES = (SourceKind.FILE, SourceKind.STORE)


@dataclass(frozen=True)
class Source:
    """Source of an input. Its repr does not show the text.

    :param kind: the way to read it.
    :param text: a URI, a path, or base64.
    :param start: offset at which the base64 begins, after the head of a ``data:`` URL. Default 0.
    """

    kind: SourceKind
    text: str = field(repr=False)
    start: int = 0

    def __str__(self) -> str:
        """Return the source as text for a log, without a query and without base64."""
        if self.kind is SourceKind.BASE64:
            return "base64"
        if self.kind is SourceKind.URL:
            return describe_url(self.text)
        text = hide_userinfo(self.text)
        if len(text) <= _MAX_SHOWN_CHARACTERS:
            return text
        return f"{redact(text[:_MAX_SHOWN_CHARACTERS])}..."


def parse_source(value: Any, *, name: str, kind: MediaKind = MediaKind.IMAGE) -> Source:
    """Return the source of an input. Nothing is opened.

    :param value: the input: text, a path object, or wrapped base64.
    :param name: name of the field, for the error.
    :param kind: kind of file that the field takes, an image by default.
    :raises FluxRequestError: if the value names no source.
    """
    source = _classify(value, name, kind)
    # A draft cache has no known signature. Without the check of its name, a templated path could
    # send any other file.
    is_bin = source.text[-4:].lower() == ".bin"  # the text may be megabytes of base64
    if kind is MediaKind.DRAFT and source.kind in _FILES and not is_bin:
        raise FluxRequestError(
            f"{name} ({source}) must be the .bin file that landed with a draft video."
        )
    return source


def _classify(value: Any, name: str, kind: MediaKind) -> Source:
    text = value.text if isinstance(value, InlineMedia) else _as_text(value)
    if match := _DATA_URL.match(text):
        return Source(SourceKind.BASE64, text, match.end())
    if isinstance(value, InlineMedia):
        return Source(SourceKind.BASE64, text)
    if match := _SCHEME.match(text):
        return _parse_uri(match[1].lower(), text, name)
    if _is_base64(text, kind):
        return Source(SourceKind.BASE64, text)
    if text.startswith("/") and len(text) <= _MAX_PATH_CHARACTERS:
        return Source(SourceKind.FILE, text)
    raise FluxRequestError(
        f"{name} is neither a URI (s3://my_conn@bucket/key, gs://, abfs://, file:///), nor an "
        "http(s) URL, nor an absolute path, nor the base64 of an image or video. "
        f"{_describe_text(text)}"
    )


def wrap_base64(value: Any, kind: MediaKind = MediaKind.DRAFT) -> Any:
    """Wrap the base64 in a value in ``InlineMedia``, which logs and records do not contain.

    :param value: an input, or a list or a mapping of inputs.
    :param kind: kind of file that the field takes. By default it is not known, and any long base64
        is wrapped.
    """
    if isinstance(value, bytes):
        return InlineMedia(value.decode("latin-1"))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [wrap_base64(item, kind) for item in value]
    if isinstance(value, Mapping):
        return {name: wrap_base64(item, kind) for name, item in value.items()}
    if isinstance(value, str) and _holds_base64(value, kind):
        return InlineMedia(value)
    return value


def _holds_base64(text: str, kind: MediaKind) -> bool:
    return bool(_DATA_URL.match(text)) or (not _SCHEME.match(text) and _is_base64(text, kind))


def find_source_problems(media: Iterable[MediaField], parameters: Mapping[str, Any]) -> list[str]:
    """Return a problem for each input that names no source. Nothing is opened.

    :param media: media fields of the model.
    :param parameters: parameters of the request by name.
    """
    problems: list[str] = []

    def check(spec: MediaField, value: Any) -> None:
        try:
            parse_source(value, name=spec.name, kind=spec.kind)
        except FluxRequestError as error:
            problems.append(str(error).rstrip("."))

    for spec in media:
        if value := parameters.get(spec.name):
            map_inputs(value, partial(check, spec))
    return problems


def _parse_uri(scheme: str, text: str, name: str) -> Source:
    if scheme in {"http", "https"}:
        return Source(SourceKind.URL, quote(text, safe=string.punctuation))
    if scheme in {"file", "local"}:
        path = text.partition("://")[2].removeprefix("localhost")
        if not path.startswith("/"):
            raise FluxRequestError(f"{name}={text!r} is relative. Write file:///absolute/path.")
        return Source(SourceKind.FILE, path)
    return Source(SourceKind.STORE, text)


def _as_text(value: Any) -> str:
    """Return a value as text. ``str`` of an ObjectStoragePath keeps its connection."""
    if isinstance(value, os.PathLike) and "://" not in str(value):
        return str(os.fspath(value))
    return str(value).strip()


def _is_base64(text: str, kind: MediaKind) -> bool:
    """Whether a text is base64.

    The decoded bytes decide, because the base64 of a JPEG starts like a path: ``/9j/``.
    """
    head = text[:_HEAD_CHARACTERS]
    if not _BASE64_HEAD.fullmatch(head):
        return False
    plain = "".join(head.split()).rstrip("=")
    try:
        raw = base64.b64decode(plain[: len(plain) // 4 * 4])
    except binascii.Error:
        return False
    if raw.startswith(_SIGNATURES) or is_mp4(raw) or (raw[:4] == b"RIFF" and raw[8:12] == b"WEBP"):
        return True
    return kind is MediaKind.DRAFT and bool(_LONG_BASE64.match(text))


def _describe_text(text: str) -> str:
    if len(text) > _MAX_SHOWN_CHARACTERS:
        return f"It is a text of {len(text)} characters."
    return f"It is {redact(text)!r}."
