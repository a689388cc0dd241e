"""Names of landed images: Jinja first, then ``{ext} {request_id} {seed} {index}``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_flux.bfl.errors import FluxRequestError

#: What may stand in braces, and what it stands for.
PLACEHOLDERS: Mapping[str, str] = {
    "ext": "jpeg, png, webp or mp4, as the result really is",
    "request_id": "the id BFL gave the generation",
    "seed": "the seed the image was made with",
    "index": "position in the list, from 0; {index:04d} pads it",
}
_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_INDEX_FORMAT = re.compile(r"0?[1-9]d")
_MISSPELT_SCHEMES = {
    "wasb": "abfs",
    "wasbs": "abfs",
    "az": "abfs",
    "azure": "abfs",
    "gcs": "gs",
    "http": None,
    "https": None,
}
_WITHOUT_BUCKET = {"file", "local", ""}


def check_output_path(path: Any) -> str:
    """Return ``path`` as text if an image can be written there; Jinja parts are taken on trust.

    :raises FluxRequestError: if it is empty, relative, without bucket or file name, or holds ``..``
        or an unknown placeholder.
    """
    text = str(path) if path is not None else ""
    if not text.strip():
        raise _refusal(text, "is empty. Write it like s3://my_conn@bucket/images/{request_id}.{ext}")
    plain = _JINJA.sub("x", text)
    _check_placeholders(text, plain)
    if text.lstrip().startswith(("{{", "{%")):
        return text  # even the scheme comes from the template
    parts = urlsplit(plain)
    if parts.scheme in _MISSPELT_SCHEMES:
        better = _MISSPELT_SCHEMES[parts.scheme]
        way_out = f"Write {better}:// instead" if better else "Name an object store or file:///"
        raise _refusal(text, f"has the scheme {parts.scheme}://, which Airflow's object storage has not. {way_out}")
    if parts.scheme in _WITHOUT_BUCKET:
        if parts.netloc.rpartition("@")[2] or not parts.path.startswith("/"):
            raise _refusal(text, "is relative. Write an absolute path, or a URI like s3://bucket/key or file:///dir")
    elif not parts.netloc.rpartition("@")[2]:
        raise _refusal(text, f"has no bucket. Write it like {parts.scheme}://my_conn@bucket/key")
    _check_key(text, parts.path)
    return text


def expand(path: str, *, ext: str, request_id: str, seed: int | None, index: int) -> str:
    """Return ``path`` with its placeholders filled in.

    :raises FluxRequestError: for a placeholder that :func:`check_output_path` refuses.
    """
    values: dict[str, Any] = {
        "ext": ext,
        "request_id": re.sub(r"[^A-Za-z0-9_\-]", "_", request_id),
        "seed": "unknown" if seed is None else seed,
        "index": index,
    }
    _check_placeholders(path, path)
    return path.format_map(values)


def _check_placeholders(shown: str, path: str) -> None:
    try:
        fields = [(name, spec, how) for _, name, spec, how in Formatter().parse(path) if name is not None]
    except ValueError as error:
        raise _refusal(shown, f"has unbalanced braces ({error}); write {{{{ and }}}} only for Jinja") from None
    names = {name for name, _, _ in fields}
    unknown = sorted(names - set(PLACEHOLDERS))
    if unknown:
        known = " ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        raise _refusal(shown, f"holds the unknown placeholder {{{unknown[0]}}}. Known: {known}")
    for name, spec, how in fields:
        if how or (spec and not (name == "index" and _INDEX_FORMAT.fullmatch(spec))):
            raise _refusal(shown, f"formats {{{name}}}; only {{index}} takes a format, its width: {{index:04d}}")


def _check_key(text: str, key: str) -> None:
    if not key.strip("/") or key.endswith("/"):
        raise _refusal(text, "names a folder, not a file. Add a name, for example {request_id}.{ext}")
    if ".." in key.split("/"):
        raise _refusal(text, "climbs out of its folder with '..'")
    if any(ord(c) < 32 for c in text):
        raise _refusal(text, "holds a line break or another control character")


def _refusal(path: str, fault: str) -> FluxRequestError:
    shown = path if len(path) <= 120 else f"{path[:120]}..."
    return FluxRequestError(f"output_path={shown!r} {fault}.")
