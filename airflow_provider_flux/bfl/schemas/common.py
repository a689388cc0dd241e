"""Types, fields and base classes that the request schemas of several models share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl

from airflow_provider_flux.bfl.aspect_ratio import is_usual_ratio, read_ratio

OutputFormat = Literal["jpeg", "png", "webp"]


def _check_form(value: str) -> str:
    if read_ratio(value) is None:
        raise ValueError("must be written as width:height, for example 16:9")
    return value


def _check_range(value: str) -> str:
    ratio = read_ratio(value)
    if ratio is not None and not is_usual_ratio(ratio):
        raise ValueError("must be between 21:9 and 9:21")
    return value


AnyRatio = Annotated[str, AfterValidator(_check_form)]
AspectRatio = Annotated[AnyRatio, AfterValidator(_check_range)]
Strength = Annotated[float, Field(ge=0, le=1)]
Tolerance7 = Annotated[int, Field(ge=0, le=7)]
Tolerance6 = Annotated[int, Field(ge=0, le=6)]
Tolerance5 = Annotated[int, Field(ge=0, le=5)]
Tolerance4 = Annotated[int, Field(ge=0, le=4)]
#: An input image, mask or video: base64, or a URL if the catalog says that the route fetches it.
Media = str


class FluxInputs(BaseModel):
    """A request whose unknown fields the service ignores."""

    model_config = ConfigDict(extra="ignore")


class StrictInputs(BaseModel):
    """A request whose unknown fields the service refuses."""

    model_config = ConfigDict(extra="forbid")


class Seeded(BaseModel):
    """The field ``seed``."""

    seed: int | None = Field(None, description="Seed for reproducibility; random when absent.")


class Webhooked(BaseModel):
    """The fields ``webhook_url`` and ``webhook_secret``."""

    webhook_url: HttpUrl | None = Field(
        None, description="URL that BFL calls when the result is ready."
    )
    webhook_secret: str | None = Field(
        None, description="Secret that BFL sends in X-Webhook-Secret."
    )


class ByUser(BaseModel):
    """The field ``user``."""

    user: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        None, description="Opaque identifier of the end user."
    )


class Common(FluxInputs, ByUser, Webhooked, Seeded):
    """The fields that most image routes share."""


def prompt_field(text: str = "What the image should show.", **options: Any) -> Any:
    """Return the field ``prompt``.

    :param text: description.
    :param options: further arguments of :func:`pydantic.Field`.
    """
    return Field(description=text, **options)


def tolerance_field() -> Any:
    """Return the field ``safety_tolerance``."""
    return Field(2, description="Moderation of inputs and result, 0 is the most strict.")


def format_field(default: OutputFormat) -> Any:
    """Return the field ``output_format``.

    :param default: default of the service, which differs by model.
    """
    return Field(default, description="Format of the image.")


def upsampling_field(default: bool = False) -> Any:
    """Return the field ``prompt_upsampling``.

    :param default: default of the service.
    """
    return Field(default, description="Let the service rewrite the prompt.")
