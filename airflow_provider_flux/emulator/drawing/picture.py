"""Pictures: the description of an image or a video that determines its bytes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.bfl.inputs import MediaFile
from airflow_provider_flux.emulator.drawing.clips import Clip, build_clip, video_size
from airflow_provider_flux.emulator.drawing.draft_cache import unpack_draft
from airflow_provider_flux.emulator.drawing.sizes import Files, image_size
from airflow_provider_flux.emulator.fault_scripts import remove_markers

#: Parameters that do not change the picture, or are in the digest by themselves.
_NOT_DRAWN = frozenset({"prompt", "seed", "user", "webhook_url", "webhook_secret"})


@dataclass(frozen=True)
class Picture:
    """An image or a video to render; equal pictures render to equal bytes.

    :param model: name of the model.
    :param prompt: the prompt without fault markers.
    :param seed: the seed, requested or drawn at random.
    :param width: pixels.
    :param height: pixels.
    :param format: ``jpeg``, ``png``, ``webp`` or ``mp4``.
    :param digest: SHA-256 over model, parameters, bytes of the inputs and seed. It determines
        colours and shapes, and covers the fields that do not count for equality.
    :param clip: the time axis of a video; ``None`` for an image.
    :param scene: a fault that decides what is drawn, for example ``blank``; empty without one.
    :param inputs: the files that are edited, by field.
    :param options: the parameters of the request that are no media.
    """

    model: str
    prompt: str
    seed: int
    width: int
    height: int
    format: str
    digest: bytes
    clip: Clip | None = None
    scene: str = ""
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


def compose_picture(
    model: Model, parameters: Mapping[str, Any], files: Files, seed: int
) -> Picture:
    """Return the picture of a request.

    :param model: the model of the request.
    :param parameters: the checked body of the request. Fault markers in its prompt do not change
        the picture.
    :param files: the inputs that are loaded.
    :param seed: the seed, requested or drawn at random.
    """
    prompt = remove_markers(parameters.get("prompt") or "")
    media = model.media_fields
    options = {name: value for name, value in parameters.items() if name not in media}
    drawn: dict[str, Any] = {
        name: value for name, value in options.items() if name not in _NOT_DRAWN
    }
    drawn |= {name: [file.sha256 for file in group] for name, group in files.items()}

    clip = build_clip(model, parameters, files) if model.output == "video" else None
    if clip is None:
        size = image_size(model, parameters, files)
    else:
        size = video_size(clip, parameters, files)
        drawn["times"] = [time for time, _ in clip.keyframes]

    canonical = json.dumps([model.name, prompt, seed, drawn], sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).digest()
    file_format = options.get("output_format") or model.default_format
    picture = Picture(
        model.name, prompt, seed, *size, file_format, digest, clip, inputs=files, options=options
    )
    return _enhance(picture, files["draft_cache"][0]) if files.get("draft_cache") else picture


def _enhance(picture: Picture, cache: MediaFile) -> Picture:
    """Return the picture of the draft in a cache, in the size that the enhancement requests."""
    with cache.open() as file:
        draft = unpack_draft(file.read())
    width, height = video_size(draft.clip, picture.options, {})
    return replace(
        picture,
        prompt=draft.prompt,
        seed=draft.seed,
        digest=draft.digest,
        clip=draft.clip,
        width=width,
        height=height,
    )
