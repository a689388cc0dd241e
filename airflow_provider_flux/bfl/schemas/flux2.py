"""FLUX.2 and the image tools that are based on it: erase, deblur, outpainting, try-on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from airflow_provider_flux.bfl.schemas.common import (
    ByUser,
    Common,
    Media,
    OutputFormat,
    StrictInputs,
    Tolerance5,
    format_field,
    prompt_field,
    tolerance_field,
    upsampling_field,
)

_Side = Annotated[int, Field(ge=64)]
_Guidance = Annotated[float, Field(ge=1.5, le=10)]
_Steps = Annotated[int, Field(ge=1, le=50)]

_WIDTH = "Width in pixels. When absent, BFL chooses it or takes it from the input image."
_HEIGHT = "Height in pixels. When absent, BFL chooses it or takes it from the input image."


class Flux2KleinInputs(Common):
    """FLUX.2 [klein]: fast text to image, and editing with up to four reference images."""

    prompt: str = prompt_field()
    input_image: Media | None = Field(
        None, description="Reference image. With it the request is an edit."
    )
    input_image_2: Media | None = Field(None, description="Second reference image.")
    input_image_3: Media | None = Field(None, description="Third reference image.")
    input_image_4: Media | None = Field(None, description="Fourth reference image.")
    # The service's own default of 0 is below its own minimum: it means "absent" and cannot be sent.
    width: _Side | None = Field(0, description=_WIDTH)
    height: _Side | None = Field(0, description=_HEIGHT)
    safety_tolerance: Tolerance5 = tolerance_field()
    output_format: OutputFormat | None = format_field("jpeg")


class _EightReferences(Flux2KleinInputs):
    """The further reference images of the larger models."""

    input_image_5: Media | None = Field(None, description="Fifth reference image.")
    input_image_6: Media | None = Field(None, description="Sixth reference image.")
    input_image_7: Media | None = Field(None, description="Seventh reference image.")
    input_image_8: Media | None = Field(None, description="Eighth reference image.")


class Flux2Inputs(_EightReferences):
    """FLUX.2 [pro] and [max]: text to image, and editing with up to eight reference images."""

    disable_pup: bool = Field(False, description="Do not let the service rewrite the prompt.")


class Flux2FlexInputs(_EightReferences):
    """FLUX.2 [flex]: like [pro], with steps and guidance."""

    prompt_upsampling: bool | None = upsampling_field(True)
    guidance: _Guidance | None = Field(5.0, description="How closely the image follows the prompt.")
    steps: _Steps | None = Field(50, description="Number of steps of the generation.")
    input_image_blob_path: str | None = Field(
        None, description="Path of an image inside BFL's own storage."
    )


class Flux2EraseInputs(Common):
    """Erase: remove the area that a mask covers."""

    image: Media = Field(description="Image to edit.")
    mask: Media = Field(description="Mask of the same size: white is removed.")
    dilate_pixels: Annotated[int, Field(ge=0, le=25)] = Field(
        10, description="Pixels to grow the mask by."
    )
    safety_tolerance: Tolerance5 = tolerance_field()
    output_format: OutputFormat | None = format_field("png")


class Flux2DeblurInputs(Common):
    """Deblur: sharpen a blurred image."""

    image: Media = Field(description="Image to sharpen.")
    safety_tolerance: Tolerance5 = tolerance_field()
    output_format: OutputFormat | None = format_field("png")


class FluxOutpaintingInputs(StrictInputs, ByUser):
    """Outpainting: place an image on a larger canvas and paint the rest."""

    input_image: Media = Field(description="Image to place on the canvas.")
    width: _Side = Field(description="Width of the canvas in pixels.")
    height: _Side = Field(description="Height of the canvas in pixels.")
    auto_crop: bool = Field(
        False, description="Crop the part outside the canvas instead of refusing the image."
    )
    reference_offset_x: int | None = Field(
        None, description="Pixels from the left edge; centered when absent."
    )
    reference_offset_y: int | None = Field(
        None, description="Pixels from the top edge; centered when absent."
    )
    mode: Literal["high", "fast"] = Field("high", description="Quality, or speed.")
    prompt: str | None = prompt_field(
        "What the area around it should show (experimental).", default=None
    )
    disable_pup: bool = Field(False, description="Do not let the service rewrite the prompt.")
    safety_tolerance: Tolerance5 = tolerance_field()
    output_format: OutputFormat | None = format_field("png")


class Flux2KleinTryonInputs(Common):
    """Virtual try-on: a person wearing a garment."""

    prompt: str = prompt_field("What the image should show.")
    person: Media = Field(description="Image of the person.")
    garment: Media = Field(description="Image of the garment.")
    safety_tolerance: Tolerance5 = tolerance_field()
    output_format: OutputFormat | None = format_field("jpeg")
