"""The price list of this version, in credits (1 credit = 0.01 USD).

Its prices are estimates, and a cost that the service reports counts instead. The service reports
the cost of FLUX.2 and the image tools with the answer to the submit, the cost of videos with the
result, and the cost of FLUX.1 not at all (source: BFL's pricing page and published answers of the
service).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

USD_PER_CREDIT = 0.01
MEGAPIXEL = 1024 * 1024
_SHORTEST_VIDEO_SECONDS = 5
#: FLUX.2 reduces larger images to this size.
_MAX_IMAGE_MEGAPIXELS = 4
#: No true cost has so many digits. Records of strangers may.
_HUGE_USD = 1e15


def format_usd(credits_: float) -> str:
    """Return credits in US dollars, for example ``$0.04``, or ``$0.055`` for parts of a cent.

    :param credits_: credits (1 credit = 0.01 USD).
    """
    usd = round(credits_ * USD_PER_CREDIT, 4)
    if abs(usd) >= _HUGE_USD:
        return f"${usd:.3g}"
    has_parts = usd < 1 and usd != round(usd, 2)
    return f"${usd:.4f}".rstrip("0") if has_parts else f"${usd:,.2f}"


def describe_credits(credits_: float) -> str:
    """Return an amount in credits and US dollars, for example ``4 credits ($0.04)``.

    :param credits_: credits (1 credit = 0.01 USD).
    """
    return f"{credits_:g} credits ({format_usd(credits_)})"


@dataclass(frozen=True)
class Estimate:
    """An expected cost, from the price list of this version.

    :param credits: expected credits. ``None`` if the price is unknown.
    :param note: assumption that the figure depends on, or the reason why it is unknown. May be
        empty.
    :param at_least: least possible credits, if ``credits`` is an upper bound.
    """

    credits: float | None
    note: str = ""
    at_least: float = 0.0

    @property
    def usd(self) -> float | None:
        """The expected cost in US dollars. ``None`` if it is unknown."""
        return None if self.credits is None else self.credits * USD_PER_CREDIT

    def __str__(self) -> str:
        """Return the figure, marked as an estimate."""
        if self.credits is None:
            reason = f" ({self.note})" if self.note else ""
            return f"cost unknown before the result{reason}"
        assumption = f": {self.note}" if self.note else ""
        return f"{describe_credits(self.credits)}, estimated{assumption}"


class InputSize(Protocol):
    """The size of an input that the worker has read."""

    @property
    def width(self) -> int | None:
        """Pixels. ``None`` if unknown."""

    @property
    def height(self) -> int | None:
        """Pixels. ``None`` if unknown."""

    @property
    def seconds(self) -> float | None:
        """Length of a video. ``None`` if unknown."""


#: The inputs of a request by field. ``None`` is a URL that BFL fetches, whose size is unknown.
InputSizes = Mapping[str, Sequence[InputSize | None]]


class Price(Protocol):
    """A pricing rule of a model."""

    def estimate(self, parameters: Mapping[str, Any], inputs: InputSizes) -> Estimate:
        """Return the expected cost of one request.

        :param parameters: parameters of the request by the service's own names.
        :param inputs: sizes of its inputs by field.
        """

    def describe(self) -> str:
        """Return the rule in words, in credits, for the documentation."""


@dataclass(frozen=True)
class Flat:
    """The same price for every request.

    :param per_image: credits.
    """

    per_image: float

    def estimate(self, parameters: Mapping[str, Any], inputs: InputSizes) -> Estimate:
        """Return the flat price.

        :param parameters: parameters of the request; ignored.
        :param inputs: ignored.
        """
        return Estimate(self.per_image)

    def describe(self) -> str:
        """Return the price."""
        return f"{self.per_image:g}"


@dataclass(frozen=True)
class PerMegapixel:
    """The price of FLUX.2, by megapixels of output and inputs.

    Megapixels are rounded up. Without width and height the output has the size of the first input
    image. An unknown size, for example of an input that is a URL, counts as one megapixel.

    :param first: credits for the first megapixel of output.
    :param further: credits for each further megapixel of output, and each megapixel of input.
    """

    first: float
    further: float

    def estimate(self, parameters: Mapping[str, Any], inputs: InputSizes) -> Estimate:
        """Return the price for the requested output size and the input images.

        :param parameters: parameters of the request by the service's own names.
        :param inputs: sizes of its inputs by field.
        """
        images = [image for group in inputs.values() for image in group]
        width, height = parameters.get("width"), parameters.get("height")
        first = images[0] if images else None
        if _is_side(width) and _is_side(height):
            out, is_out_known = math.ceil(width * height / MEGAPIXEL), True  # type: ignore[operator]
        else:  # the size of the first input image
            out, is_out_known = _megapixels(first), first is not None and bool(first.width)
        megapixels_in = sum(_megapixels(image) for image in images)
        has_unknown_size = not is_out_known or any(
            image is None or not image.width for image in images
        )
        credits_ = self.first + self.further * (out - 1 + megapixels_in)
        return Estimate(
            round(credits_, 6),
            "an unknown size is counted as one megapixel" if has_unknown_size else "",
        )

    def describe(self) -> str:
        """Return the rule."""
        return (
            f"{self.first:g}, and {self.further:g} for each further output megapixel and each "
            "input megapixel"
        )


@dataclass(frozen=True)
class ByValue:
    """A price for each value of one parameter.

    :param parameter: name of the parameter.
    :param prices: credits by value.
    :param default: value that applies if the parameter is not set.
    :param bounds: values without a published price, each with the value whose price is an upper
        bound.
    :param note: assumption of all prices. May be empty.
    """

    parameter: str
    prices: Mapping[str, float]
    default: str
    bounds: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    def estimate(self, parameters: Mapping[str, Any], inputs: InputSizes) -> Estimate:
        """Return the price of the parameter's value.

        :param parameters: parameters of the request by the service's own names.
        :param inputs: ignored.
        """
        value = str(parameters.get(self.parameter) or self.default)
        if value in self.bounds:
            bound = self.bounds[value]
            return Estimate(
                self.prices[bound],
                f"the price of {value} is not published, so it is counted as {bound}",
            )
        return Estimate(self.prices.get(value), self.note)

    def describe(self) -> str:
        """Return all prices."""
        prices = ", ".join(f"{price:g} ({value})" for value, price in self.prices.items())
        bounds = [f"{value} is counted as {bound}" for value, bound in self.bounds.items()]
        return "; ".join([f"{prices} by `{self.parameter}`", *bounds, *filter(None, [self.note])])


@dataclass(frozen=True)
class PerSecond:
    """The price of a video, per second.

    :param rates: credits per second by mode and ``resolution``.
    :param drafts: credits per second of a draft by mode.
    :param longest: seconds by mode that are assumed if ``duration`` is ``auto``.
    """

    rates: Mapping[str, Mapping[str, float]]
    drafts: Mapping[str, float]
    longest: Mapping[str, int]

    def estimate(self, parameters: Mapping[str, Any], inputs: InputSizes) -> Estimate:
        """Return rate times duration.

        :param parameters: parameters of the request by the service's own names.
        :param inputs: ignored.
        """
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
        return Estimate(rate * longest, note, at_least=rate * _SHORTEST_VIDEO_SECONDS)

    def describe(self) -> str:
        """Return all rates."""
        parts = [
            f"{mode}: {', '.join(f'{rate:g} ({name})' for name, rate in rates.items())}, "
            f"{self.drafts[mode]:g} (draft)"
            for mode, rates in self.rates.items()
        ]
        return f"each second, by `mode` and `resolution`: {'; '.join(parts)}"


@dataclass(frozen=True)
class PerInputSecond:
    """The price of video editing, per second of the input.

    :param input: field of the video.
    :param rate: credits per second.
    :param longest: seconds that are assumed if the length is unknown.
    """

    input: str
    rate: float
    longest: int

    def estimate(self, parameters: Mapping[str, Any], inputs: InputSizes) -> Estimate:
        """Return rate times the length of the input.

        :param parameters: parameters of the request; ignored.
        :param inputs: sizes of its inputs by field.
        """
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
    """The price of video upscaling, per second and output megapixel (a million pixels).

    :param precise: credits with ``creativity`` 0.
    :param creative: credits with ``creativity`` 1.
    :param longest: seconds of a video that are upscaled.
    """

    precise: float
    creative: float
    longest: int

    def estimate(self, parameters: Mapping[str, Any], inputs: InputSizes) -> Estimate:
        """Return rate times output size times length, in whole credits, as the service rounds.

        :param parameters: parameters of the request by the service's own names.
        :param inputs: sizes of its inputs by field.
        """
        video = _first(inputs, "input_video")
        if video is None or not video.width or not video.height or video.seconds is None:
            return Estimate(
                None, "the price depends on the size and length of the video, which is a URL"
            )
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


def _megapixels(image: InputSize | None) -> int:
    if image is None or not image.width or not image.height:
        return 1
    return min(math.ceil(image.width * image.height / MEGAPIXEL), _MAX_IMAGE_MEGAPIXELS)


def _first(inputs: InputSizes, name: str) -> InputSize | None:
    return next(iter(inputs.get(name, ())), None)
