"""Draft caches: all that is needed to draw the video of a draft again, in one small file."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zlib
from dataclasses import dataclass
from functools import partial
from typing import Any

from PIL import Image

from airflow_provider_flux.bfl.inputs import MediaFile
from airflow_provider_flux.emulator.drawing.clips import Clip

_MAGIC = b"FLUXDRAFT1"
_CHECK = 32
_THUMBNAIL = (640, 640)


@dataclass(frozen=True)
class Draft:
    """What a cache holds.

    :param digest: of the draft's picture: where colours and shapes come from.
    """

    prompt: str
    seed: int
    digest: bytes
    clip: Clip


def pack(draft: Draft, stills: list[Image.Image]) -> bytes:
    """Return the cache of a draft.

    :param stills: what its keyframes show, in their order.
    """
    times = [time for time, _ in draft.clip.keyframes]
    content = {
        "prompt": draft.prompt,
        "seed": draft.seed,
        "digest": draft.digest.hex(),
        "mode": draft.clip.mode,
        "seconds": draft.clip.seconds,
        "ratio": draft.clip.ratio,
        "keyframes": [[time, _thumbnail(still)] for time, still in zip(times, stills, strict=True)],
    }
    packed = zlib.compress(json.dumps(content, sort_keys=True).encode())
    return _MAGIC + hashlib.sha256(packed).digest() + packed


def unpack(data: bytes) -> Draft:
    """Return the draft of a cache.

    :raises ValueError: if it is none that :func:`pack` made.
    """
    checksum, packed = data[len(_MAGIC) : len(_MAGIC) + _CHECK], data[len(_MAGIC) + _CHECK :]
    if not data.startswith(_MAGIC) or hashlib.sha256(packed).digest() != checksum:
        raise ValueError("not a draft cache")
    try:
        content: dict[str, Any] = json.loads(zlib.decompress(packed))
        keyframes = tuple(
            (time, _image(base64.b64decode(text))) for time, text in content["keyframes"]
        )
        clip = Clip(content["mode"], content["seconds"], content["ratio"], keyframes)
        return Draft(content["prompt"], content["seed"], bytes.fromhex(content["digest"]), clip)
    except (zlib.error, LookupError, TypeError, OSError) as error:
        raise ValueError(f"not a draft cache: {error}") from None


def _thumbnail(still: Image.Image) -> str:
    small = still.copy()
    small.thumbnail(_THUMBNAIL)
    buffer = io.BytesIO()
    small.save(buffer, "jpeg", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()


def _image(data: bytes) -> MediaFile:
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
    digest = hashlib.sha256(data).hexdigest()
    return MediaFile(
        "draft", "image/jpeg", len(data), digest, partial(io.BytesIO, data), width, height
    )
