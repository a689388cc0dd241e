"""Check ``output_path`` and fill in its placeholders, such as ``{key}`` and ``{ext}``.

Airflow renders Jinja first. The placeholders are filled in when an image lands.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from string import Formatter
from typing import Any

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.landing.object_name import (
    find_character_problem,
    find_length_problem,
    safe_name,
)
from airflow_provider_flux.landing.suffixes import find_foreign_suffix

#: The placeholders, with their meanings.
PLACEHOLDERS: Mapping[str, str] = {
    "key": "name of the image in its run: the map index, the position in the list, or the task id",
    "index": "map index, or position in the list, from 0; {index:04d} pads it",
    "request_id": "id that BFL gave the generation",
    "seed": "effective seed of the image",
    "model": "name of the model",
    "fingerprint": "SHA-256 of model, parameters and inputs: equal for equal requests",
    "ext": "jpeg, png, webp or mp4: the real format of the result",
    "sha256": "SHA-256 of the bytes of the image",
}
#: Placeholders that differ for each map index of a task and each image of a list, and those that
#: may differ.
_DISTINCT = frozenset({"key", "index", "request_id", "sha256"})
_MAYBE_DISTINCT = frozenset({"seed", "fingerprint"})
#: A template of Jinja in a path.
JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_INDEX_FORMAT = re.compile(r"0?[1-9]d")
#: Folder of the ledger and of the index of ``reuse``.
_RESERVED_NAME = "_flux"
#: Bytes of the longest request id in a name. BFL's have 36.
MAX_REQUEST_ID_BYTES = 64
_SCHEME_CORRECTIONS = {
    "wasb": "abfs",
    "wasbs": "abfs",
    "az": "abfs",
    "azure": "abfs",
    "gcs": "gs",
    "http": None,
    "https": None,
}
_LOCAL_SCHEMES = {"file", "local", ""}
_AZURE_HOSTS = (".dfs.core.windows.net", ".blob.core.windows.net")


def check_output_path(path: Any, columns: Collection[str] | None = ()) -> str:
    """Check an ``output_path``; parts that Jinja will replace are not checked.

    :param path: the argument of the operator, a text or an ``ObjectStoragePath``.
    :param columns: columns of a batch that are placeholders, too. None by default. ``None`` stands
        for any column.
    :return: the path as text.
    :raises FluxRequestError: if it is empty or relative, has no bucket or file name, or holds
        ``..`` or an unknown placeholder; if a store would keep it under another name, or not at
        all, or if its suffix is that of no format of a result.
    """
    text = str(path) if path is not None else ""
    if not text.strip():
        raise _refusal(
            text, "is empty. Write, for example, s3://my_conn@bucket/images/{request_id}.{ext}"
        )
    plain = JINJA.sub("x", text)
    _check_placeholders(text, plain, columns)
    if text.lstrip().startswith(("{{", "{%")):
        return text  # the template brings even the scheme
    scheme, rest = plain.split("://", 1) if "://" in plain else ("", plain)
    location, slash, key = rest.partition("/") if scheme else ("", "", plain)
    bucket = location.rpartition("@")[2]
    if scheme != scheme.lower():
        raise _refusal(text, f"has the scheme {scheme}://. Write it in lower case")
    if scheme in _SCHEME_CORRECTIONS:
        better = _SCHEME_CORRECTIONS[scheme]
        remedy = f"Write {better}:// instead" if better else "Use an object store or file:///"
        raise _refusal(
            text,
            f"has the scheme {scheme}://, which Airflow's object storage does not support. "
            f"{remedy}",
        )
    if scheme and JINJA.match(text.partition("://")[2]):
        # The template may bring a bucket, or the root of an absolute path.
        _check_key(text, plain, rest)
        return text
    if scheme in _LOCAL_SCHEMES:
        if bucket or not (slash or key.startswith("/")):
            raise _refusal(
                text,
                "is relative. Write an absolute path, or a URI like s3://bucket/key or file:///dir",
            )
    elif not bucket:
        raise _refusal(text, f"has no bucket. Write it like {scheme}://my_conn@bucket/key")
    elif bucket.endswith(_AZURE_HOSTS):
        raise _refusal(
            text,
            "names an Azure host, but Airflow reads the part before @ as a connection id. Write "
            "abfs://my_conn@container/key",
        )
    _check_key(text, plain, key)
    return text


def fill_placeholders(path: str, values: Mapping[str, Any]) -> str:
    """Return a path with its placeholders filled in; unsafe characters of a value become ``_``.

    :param path: the path.
    :param values: values of the placeholders, by name.
    :raises FluxRequestError: for a placeholder that :func:`check_output_path` refuses.
    :raises KeyError: for a placeholder without a value.
    """
    safe = {
        name: safe_name(values[name], MAX_REQUEST_ID_BYTES)
        if name == "request_id"
        else safe_name(values[name])
        for name in _checked_placeholders(path)
        if name in values
    }
    return path.format_map(safe)


@lru_cache(maxsize=256)  # all rows of a batch have one path
def _checked_placeholders(path: str) -> frozenset[str]:
    """Return the names of the placeholders in a path, which has no others than the known ones."""
    _check_placeholders(path, path)
    return frozenset(placeholders_in(path))


def fill_columns(path: str, values: Mapping[str, str]) -> str:
    """Return a path in which the placeholders of columns are filled in, and the others are left.

    :param path: the path.
    :param values: values by column. Unsafe characters become ``_``, as in those of ``{key}``.
    """
    parts = []
    for literal, name, spec, _ in Formatter().parse(path):
        parts.append(literal.replace("{", "{{").replace("}", "}}"))
        if name is None:
            continue
        if name in values and name not in PLACEHOLDERS:
            parts.append(safe_name(values[name]))
        else:
            parts.append(f"{{{name}:{spec}}}" if spec else f"{{{name}}}")
    return "".join(parts)


def columns_in(path: str) -> list[str]:
    """Return the placeholders in a path that only columns of a batch can fill, in order.

    :param path: the path, whose templates need not be rendered.
    """
    plain = JINJA.sub("x", path)
    fields = (name for _, name, _, _ in Formatter().parse(plain) if name is not None)
    return [name for name in dict.fromkeys(fields) if name not in PLACEHOLDERS]


def has_distinct_names(path: str) -> bool | None:
    """Whether a path gives each map index of a task, or each image of a list, its own name.

    :param path: the path with its placeholders.
    :return: ``None`` if that depends on the values.
    """
    names = placeholders_in(path)
    may_differ = names & _MAYBE_DISTINCT or names - set(PLACEHOLDERS)
    return True if names & _DISTINCT else None if may_differ else False


def fixed_folder(path: str) -> str:
    """Return the folder at the beginning of a path, before any template or placeholder.

    :param path: the path.
    :return: the folder with a slash at its end; empty if there is none.
    """
    fixed = path.partition("{")[0]
    folder = fixed.rpartition("/")[0]
    return "" if folder.endswith((":/", "://")) or not folder else f"{folder}/"


def has_jinja(path: str) -> bool:
    """Whether a path holds Jinja.

    :param path: the path.
    """
    return bool(JINJA.search(path))


def placeholders_in(path: str) -> set[str]:
    """Return the names of the placeholders in a path.

    :param path: the path.
    """
    return {name for _, name, _, _ in Formatter().parse(path) if name is not None}


def _check_placeholders(shown: str, path: str, columns: Collection[str] | None = ()) -> None:
    try:
        fields = [
            (name, spec, conversion)
            for _, name, spec, conversion in Formatter().parse(path)
            if name is not None
        ]
    except ValueError as error:
        raise _refusal(
            shown, f"has unbalanced braces ({error}). Use {{{{ and }}}} only for Jinja"
        ) from None
    unknown = sorted(
        name
        for name in {name for name, _, _ in fields} - set(PLACEHOLDERS)
        if not is_plain_name(name) or (columns is not None and name not in columns)
    )
    if unknown:
        known = " ".join(f"{{{name}}}" for name in (*PLACEHOLDERS, *(columns or ())))
        raise _refusal(
            shown,
            f"has the unknown placeholder {{{unknown[0]}}}. Known: {known}. A batch may add "
            "columns of its input with keep_columns",
        )
    for name, spec, conversion in fields:
        if conversion or (spec and not (name == "index" and _INDEX_FORMAT.fullmatch(spec))):
            fault = f"has a format for {{{name}}}. Only {{index}} takes a format: {{index:04d}}"
            raise _refusal(shown, fault)
    _check_columns(shown, path)


def _check_columns(shown: str, path: str) -> None:
    """Refuse a column before any folder, which would let rows choose the bucket."""
    if (named := columns_in(path)) and not fixed_folder(path):
        raise _refusal(
            shown,
            f"has the column {{{named[0]}}}, and begins with no folder, so that rows could choose "
            "any bucket or folder. Begin it with a folder",
        )


def _check_key(text: str, plain: str, key: str) -> None:
    if not key.strip("/") or key.endswith("/"):
        raise _refusal(
            text, "names a folder, not a file. Add a file name, for example {request_id}.{ext}"
        )
    if ".." in key.split("/"):
        raise _refusal(text, "leaves its folder with '..'. Remove it")
    if "." in key.split("/"):
        raise _refusal(text, "has a folder '.', which stores remove from the name. Remove it")
    if is_reserved(key):
        raise _refusal(
            text, "has a part _flux, which names the folder of the ledger. Use another name"
        )
    if problem := find_character_problem(plain):
        raise _refusal(text, problem)
    if suffix := find_foreign_suffix(key):
        raise _refusal(text, suffix)
    shortest = fill_columns(plain, dict.fromkeys(columns_in(plain), "0"))
    shortest = Formatter().vformat(shortest, (), dict.fromkeys(PLACEHOLDERS, 0))
    if problem := find_length_problem(shortest):
        raise _refusal(text, f"{problem}. Shorten it")


def is_plain_name(name: str) -> bool:
    """Whether a field in braces names a column and nothing of its value.

    :param name: the text before any ``!`` or ``:``.
    """
    return bool(name) and not set(name) & set(".[]{}")


def is_reserved(key: str) -> bool:
    """Whether a part of a name is that of the folder of the ledger, also if only its case differs.

    :param key: name below the bucket, or a URI.
    """
    folded = key.casefold()
    return _RESERVED_NAME in folded and _RESERVED_NAME in folded.split("/")


def _refusal(path: str, fault: str) -> FluxRequestError:
    shown = path if len(path) <= 120 else f"{path[:120]}..."
    return FluxRequestError(f"output_path={shown!r} {fault}.")
