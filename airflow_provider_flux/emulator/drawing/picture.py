"""What a task is to draw: all that determines the bytes of an image or a video."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.bfl.inputs import MediaFile
from airflow_provider_flux.emulator import draft_cache
from airflow_provider_flux.emulator.drawing.clips import Clip, clip_of, video_size
from airflow_provider_flux.emulator.drawing.sizes import Files, size_of
from airflow_provider_flux.emulator.faults import without_markers

_NOT_DRAWN = frozenset({"prompt", "seed", "user", "webhook_url", "webhook_secret"})


@dataclass(frozen=True)
class Picture:
    """An image or a video to render; equal pictures render to equal bytes.

    :param format: ``jpeg``, ``png``, ``webp`` or ``mp4``.
    :param digest: SHA-256 over model, parameters, bytes of the inputs and seed: where colours and shapes
        come from. All that does not count for equality is in it.
    :param clip: what moves in a video.
    :param inputs: the files that are edited, by field.
    :param options: the other parameters of the request.
    """

    model: str
    prompt: str
    seed: int
    width: int
    height: int
    format: str
    digest: bytes
    clip: Clip | None = None
    inputs: Files = field(default_factory=dict, compare=False, repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def images(self) -> list[MediaFile]:
        """The inputs in the order of the fields."""
        return [file for group in self.inputs.values() for file in group]

    @property
    def content_type(self) -> str:
        """The media type of its bytes."""
        return "video/mp4" if self.format == "mp4" else f"image/{self.format}"


def compose(model: Model, parameters: Mapping[str, Any], files: Files, seed: int) -> Picture:
    """Return the picture of a request. Fault markers in the prompt do not change it.

    :param files: the inputs that are at hand.
    """
    prompt = without_markers(parameters.get("prompt") or "")
    media = model.media_fields
    options = {name: value for name, value in parameters.items() if name not in media}
    drawn: dict[str, Any] = {
        name: value for name, value in options.items() if name not in _NOT_DRAWN
    }
    drawn |= {name: [file.sha256 for file in group] for name, group in files.items()}
    clip = clip_of(model, parameters, files) if model.output == "video" else None
    if clip is not None:
        size, drawn["times"] = (
            video_size(clip, parameters, files),
            [time for time, _ in clip.keyframes],
        )
    else:
        size = size_of(model, parameters, files)
    canonical = json.dumps([model.name, prompt, seed, drawn], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).digest()
    picture = Picture(
        model.name, prompt, seed, *size, _format_of(model, options), digest, clip, files, options
    )
    return _enhanced(picture, files["draft_cache"][0]) if files.get("draft_cache") else picture


def _enhanced(picture: Picture, cache: MediaFile) -> Picture:
    """Return the picture of the draft in a cache, as large as it was asked for now."""
    with cache.open() as file:
        draft = draft_cache.unpack(file.read())
    width, height = video_size(draft.clip, picture.options, {})
    picture = replace(
        picture, prompt=draft.prompt, seed=draft.seed, digest=draft.digest, clip=draft.clip
    )
    return replace(picture, width=width, height=height)


def _format_of(model: Model, options: Mapping[str, Any]) -> str:
    if model.output == "video":
        return "mp4"
    usual = model.schema.model_fields.get("output_format")
    return options.get("output_format") or (usual.default if usual is not None else "jpeg")
