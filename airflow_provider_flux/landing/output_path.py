"""Names of landed images: Jinja first, then placeholders such as ``{key}`` and ``{ext}``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter
from typing import Any

from airflow_provider_flux.bfl.errors import FluxRequestError

#: What may stand in braces, and what it stands for.
PLACEHOLDERS: Mapping[str, str] = {
    "key": "name of the image in its run: the map index, the position in the list, or the task id",
    "index": "map index, or position in the list, from 0; {index:04d} pads it",
    "request_id": "the id BFL gave the generation",
    "seed": "the seed the image was made with",
    "model": "name of the model",
    "fingerprint": "SHA-256 of model, parameters and inputs: equal for equal images wanted",
    "ext": "jpeg, png, webp or mp4, as the result really is",
    "sha256": "SHA-256 of the bytes of the image",
}
#: What certainly tells the images of one task's map indexes, or of one list, apart, and what may.
_DISTINCT = frozenset({"key", "index", "request_id", "sha256"})
_MAYBE_DISTINCT = frozenset({"seed", "fingerprint"})
_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_INDEX_FORMAT = re.compile(r"0?[1-9]d")
_UNSAFE = re.compile(r"[^\w.\-]")
_LONGEST_VALUE = 128
_MISSPELT_SCHEMES = {
    "wasb": "abfs",
    "wasbs": "abfs",
    "az": "abfs",
    "azure": "abfs",
    "gcs": "gs",
    "http": None,
    "https": None,
}
_MISREAD = ("\\", "?versionId=")
_WITHOUT_BUCKET = {"file", "local", ""}
_AZURE_HOSTS = (".dfs.core.windows.net", ".blob.core.windows.net")


def check_output_path(path: Any) -> str:
    """Return ``path`` as text if an image can be written there; Jinja parts are taken on trust.

    :raises FluxRequestError: if it is empty, relative, without bucket or file name, or holds ``..``
        or an unknown placeholder.
    """
    text = str(path) if path is not None else ""
    if not text.strip():
        raise _refusal(
            text, "is empty. Write it like s3://my_conn@bucket/images/{request_id}.{ext}"
        )
    plain = _JINJA.sub("x", text)
    _check_placeholders(text, plain)
    if text.lstrip().startswith(("{{", "{%")):
        return text  # even the scheme comes from the template
    scheme, rest = plain.split("://", 1) if "://" in plain else ("", plain)
    place, slash, key = rest.partition("/") if scheme else ("", "", plain)
    bucket = place.rpartition("@")[2]
    if scheme != scheme.lower():
        raise _refusal(text, f"has the scheme {scheme}://. Write it in small letters")
    if scheme in _MISSPELT_SCHEMES:
        better = _MISSPELT_SCHEMES[scheme]
        way_out = f"Write {better}:// instead" if better else "Name an object store or file:///"
        raise _refusal(
            text, f"has the scheme {scheme}://, which Airflow's object storage has not. {way_out}"
        )
    if scheme in _WITHOUT_BUCKET:
        if bucket or not (slash or key.startswith("/")):
            raise _refusal(
                text,
                "is relative. Write an absolute path, or a URI like s3://bucket/key or file:///dir",
            )
    elif not bucket:
        raise _refusal(text, f"has no bucket. Write it like {scheme}://my_conn@bucket/key")
    elif bucket.endswith(_AZURE_HOSTS):
        hint = "Airflow takes what stands before @ for a connection. Write abfs://my_conn@container/key"
        raise _refusal(text, f"names an Azure host: {hint}")
    _check_key(text, key)
    return text


def fill_placeholders(path: str, values: Mapping[str, Any]) -> str:
    """Return ``path`` with its placeholders filled in; what is not safe in a name becomes ``_``.

    :raises FluxRequestError: for a placeholder that :func:`check_output_path` refuses.
    :raises KeyError: for a placeholder whose value is not given.
    """
    _check_placeholders(path, path)
    return path.format_map({name: safe_name(value) for name, value in values.items()})


def tells_apart(path: str) -> bool | None:
    """Whether ``path`` gives each image of a list, or each map index, a name of its own; ``None`` for maybe."""
    names = placeholders_in(path)
    return True if names & _DISTINCT else None if names & _MAYBE_DISTINCT else False


def fixed_folder_of(path: str) -> str:
    """Return the folder ``path`` begins with, before any template or placeholder; empty if there is none."""
    fixed = path.partition("{")[0]
    folder = fixed.rpartition("/")[0]
    return "" if folder.endswith((":/", "://")) or not folder else f"{folder}/"


def is_template(path: str) -> bool:
    """Whether ``path`` still holds Jinja."""
    return bool(_JINJA.search(path))


def placeholders_in(path: str) -> set[str]:
    """Return the placeholders in ``path``."""
    return {name for _, name, _, _ in Formatter().parse(path) if name is not None}


def safe_name(value: Any) -> Any:
    """Return a value that cannot change the folder, nor be a hidden file."""
    if isinstance(value, int):
        return value
    text = "unknown" if value is None else _UNSAFE.sub("_", str(value))[:_LONGEST_VALUE]
    return re.sub(r"^\.+", "_", text) or "_"


def _check_placeholders(shown: str, path: str) -> None:
    try:
        fields = [
            (name, spec, how) for _, name, spec, how in Formatter().parse(path) if name is not None
        ]
    except ValueError as error:
        raise _refusal(
            shown, f"has unbalanced braces ({error}); write {{{{ and }}}} only for Jinja"
        ) from None
    names = {name for name, _, _ in fields}
    unknown = sorted(names - set(PLACEHOLDERS))
    if unknown:
        known = " ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        raise _refusal(shown, f"holds the unknown placeholder {{{unknown[0]}}}. Known: {known}")
    for name, spec, how in fields:
        if how or (spec and not (name == "index" and _INDEX_FORMAT.fullmatch(spec))):
            raise _refusal(
                shown,
                f"formats {{{name}}}; only {{index}} takes a format, its width: {{index:04d}}",
            )


def _check_key(text: str, key: str) -> None:
    if not key.strip("/") or key.endswith("/"):
        raise _refusal(
            text, "names a folder, not a file. Add a name, for example {request_id}.{ext}"
        )
    if ".." in key.split("/"):
        raise _refusal(text, "climbs out of its folder with '..'")
    if "." in key.split("/"):
        raise _refusal(text, "has a folder '.', by which stores would read another name")
    if any(part in key for part in _MISREAD):
        raise _refusal(
            text, f"holds one of {' '.join(_MISREAD)}, by which stores would read another name"
        )
    if any(ord(c) < 32 for c in text):
        raise _refusal(text, "holds a line break or another control character")


def _refusal(path: str, fault: str) -> FluxRequestError:
    shown = path if len(path) <= 120 else f"{path[:120]}..."
    return FluxRequestError(f"output_path={shown!r} {fault}.")
