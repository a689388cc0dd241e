"""The shape of a rendition: its size, fit and format. Nothing here imports Pillow."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Fit = Literal["contain", "crop", "pad"]
RenditionFormat = Literal["jpeg", "png", "webp"]
#: Longest side of a rendition in pixels.
MAX_SIDE = 8192
#: Pixels of the largest rendition: those of the largest image of the service, "4k".
MAX_PIXELS = 16 * 1024 * 1024
_COLORS = frozenset({"white", "black", "transparent"})
_HEX_COLOR = re.compile("#[0-9a-fA-F]{6}")


def _refuse_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _check_background(color: str) -> str:
    if color not in _COLORS and not _HEX_COLOR.fullmatch(color):
        raise ValueError("must be white, black, transparent or #rrggbb")
    return color


_Side = Annotated[int, BeforeValidator(_refuse_bool), Field(ge=1, le=MAX_SIDE)]


class Rendering(NamedTuple):
    """The steps from an image to its rendition, in pixels.

    :param box: the part of the image that is kept: left, top, right, bottom.
    :param scaled: size of this part in the rendition.
    :param size: size of the rendition, which is larger if it is padded.
    """

    box: tuple[float, float, float, float]
    scaled: tuple[int, int]
    size: tuple[int, int]


class RenditionShape(BaseModel):
    """The size, fit and format of a rendition.

    :param width: width in pixels; ``None`` for any.
    :param height: height in pixels; ``None`` for any.
    :param fit: how the image fits into width and height.
    :param format: its format; ``None`` for that of the image.
    :param quality: quality of a jpeg or webp; ``None`` for the default.
    :param background: color behind the image; ``None`` for the default.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    width: _Side | None = None
    height: _Side | None = None
    fit: Fit = "contain"
    format: RenditionFormat | None = None
    quality: Annotated[int, BeforeValidator(_refuse_bool), Field(ge=1, le=100)] | None = None
    background: Annotated[str, AfterValidator(_check_background)] | None = None

    @model_validator(mode="after")
    def _check_members_fit(self) -> Self:
        if self.width is None and self.height is None:
            raise ValueError("needs a width or a height")
        if self.fit != "contain" and (self.width is None or self.height is None):
            raise ValueError(f"needs width and height for fit={self.fit!r}")
        if (self.width or 1) * (self.height or 1) > MAX_PIXELS:
            raise ValueError(f"has more than {MAX_PIXELS} pixels")
        if self.format == "png" and self.quality is not None:
            raise ValueError("has a quality, which a png does not have")
        if self.format == "jpeg" and self.background == "transparent":
            raise ValueError("has a transparent background, which a jpeg cannot have")
        return self

    def format_for(self, image_format: str) -> RenditionFormat:
        """Return the format of the rendition of an image.

        :param image_format: format of the image: ``jpeg``, ``png`` or ``webp``.
        """
        if self.format is not None:
            return self.format
        return "png" if image_format == "png" else "webp" if image_format == "webp" else "jpeg"

    def turned(self) -> Self:
        """Return the shape for an image that lies on its side: width and height change places."""
        return self.model_copy(update={"width": self.height, "height": self.width})

    def plan(self, width: int, height: int) -> Rendering:
        """Return the steps from an image to its rendition.

        :param width: width of the image.
        :param height: height of the image.
        """
        whole = (0.0, 0.0, float(width), float(height))
        across = (self.width or width) / width
        down = (self.height or height) / height
        if self.fit == "crop":
            size = (self.width or width, self.height or height)
            return Rendering(_center(width, height, size, max(across, down)), size, size)
        limits = [
            ratio for ratio, side in ((across, self.width), (down, self.height)) if side is not None
        ]
        ratio = min(limits) if self.fit == "pad" else min(*limits, 1.0)
        scaled = (max(1, round(width * ratio)), max(1, round(height * ratio)))
        if self.fit == "contain":
            return Rendering(whole, scaled, scaled)
        return Rendering(whole, scaled, (self.width or width, self.height or height))


def _center(
    width: int, height: int, size: tuple[int, int], ratio: float
) -> tuple[float, float, float, float]:
    """Return the middle of an image that has the proportions of a size."""
    kept_width, kept_height = min(width, size[0] / ratio), min(height, size[1] / ratio)
    left, top = (width - kept_width) / 2, (height - kept_height) / 2
    return (left, top, left + kept_width, top + kept_height)
