"""FLUX 3: images, videos in four modes, and the video tools. All of them refuse unknown fields."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from airflow_provider_flux.bfl.schemas.common import (
    ByUser,
    Media,
    StrictInputs,
    Tolerance4,
    Tolerance7,
    Webhooked,
    format_field,
    prompt_field,
    tolerance_field,
)

#: Images of one request, including keyframes.
MAX_IMAGES = 10

_ImageRatio = Literal[
    "auto",
    "21:9",
    "2:1",
    "16:9",
    "3:2",
    "7:5",
    "4:3",
    "5:4",
    "1:1",
    "4:5",
    "3:4",
    "5:7",
    "2:3",
    "9:16",
    "1:2",
    "9:21",
]
_VideoRatio = Literal["auto", "21:9", "2:1", "16:9", "4:3", "1:1", "3:4", "9:16", "9:21"]
_VideoResolution = Literal["hd", "fhd", "qhd", "uhd"]
_To20Seconds = Literal["auto"] | Annotated[int, Field(ge=5, le=20)]
_To15Seconds = Literal["auto"] | Annotated[int, Field(ge=5, le=15)]
_SomeImages = Annotated[list[Media], Field(min_length=1, max_length=MAX_IMAGES)]

_DURATION = "Seconds, or auto."
_RATIO = "Aspect ratio, or auto."


class _Flux3Image(StrictInputs):
    """The fields of both image routes."""

    prompt: Annotated[str, Field(min_length=1)] = prompt_field()
    images: Media | _SomeImages | None = Field(None, description="Up to ten reference images.")
    aspect_ratio: _ImageRatio = Field("auto", description=_RATIO)
    resolution: Literal["768sq", "1k", "1.5k", "2k", "4k"] = Field(
        "1k", description="Size of the image."
    )
    safety_tolerance: Tolerance7 = tolerance_field()


class Flux3ImageInputs(_Flux3Image):
    """FLUX 3 Image: text to image and editing, up to 4K, with grounding."""

    grounding: bool = Field(True, description="Let the model look things up.")
    version: Literal["latest"] = Field("latest", description="Version of the model.")


class Flux3ImageKleinInputs(_Flux3Image):
    """FLUX 3 Image [klein]: fast text to image and editing, up to 4K."""

    # BFL has published no default of these fields, except that FLUX 3 images are PNG.
    steps: Annotated[int, Field(ge=1, le=16)] | None = Field(
        None, description="Steps of the generation. When absent, BFL chooses them."
    )
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = Field(
        None, description="Seed for reproducibility; random when absent."
    )
    output_format: Literal["jpeg", "png"] | None = format_field("png")


def is_timed(keyframe: object) -> bool:
    """Whether a keyframe is written ``[seconds, image]``.

    :param keyframe: a keyframe, or the whole value of the field.
    """
    return (
        isinstance(keyframe, (list, tuple))
        and len(keyframe) == 2
        and isinstance(keyframe[0], (int, float))
        and not isinstance(keyframe[0], bool)
        and isinstance(keyframe[1], str)
    )


def _check_keyframes(value: Any) -> Any:
    if isinstance(value, str) or is_timed(value):
        return value
    if not 1 <= len(value) <= MAX_IMAGES:
        raise ValueError(f"must hold 1 to {MAX_IMAGES} images")
    if not (
        all(isinstance(frame, str) for frame in value) or all(is_timed(frame) for frame in value)
    ):
        raise ValueError(
            "must be an image, [seconds, image], a list of images, or a list of [seconds, image]"
        )
    return value


_Keyframes = Annotated[Media | list[Any], AfterValidator(_check_keyframes)]


class Flux3VideoInputs(StrictInputs, ByUser):
    """FLUX 3 Video: the fields that all four modes share."""

    mode: Literal["t2v", "i2v", "v2v", "draft_enhance"] = Field(
        description="t2v: from text; i2v: from keyframes; v2v: from a video; "
        "draft_enhance: from a draft."
    )
    safety_tolerance: Tolerance4 = tolerance_field()


class _NewVideoInputs(Flux3VideoInputs):
    """The fields of the modes that generate a new video."""

    prompt: str = prompt_field("What the video should show.")
    aspect_ratio: _VideoRatio = Field("auto", description=_RATIO)
    duration: _To20Seconds = Field("auto", description=_DURATION)
    resolution: _VideoResolution = Field("hd", description="Size of the video.")
    generate_audio: bool = Field(True, description="Whether the video has sound.")
    draft: bool = Field(
        False, description="Generate a cheap preview, which mode draft_enhance enhances later."
    )
    version: Literal["latest"] = Field("latest", description="Version of the model.")


class TextToVideoInputs(_NewVideoInputs):
    """FLUX 3 Video from text."""

    mode: Literal["t2v"] = Field(description="From text.")


class ImageToVideoInputs(_NewVideoInputs):
    """FLUX 3 Video from keyframes."""

    mode: Literal["i2v"] = Field(description="From keyframes.")
    keyframes: _Keyframes = Field(
        description="An image, [seconds, image], or a list of up to ten of either."
    )

    @model_validator(mode="after")
    def _check_times(self) -> Self:
        frames = self.keyframes if isinstance(self.keyframes, list) else [self.keyframes]
        if (
            self.duration == "auto"
            and len(frames) > 2
            and not is_timed(frames)
            and not is_timed(frames[0])
        ):
            raise ValueError("three or more keyframes without times need a duration")
        return self


class VideoToVideoInputs(_NewVideoInputs):
    """FLUX 3 Video from a video."""

    mode: Literal["v2v"] = Field(description="From a video.")
    start_video: Media = Field(description="Video to start from, mp4.")
    duration: _To15Seconds = Field("auto", description=_DURATION)


class DraftEnhanceInputs(Flux3VideoInputs):
    """FLUX 3 Video from an earlier draft."""

    mode: Literal["draft_enhance"] = Field(description="From a draft.")
    draft_cache: Media = Field(description="The cache of the draft (.bin).")
    resolution: _VideoResolution = Field("fhd", description="Size of the video.")


def _check_number(value: Any) -> Any:
    if isinstance(value, bool):  # 0 or 1 for Python, but not for the service
        raise ValueError("must be 0 or 1")
    return value


_Creativity = Annotated[Literal[0, 1], BeforeValidator(_check_number)]


class Flux3VideoUpscaleInputs(StrictInputs, ByUser, Webhooked):
    """Video upscaling: the first 20 seconds of a video, 1.5 to 3 times as large."""

    input_video: Media = Field(description="Video to upscale, mp4.")
    prompt: str = prompt_field("What the video shows.", default="")
    creativity: _Creativity = Field(1, description="0 is precise, 1 is creative.")
    upscale_factor: Annotated[float, Field(ge=1.5, le=3)] = Field(
        2.0, description="Factor for each side."
    )
    safety_tolerance: Tolerance4 = tolerance_field()


class Flux3VideoVE2VNamedInputs(StrictInputs, ByUser):
    """Video editing by instruction, for videos of up to 15 seconds."""

    video: Media = Field(description="Video to edit, mp4.")
    prompt: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4096)
    ] = prompt_field("How to edit the video.")
    safety_tolerance: Tolerance4 = tolerance_field()
