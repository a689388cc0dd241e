"""Example calls of the operator: the smallest useful one for each model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from airflow_provider_flux.bfl.catalog import MediaKind, Model
from scripts.model_page.tables import ARGUMENTS, order_parameters, python_literal

_PROMPTS = {
    "flux-tools/vto-v1": "A person wearing the garment, studio photo",
    "flux-tools/vto-v2": "A person wearing the garment, studio photo",
    "flux-tools/video-edit-v1": "Make it snow",
    "flux-tools/video-upscale-v1": "A walk through a living room",
    "flux-pro-1.0-fill": "A vase with yellow tulips",
    "flux-pro-1.0-fill-finetuned": "A vase with yellow tulips",
    "flux-pro-1.0-expand": "A bright living room",
    "flux-tools/outpainting-v1": "A bright living room",
}
_PROMPT = "A lighthouse on a cliff, editorial photo"
VALUES: Mapping[str, Any] = {
    "finetune_id": "my-finetune",
    "width": 1536,
    "height": 1024,
    "left": 256,
    "right": 256,
}
_FILES = {"person": "person.jpeg", "garment": "garment.jpeg"}
_FILE_OF = {
    MediaKind.IMAGE: "room.jpeg",
    MediaKind.MASK: "mask.png",
    MediaKind.VIDEO: "clip.mp4",
    MediaKind.DRAFT: "draft.draft.bin",
}


def render_example(model: Model, mode: str | None = None) -> str:
    """Return the smallest useful call of the operator for a model.

    :param model: a model of the catalog.
    :param mode: one of its modes. ``None`` if it has none.
    """
    schema = model.modes[mode] if mode else model.schema
    named: dict[str, Any] = {"task_id": "generate", "model": model.name}
    parameters: dict[str, Any] = {"mode": mode} if mode else {}
    for name in order_parameters(model, schema):
        value = _example_value(model, schema, name)
        if value is None or name in parameters:
            continue
        (named if name in ARGUMENTS else parameters)[name] = value
    lines = [f"    {name}={python_literal(value)}," for name, value in named.items()]
    if parameters:
        lines += _dict_lines(parameters)
    return "\n".join(["FluxGenerateOperator(", *lines, ")"]) + "\n"


def _example_value(model: Model, schema: type[BaseModel], name: str) -> Any:
    media, is_required = model.media_fields.get(name), schema.model_fields[name].is_required()
    if name == "prompt":
        return _PROMPTS.get(model.name, _PROMPT)
    if media and (is_required or media.kind is MediaKind.MASK):
        return f"s3://my_s3@media/in/{_FILES.get(name, _FILE_OF[media.kind])}"
    return VALUES.get(name, "...") if is_required or name in {"left", "right"} else None


def _dict_lines(parameters: Mapping[str, Any]) -> list[str]:
    items = ", ".join(
        f"{python_literal(name)}: {python_literal(value)}" for name, value in parameters.items()
    )
    if len(items) < 90:
        return [f"    parameters={{{items}}},"]
    inside = [
        f"        {python_literal(name)}: {python_literal(value)},"
        for name, value in parameters.items()
    ]
    return ["    parameters={", *inside, "    },"]
