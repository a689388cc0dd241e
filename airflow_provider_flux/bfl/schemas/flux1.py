"""FLUX.1 and FLUX1.1: text to image, Kontext editing, fill, expand, and their finetuned routes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from airflow_provider_flux.bfl.schemas.common import (
    AnyRatio,
    AspectRatio,
    ByUser,
    Common,
    FluxInputs,
    Media,
    OutputFormat,
    Seeded,
    Strength,
    Tolerance6,
    Webhooked,
    format_field,
    prompt_field,
    tolerance_field,
    upsampling_field,
)

_Side = Annotated[int, Field(ge=256, le=1440, multiple_of=32)]
_DevSteps = Annotated[int, Field(ge=1, le=50)]
_DevGuidance = Annotated[float, Field(ge=1.5, le=5)]
_FillSteps = Annotated[int, Field(ge=15, le=50)]
_FillGuidance = Annotated[float, Field(ge=1.5, le=100)]
_Margin = Annotated[int, Field(ge=0, le=2048)]
_FinetuneStrength = Annotated[float, Field(ge=0, le=2)]

_WIDTH = "Width in pixels."
_HEIGHT = "Height in pixels."
_REDUX = "Image to remix (Redux)."
_STEPS = "Number of steps of the generation."
_GUIDANCE = "How closely the image follows the prompt."
_IMAGE = "Image to edit. Its alpha channel may be the mask."
_MASK = "Mask of the same size: white is repainted, black is kept."
_RATIO = "Between 21:9 and 9:21."
_FINETUNE = "Name of the finetune, or org-id/name if it belongs to another organization."
_STRENGTH = "Strength of the finetune."


class FluxPro11Inputs(Common):
    """FLUX1.1 [pro]: text to image, sides of 256 to 1440 pixels."""

    prompt: str | None = prompt_field(default="")
    image_prompt: Media | None = Field(None, description=_REDUX)
    width: _Side = Field(1024, description=_WIDTH)
    height: _Side = Field(768, description=_HEIGHT)
    prompt_upsampling: bool = upsampling_field()
    safety_tolerance: Tolerance6 = tolerance_field()
    output_format: OutputFormat | None = format_field("jpeg")


class FluxDevInputs(Common):
    """FLUX.1 [dev]: text to image, with steps and guidance."""

    prompt: str = prompt_field(default="")
    image_prompt: Media | None = Field(None, description=_REDUX)
    width: _Side = Field(1024, description=_WIDTH)
    height: _Side = Field(768, description=_HEIGHT)
    steps: _DevSteps | None = Field(28, description=_STEPS)
    prompt_upsampling: bool = upsampling_field()
    guidance: _DevGuidance | None = Field(3.0, description=_GUIDANCE)
    safety_tolerance: Tolerance6 = tolerance_field()
    output_format: OutputFormat | None = format_field("jpeg")


class _UltraInputs(FluxInputs, Webhooked, Seeded):
    """The fields that the ultra routes share."""

    prompt: str | None = prompt_field(default="")
    prompt_upsampling: bool = upsampling_field()
    aspect_ratio: AspectRatio = Field("16:9", description=_RATIO)
    image_prompt: Media | None = Field(None, description=_REDUX)
    image_prompt_strength: Strength = Field(0.1, description="Blend of prompt and image prompt.")
    safety_tolerance: Tolerance6 = tolerance_field()
    output_format: OutputFormat | None = format_field("jpeg")


class FluxUltraInput(_UltraInputs, ByUser):
    """FLUX1.1 [pro] Ultra: up to 4 megapixels by aspect ratio, optional raw look."""

    raw: bool = Field(False, description="Less processed, more natural-looking images.")


class FinetuneFluxUltraInput(_UltraInputs):
    """FLUX1.1 [pro] Ultra with a finetune."""

    finetune_id: str = Field(description=_FINETUNE)
    finetune_strength: _FinetuneStrength = Field(1.2, description=_STRENGTH)


class FluxKontextProInputs(Common):
    """FLUX.1 Kontext [pro] and [max]: edit by instruction, or text to image, about 1 megapixel."""

    prompt: str = prompt_field("What the image should show, or how to edit it.")
    input_image: Media | None = Field(None, description="Image to edit.")
    input_image_2: Media | None = Field(None, description="Second image (experimental).")
    input_image_3: Media | None = Field(None, description="Third image (experimental).")
    input_image_4: Media | None = Field(None, description="Fourth image (experimental).")
    aspect_ratio: AnyRatio | None = Field(None, description=_RATIO)
    prompt_upsampling: bool = upsampling_field()
    safety_tolerance: Tolerance6 = tolerance_field()
    output_format: OutputFormat | None = format_field("png")


class FluxProFillInputs(Common):
    """FLUX.1 Fill [pro]: repaint a masked area of an image (inpainting)."""

    image: Media = Field(description=_IMAGE)
    mask: Media | None = Field(None, description=_MASK)
    prompt: str | None = prompt_field("What the new area should show.", default="")
    steps: _FillSteps | None = Field(50, description=_STEPS)
    prompt_upsampling: bool | None = upsampling_field()
    guidance: _FillGuidance | None = Field(60, description=_GUIDANCE)
    safety_tolerance: Tolerance6 = tolerance_field()
    output_format: OutputFormat | None = format_field("jpeg")


class FinetuneFluxProFillInputs(Common):
    """FLUX.1 Fill [pro] with a finetune."""

    finetune_id: str = Field(description=_FINETUNE)
    finetune_strength: _FinetuneStrength = Field(1.1, description=_STRENGTH)
    image: Media = Field(description=_IMAGE)
    mask: Media | None = Field(None, description=_MASK)
    prompt: str = prompt_field("What the new area should show.", default="")
    steps: _FillSteps = Field(50, description=_STEPS)
    prompt_upsampling: bool = upsampling_field()
    guidance: _FillGuidance = Field(60, description=_GUIDANCE)
    safety_tolerance: Tolerance6 = tolerance_field()
    output_format: OutputFormat | None = format_field("jpeg")


class FluxProExpandInputs(Common):
    """FLUX.1 Expand [pro]: grow an image beyond its borders (outpainting by margins)."""

    image: Media = Field(description="Image to expand.")
    top: _Margin | None = Field(0, description="Pixels to add at the top.")
    bottom: _Margin | None = Field(0, description="Pixels to add at the bottom.")
    left: _Margin | None = Field(0, description="Pixels to add on the left.")
    right: _Margin | None = Field(0, description="Pixels to add on the right.")
    prompt: str | None = prompt_field("What the new area should show.", default="")
    steps: _FillSteps | None = Field(50, description=_STEPS)
    prompt_upsampling: bool | None = upsampling_field()
    guidance: _FillGuidance | None = Field(60, description=_GUIDANCE)
    safety_tolerance: Tolerance6 = tolerance_field()
    output_format: OutputFormat | None = format_field("jpeg")
