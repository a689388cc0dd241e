"""What a request is expected to cost, in credits (1 credit = 0.01 USD).

An estimate only: the service is the judge. It reports the cost of FLUX.2 and the image tools with
the answer to the submit, that of videos with the result, and that of FLUX.1 not at all (source:
BFL's pricing page and published answers of the service).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

USD_PER_CREDIT = 0.01
MEGAPIXEL = 1024 * 1024
#: Seconds of the shortest video that can be asked for.
_SHORTEST_VIDEO = 5
#: Megapixels that FLUX.2 works on, in one image.
_MOST_MEGAPIXELS = 4


@dataclass(frozen=True)
class Estimate:
    """An expected cost, from the price list of this version.

    :param credits: ``None`` if the price is not known.
    :param note: what the figure rests on, where that is not the request alone.
    :param at_least: what it cannot cost less than, where ``credits`` is an upper bound.
    """

    credits: float | None
    note: str = ""
    at_least: float = 0.0

    @property
    def usd(self) -> float | None:
        """The same in US dollars."""
        return None if self.credits is None else self.credits * USD_PER_CREDIT

    def __str__(self) -> str:
        """Return the figure and what kind of figure it is."""
        if self.credits is None:
            return f"cost not known before the result{f' ({self.note})' if self.note else ''}"
        return f"{self.credits:g} credits (${self.usd:.4g}), estimated{f': {self.note}' if self.note else ''}"


class Sized(Protocol):
    """What a price asks of an input whose bytes are at hand."""

    @property
    def width(self) -> int | None:
        """Pixels."""

    @property
    def height(self) -> int | None:
        """Pixels."""

    @property
    def seconds(self) -> float | None:
        """Length of a video."""


#: The inputs of a request by field; ``None`` for one that is a URL, of which nothing is known.
Inputs = Mapping[str, Sequence[Sized | None]]


class Price(Protocol):
    """A pricing rule."""

    def estimate(self, parameters: Mapping[str, Any], inputs: Inputs) -> Estimate:
        """Return the expected cost of one request."""

    def describe(self) -> str:
        """Return the rule in words, in credits."""


@dataclass(frozen=True)
class Flat:
    """The same price for every request."""

    per_image: float

    def estimate(self, parameters: Mapping[str, Any], inputs: Inputs) -> Estimate:
        """Return the flat price."""
        return Estimate(self.per_image)

    def describe(self) -> str:
        """Return the price."""
        return f"{self.per_image:g}"


@dataclass(frozen=True)
class PerMegapixel:
    """FLUX.2: ``first`` for the first output megapixel, ``further`` for each other one, in or out.

    Megapixels are rounded up. Without width and height the output has the size of the first input
    image. What is not known before the answer is counted as one megapixel, an input that is a URL
    say.
    """

    first: float
    further: float

    def estimate(self, parameters: Mapping[str, Any], inputs: Inputs) -> Estimate:
        """Return the price for the requested output size and the input images."""
        images = [image for group in inputs.values() for image in group]
        width, height = parameters.get("width"), parameters.get("height")
        first = images[0] if images else None
        if _is_side(width) and _is_side(height):
            out, out_is_known = math.ceil(width * height / MEGAPIXEL), True  # type: ignore[operator]
        else:  # the size of the first input image
            out, out_is_known = _megapixels(first), first is not None and bool(first.width)
        megapixels_in = sum(_megapixels(image) for image in images)
        guessed = not out_is_known or any(image is None or not image.width for image in images)
        credits_ = self.first + self.further * (out - 1 + megapixels_in)
        return Estimate(
            round(credits_, 6), "an unknown size is counted as one megapixel" if guessed else ""
        )

    def describe(self) -> str:
        """Return the rule."""
        return f"{self.first:g}, and {self.further:g} for each further output megapixel and each input megapixel"


@dataclass(frozen=True)
class ByValue:
    """A price for each value of one parameter.

    :param bounds: values whose own price is not known, and the value whose price is an upper bound.
    """

    parameter: str
    prices: Mapping[str, float]
    default: str
    bounds: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    def estimate(self, parameters: Mapping[str, Any], inputs: Inputs) -> Estimate:
        """Return the price of the parameter's value."""
        value = str(parameters.get(self.parameter) or self.default)
        if value in self.bounds:
            bound = self.bounds[value]
            return Estimate(
                self.prices[bound], f"the price of {value} is not published; counted as {bound}"
            )
        return Estimate(self.prices.get(value), self.note)

    def describe(self) -> str:
        """Return all the prices."""
        prices = ", ".join(f"{price:g} ({value})" for value, price in self.prices.items())
        return f"{prices} by `{self.parameter}`{f'; {self.note}' if self.note else ''}"


@dataclass(frozen=True)
class PerSecond:
    """Videos: a rate for each second by mode and ``resolution``, another one for drafts.

    :param longest: seconds by mode that a ``duration`` of ``auto`` is counted as.
    """

    rates: Mapping[str, Mapping[str, float]]
    drafts: Mapping[str, float]
    longest: Mapping[str, int]

    def estimate(self, parameters: Mapping[str, Any], inputs: Inputs) -> Estimate:
        """Return rate times duration."""
        mode = str(parameters.get("mode"))
        is_draft = parameters.get("draft") is True
        resolution = str(parameters.get("resolution") or "hd")
        rate = self.drafts.get(mode) if is_draft else self.rates.get(mode, {}).get(resolution)
        if rate is None:
            return Estimate(None, f"no price is published for mode {mode}")
        duration = parameters.get("duration")
        if isinstance(duration, (int, float)):
            return Estimate(round(rate * duration, 6))
        longest = self.longest[mode]
        note = f"duration auto is counted as {longest} s, the longest"
        return Estimate(rate * longest, note, at_least=rate * _SHORTEST_VIDEO)

    def describe(self) -> str:
        """Return all the rates."""
        parts = [
            f"{mode}: {', '.join(f'{rate:g} ({name})' for name, rate in rates.items())}, "
            f"{self.drafts[mode]:g} (draft)"
            for mode, rates in self.rates.items()
        ]
        return f"each second, by `mode` and `resolution`: {'; '.join(parts)}"


@dataclass(frozen=True)
class PerInputSecond:
    """Video editing: a rate for each second of the input."""

    input: str
    rate: float
    longest: int

    def estimate(self, parameters: Mapping[str, Any], inputs: Inputs) -> Estimate:
        """Return rate times the length of the input."""
        video = _first(inputs, self.input)
        if video is None or video.seconds is None:
            return Estimate(
                self.rate * self.longest, f"the length of the video is counted as {self.longest} s"
            )
        return Estimate(round(self.rate * video.seconds, 6))

    def describe(self) -> str:
        """Return the rate."""
        return f"{self.rate:g} for each second of the input"


@dataclass(frozen=True)
class PerUpscaledSecond:
    """Video upscaling: a rate for each output megapixel (a million pixels) and second."""

    precise: float
    creative: float
    longest: int

    def estimate(self, parameters: Mapping[str, Any], inputs: Inputs) -> Estimate:
        """Return rate times output size times length; whole credits, as the service settles them."""
        video = _first(inputs, "input_video")
        if video is None or not video.width or not video.height or video.seconds is None:
            return Estimate(None, "it depends on the size and length of the video, which is a URL")
        factor = parameters.get("upscale_factor") or 2.0
        if not isinstance(factor, (int, float)):
            return Estimate(None, "upscale_factor is not a number")
        rate = self.precise if parameters.get("creativity") == 0 else self.creative
        pixels = video.width * video.height * float(factor) ** 2
        return Estimate(float(round(rate * pixels / 1e6 * min(video.seconds, self.longest))))

    def describe(self) -> str:
        """Return the rates."""
        return (
            f"each second and output megapixel: {self.precise:g} (creativity 0), {self.creative:g} "
            "(creativity 1); whole credits"
        )


def _is_side(value: object) -> bool:
    return isinstance(value, int) and value > 0


def _megapixels(image: Sized | None) -> int:
    if image is None or not image.width or not image.height:
        return 1
    return min(
        math.ceil(image.width * image.height / MEGAPIXEL), _MOST_MEGAPIXELS
    )  # larger ones are reduced


def _first(inputs: Inputs, name: str) -> Sized | None:
    return next(iter(inputs.get(name, ())), None)
