"""The suffix of a name and the format of its image: do they fit?"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from airflow_provider_flux.bfl.catalog.model import Model

FORMAT_OF_SUFFIX: Mapping[str, str] = {
    **{"jpg": "jpeg", "jpeg": "jpeg", "jpe": "jpeg", "jfif": "jpeg"},
    **{"png": "png", "webp": "webp", "mp4": "mp4", "m4v": "mp4"},
}
#: Suffixes of formats in which BFL delivers nothing.
_FOREIGN = frozenset(
    {
        *("tif", "tiff", "gif", "bmp", "avif", "heic", "heif", "jxl", "jp2", "svg", "psd", "pdf"),
        *("mov", "webm", "mkv", "avi", "mpg", "mpeg", "mp3", "wav"),
        *("json", "jsonl", "ndjson", "csv", "parquet", "xlsx", "txt", "html", "xml", "zip", "bin"),
    }
)
_FORMAT = "output_format"


@lru_cache(maxsize=256)  # all rows of a batch have one path
def format_of_name(name: str) -> str | None:
    """Return the format that the suffix of a name promises; ``None`` if it promises none.

    :param name: path or URI. A suffix with a template or a placeholder promises none.
    """
    return FORMAT_OF_SUFFIX.get(_suffix_of(name))


def find_foreign_suffix(name: str) -> str | None:
    """Return what is wrong with a suffix of a format in which BFL delivers nothing.

    :param name: path or URI.
    :return: the rest of a sentence about it; ``None`` for all other suffixes.
    """
    suffix = _suffix_of(name)
    if suffix not in _FOREIGN:
        return None
    return f"ends in .{suffix}, but a result is a jpeg, png, webp or mp4. Write .{{ext}}"


def choose_format(name: str, model: Model, parameters: Mapping[str, Any]) -> dict[str, str]:
    """Return the ``output_format`` to request for a name, if the user has chosen none.

    :param name: path or URI of the image.
    :param model: the model.
    :param parameters: parameters that the user has set.
    :return: a dict with ``output_format``; empty if the suffix promises no format of an image, or
        the one that the model delivers by default, or if the model delivers no other.
    """
    promised = format_of_name(name)
    if promised in {None, "mp4"} or parameters.get(_FORMAT) is not None:
        return {}
    default = _default_parameter(model, parameters)
    return {} if default in {None, promised} else {_FORMAT: str(promised)}


def find_suffix_problem(
    name: str, model: Model | None, parameters: Mapping[str, Any]
) -> str | None:
    """Return what is wrong with a suffix that promises another format than the request.

    :param name: path or URI of the image.
    :param model: the model; ``None`` if it is not known.
    :param parameters: parameters of the request.
    :return: the rest of a sentence about the name; ``None`` if the suffix fits, or if the format of
        the result is not known.
    """
    promised = format_of_name(name)
    if model is None or promised is None:
        return None
    suffix = _suffix_of(name)
    if (model.output == "video") != (promised == "mp4"):
        return f"ends in .{suffix}, but {model.name} generates {model.output}s. Write .{{ext}}"
    if _FORMAT not in model.fields and model.image_format not in {None, promised}:
        return f"ends in .{suffix}, but {model.name} delivers {model.image_format}. Write .{{ext}}"
    requested = parameters.get(_FORMAT) or _default_parameter(model, parameters)
    if requested not in FORMAT_OF_SUFFIX or FORMAT_OF_SUFFIX[requested] == promised:
        return None
    return (
        f"ends in .{suffix}, but the result is a {requested}. Set output_format={promised!r}, or "
        "write .{ext}"
    )


def default_format(model: Model, parameters: Mapping[str, Any]) -> Any:
    """Return the format in which a model delivers if the request names none.

    :param model: the model.
    :param parameters: parameters of the request.
    :return: ``None`` if it is not known.
    """
    if model.output == "video":
        return "mp4"
    return _default_parameter(model, parameters) or model.image_format


def _default_parameter(model: Model, parameters: Mapping[str, Any]) -> Any:
    """Return the default of ``output_format``; ``None`` if a model has no such parameter."""
    fields = model.schema_for(parameters).model_fields
    return fields[_FORMAT].default if _FORMAT in fields else None


def _suffix_of(name: str) -> str:
    last = name.rpartition("/")[2]
    stem, dot, suffix = last.rpartition(".")
    return suffix.lower() if dot and stem and not set(suffix) & set("{}") else ""
