"""The renditions of an image as a user describes them: their shapes and their names.

A rendition is stored below the folder of its image, so no path of a stranger leads elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from string import Formatter
from typing import Annotated, Any, TypedDict

from pydantic import AfterValidator, model_validator

from airflow_provider_flux.landing.object_name import find_character_problem
from airflow_provider_flux.landing.output_path import (
    JINJA,
    has_distinct_names,
    is_reserved,
    placeholders_in,
)
from airflow_provider_flux.landing.suffixes import FORMAT_OF_SUFFIX, format_of_name
from airflow_provider_flux.media.rendition_shape import RenditionShape

#: The placeholders of the path of a rendition, with their meanings.
RENDITION_PLACEHOLDERS: Mapping[str, str] = {
    "image": "name of the image with its suffix",
    "stem": "name of the image without its suffix",
    "name": "name of the rendition",
    "ext": "jpeg, png or webp: the format of the rendition",
}
DEFAULT_PATH = "{image}.{name}.{ext}"
#: Renditions of one image, and the longest name of one.
MAX_RENDITIONS = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_IMAGE_FORMATS = ("jpeg", "png", "webp")
_SUFFIXES: Mapping[str | None, str] = {name: name for name in _IMAGE_FORMATS}


class RenditionSpec(TypedDict, total=False):
    """One rendition in the argument ``renditions`` of an operator.

    :ivar width: width in pixels, 1 to 8192.
    :ivar height: height in pixels, 1 to 8192. ``contain`` needs only one of the two.
    :ivar fit: ``contain`` (default) keeps the proportions within width and height, and never
        enlarges; ``crop`` gives exactly this size and cuts off the edges; ``pad`` gives exactly
        this size and fills the rest with the background.
    :ivar format: ``jpeg``, ``png`` or ``webp``. Default: the suffix of ``path``, or the format of
        the image.
    :ivar quality: quality of a jpeg or webp, 1 to 100. Default 85 for jpeg and 80 for webp.
    :ivar background: color behind transparent pixels and beside a padded image: ``white``,
        ``black``, ``transparent`` or ``#rrggbb``. By default a png or webp keeps transparent
        pixels, and all others are white.
    :ivar path: path below the folder of the image, with placeholders. Default
        ``{image}.{name}.{ext}``, which gives ``hero.jpeg.thumb.webp`` for ``hero.jpeg``.
    """

    width: int | str
    height: int | str
    fit: str
    format: str
    quality: int | str
    background: str
    path: str


def _check_path(path: str) -> str:
    if problem := _find_path_problem(path):
        raise ValueError(problem)
    return path


class RenditionOptions(RenditionShape):
    """A checked :class:`RenditionSpec`.

    :param path: path below the folder of the image, with placeholders.
    """

    path: Annotated[str, AfterValidator(_check_path)] = DEFAULT_PATH

    @model_validator(mode="before")
    @classmethod
    def _take_format_of_path(cls, value: Any) -> Any:
        """Take the format from the suffix of the path, if no other is set."""
        if not isinstance(value, Mapping) or not isinstance(path := value.get("path"), str):
            return value
        promised = format_of_name(path)
        if promised not in _IMAGE_FORMATS:
            return value
        if value.get("format") not in {None, promised}:
            raise ValueError(
                f"has the path {path!r}, which promises another format. Write .{{ext}}"
            )
        return {**value, "format": promised}

    def uri_for(self, image_uri: str, name: str, image_format: str) -> str:
        """Return the URI of the rendition of an image.

        :param image_uri: URI of the image.
        :param name: name of the rendition.
        :param image_format: format of the image: ``jpeg``, ``png`` or ``webp``.
        """
        folder, slash, image_name = image_uri.rpartition("/")
        path = self.path.format(
            image=image_name,
            stem=_stem_of(image_name),
            name=name,
            ext=self.format_for(image_format),
        )
        return f"{folder}{slash}{path}"


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("is no name. Use up to 40 letters, digits, - and _")
    return name


#: The renditions of an image by name.
Renditions = dict[Annotated[str, AfterValidator(_check_name)], RenditionOptions]


def default_renditions() -> dict[str, RenditionOptions]:
    """Return the renditions of an operator that names none: a ``thumb`` for the gallery."""
    return {"thumb": RenditionOptions(width=320, format="webp")}


def check_renditions(renditions: dict[str, RenditionOptions]) -> dict[str, RenditionOptions]:
    """Check that renditions do not replace each other.

    :param renditions: the renditions by name.
    :return: the same.
    :raises ValueError: if there are too many, or two of them have one name.
    """
    if len(renditions) > MAX_RENDITIONS:
        raise ValueError(f"has {len(renditions)} renditions, more than {MAX_RENDITIONS}")
    for image_format in _IMAGE_FORMATS:
        owners: dict[str, str] = {}
        for name, options in renditions.items():
            uri = options.uri_for(f"/x.{image_format}", name, image_format).casefold()
            first = owners.setdefault(uri, name)
            if first != name:
                raise ValueError(
                    f"gives {first!r} and {name!r} the same path {options.path!r}. Add {{name}}"
                )
    return renditions


def find_unknown_member(renditions: Any) -> str | None:
    """Return which member of a rendition is not known, as a sentence; ``None`` if all are.

    :param renditions: argument ``renditions`` of an operator.
    """
    if not isinstance(renditions, Mapping):
        return None
    known = RenditionOptions.model_fields
    for name, spec in renditions.items():
        unknown = sorted(set(spec) - set(known), key=str) if isinstance(spec, Mapping) else []
        if unknown:
            return (
                f"renditions[{name!r}] has the unknown member {unknown[0]!r}. "
                f"Known: {', '.join(known)}."
            )
    return None


def find_image_problem(renditions: Mapping[str, RenditionOptions], output_path: str) -> str | None:
    """Return which rendition may replace its image, or another rendition of it.

    :param renditions: the renditions by name.
    :param output_path: path of the image, with its placeholders.
    :return: a sentence about the renditions; ``None`` if all of them have names of their own.
    """
    for image, image_format in _possible_images(output_path):
        owners = {image.casefold(): ""}
        for name, options in renditions.items():
            uri = options.uri_for(image, name, image_format).casefold()
            first = owners.setdefault(uri, name)
            if first != name:
                taken = f"{first!r}, another rendition" if first else "its image"
                return (
                    f"renditions[{name!r}] has the path {options.path!r}, by which it may replace "
                    f"{taken}. Add {{name}}."
                )
    return None


def _possible_images(output_path: str) -> Iterator[tuple[str, str]]:
    """Yield names that an image may get, each with a format: its own name, and any other one."""
    promised = format_of_name(output_path)
    suffix = output_path.rpartition(".")[2]
    endings = {promised: suffix} if promised in _IMAGE_FORMATS else _SUFFIXES
    own = output_path.rpartition("/")[2]
    for image_format, ending in endings.items():
        yield f"/x.{ending}", str(image_format)
        yield f"/{own.replace('{ext}', ending)}", str(image_format)


def find_shared_path(renditions: Mapping[str, RenditionOptions], output_path: str) -> str | None:
    """Return the name of a rendition whose path may be the same for several images of a task.

    :param renditions: the renditions by name.
    :param output_path: path of the images, with its placeholders.
    :return: ``None`` if each image has renditions of its own.
    """
    if has_distinct_names(output_path.rpartition("/")[0]):
        return None
    return next(
        (
            name
            for name, options in renditions.items()
            if not placeholders_in(options.path) & {"image", "stem"}
        ),
        None,
    )


def _find_path_problem(path: str) -> str | None:
    """Return what is wrong with the path of a rendition, as the rest of a sentence about it."""
    if JINJA.search(path):
        return "holds a template after rendering"
    try:
        fields = [field for field in Formatter().parse(path) if field[1] is not None]
    except ValueError as error:
        return f"has unbalanced braces ({error})"
    unknown = sorted(placeholders_in(path) - set(RENDITION_PLACEHOLDERS))
    known = " ".join(f"{{{name}}}" for name in RENDITION_PLACEHOLDERS)
    if unknown:
        return f"has the unknown placeholder {{{unknown[0]}}}. Known: {known}"
    if any(spec or conversion for _, _, spec, conversion in fields):
        return "has a format for a placeholder. Write the placeholder alone"
    if path.startswith("/") or "://" in path:
        return "is absolute. Write a path below the folder of the image"
    if {"", ".", ".."} & set(path.split("/")):
        return "has an empty folder, '.' or '..'. Remove it"
    if is_reserved(path):
        return "has a part _flux, which names the folder of the ledger. Use another name"
    if problem := find_character_problem(path):
        return problem
    last = path.rpartition("/")[2]
    if not last.endswith(".{ext}") and format_of_name(last) not in _IMAGE_FORMATS:
        return "has no suffix of an image. Write .{ext} at its end"
    return None


def _stem_of(image_name: str) -> str:
    """Return the name of an image without its suffix. Other dots belong to the name."""
    stem, dot, suffix = image_name.rpartition(".")
    return stem if dot and stem and suffix.lower() in FORMAT_OF_SUFFIX else image_name
