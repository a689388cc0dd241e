"""Request schemas of the BFL models, with the service's own names, types, ranges and defaults.

They are the one source for validation before a request is paid, for the emulator (which answers
with the same 422 bodies as the service, FastAPI over pydantic) and for the documentation.
Source: the OpenAPI document of api.bfl.ai. A schema says what the service *accepts*; what our
operators send by default beyond that is in :mod:`~airflow_provider_flux.bfl.catalog`.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl

OutputFormat = Literal["jpeg", "png", "webp"]

_RATIO = re.compile(r"(\d{1,4}):(\d{1,4})")
_WIDEST, _TALLEST = Fraction(21, 9), Fraction(9, 21)


def _check_aspect_ratio(value: str) -> str:
    match = _RATIO.fullmatch(value)
    if match is None or "0" in match.groups():
        raise ValueError("must be written as width:height, for example 16:9")
    if not _TALLEST <= Fraction(int(match[1]), int(match[2])) <= _WIDEST:
        raise ValueError("must be between 21:9 and 9:21")
    return value


AspectRatio = Annotated[str, AfterValidator(_check_aspect_ratio)]
Side = Annotated[int, Field(ge=256, le=1440, multiple_of=32)]
FreeSide = Annotated[int, Field(ge=64)]
Strength = Annotated[float, Field(ge=0, le=1)]
Tolerance6 = Annotated[int, Field(ge=0, le=6)]
Tolerance5 = Annotated[int, Field(ge=0, le=5)]


class FluxInputs(BaseModel):
    """What every image route of the service takes. Unknown fields are ignored by the service."""

    model_config = ConfigDict(extra="ignore")

    seed: int | None = Field(None, description="Seed for reproducibility; random when absent.")
    webhook_url: HttpUrl | None = Field(None, description="URL to be told when the image is ready.")
    webhook_secret: str | None = Field(None, description="Secret sent along in X-Webhook-Secret.")
    user: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        None, description="Opaque identifier of the end user."
    )


class FluxPro11Inputs(FluxInputs):
    """FLUX1.1 [pro]: text to image, sides of 256 to 1440 pixels."""

    prompt: str | None = Field("", description="Text prompt for image generation.")
    image_prompt: str | None = Field(None, description="Base64 image to remix (Redux), 256x256 or more.")
    width: Side = Field(1024, description="Width in pixels.")
    height: Side = Field(768, description="Height in pixels.")
    prompt_upsampling: bool = Field(False, description="Let the service rewrite the prompt.")
    safety_tolerance: Tolerance6 = Field(2, description="Moderation, 0 most strict.")
    output_format: OutputFormat | None = Field("jpeg", description="Format of the image.")


class FluxUltraInputs(FluxInputs):
    """FLUX1.1 [pro] Ultra: up to 4 megapixels by aspect ratio, optional raw look."""

    prompt: str | None = Field("", description="Text prompt for image generation.")
    prompt_upsampling: bool = Field(False, description="Let the service rewrite the prompt.")
    aspect_ratio: AspectRatio = Field("16:9", description="Between 21:9 and 9:21.")
    raw: bool = Field(False, description="Less processed, more natural-looking images.")
    image_prompt: str | None = Field(None, description="Base64 image to remix.")
    image_prompt_strength: Strength = Field(0.1, description="Blend of prompt and image prompt.")
    safety_tolerance: Tolerance6 = Field(2, description="Moderation, 0 most strict.")
    output_format: OutputFormat | None = Field("jpeg", description="Format of the image.")


class Flux2Inputs(FluxInputs):
    """FLUX.2 [pro] and [max]: text to image, and editing with up to eight reference images."""

    prompt: str = Field(description="Text prompt for image generation.")
    disable_pup: bool = Field(False, description="Do not let the service rewrite the prompt.")
    input_image: str | None = Field(None, description="Reference image, base64 or URL.")
    input_image_2: str | None = Field(None, description="Second reference image.")
    input_image_3: str | None = Field(None, description="Third reference image.")
    input_image_4: str | None = Field(None, description="Fourth reference image.")
    input_image_5: str | None = Field(None, description="Fifth reference image.")
    input_image_6: str | None = Field(None, description="Sixth reference image.")
    input_image_7: str | None = Field(None, description="Seventh reference image.")
    input_image_8: str | None = Field(None, description="Eighth reference image.")
    width: FreeSide | None = Field(0, description="Width in pixels; chosen by the service when absent.")
    height: FreeSide | None = Field(0, description="Height in pixels; chosen by the service when absent.")
    safety_tolerance: Tolerance5 = Field(2, description="Moderation, 0 most strict.")
    output_format: OutputFormat | None = Field("jpeg", description="Format of the image.")


class FluxKontextInputs(FluxInputs):
    """FLUX.1 Kontext [pro] and [max]: editing by instruction, or text to image, about 1 megapixel."""

    prompt: str = Field(description="Text prompt or editing instruction.")
    input_image: str | None = Field(None, description="Image to edit, base64 or URL.")
    input_image_2: str | None = Field(None, description="Second image (experimental).")
    input_image_3: str | None = Field(None, description="Third image (experimental).")
    input_image_4: str | None = Field(None, description="Fourth image (experimental).")
    aspect_ratio: AspectRatio | None = Field(None, description="Between 21:9 and 9:21.")
    prompt_upsampling: bool = Field(False, description="Let the service rewrite the prompt.")
    safety_tolerance: Tolerance6 = Field(2, description="Moderation, 0 most strict.")
    output_format: OutputFormat | None = Field("png", description="Format of the image.")
