"""The file format of draft caches: all that is needed to draw the video of a draft again."""

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
_CHECKSUM_BYTES = 32
_THUMBNAIL = (640, 640)


@dataclass(frozen=True)
class Draft:
    """The content of a draft cache.

    :param prompt: the prompt without fault markers.
    :param seed: the seed of the draft.
    :param digest: the digest of the draft's picture, which determines colours and shapes.
    :param clip: the clip of the draft.
    """

    prompt: str
    seed: int
    digest: bytes
    clip: Clip


def pack_draft(draft: Draft, stills: list[Image.Image]) -> bytes:
    """Return a draft cache.

    :param draft: the draft to pack.
    :param stills: the images of its keyframes, in their order.
    """
    times = [time for time, _ in draft.clip.keyframes]
    content = {
        "prompt": draft.prompt,
        "seed": draft.seed,
        "digest": draft.digest.hex(),
        "mode": draft.clip.mode,
        "seconds": draft.clip.seconds,
        "ratio": draft.clip.ratio,
        "keyframes": [
            [time, _encode_thumbnail(still)] for time, still in zip(times, stills, strict=True)
        ],
    }
    packed = zlib.compress(json.dumps(content, sort_keys=True).encode())
    return _MAGIC + hashlib.sha256(packed).digest() + packed


def unpack_draft(data: bytes) -> Draft:
    """Return the draft in a cache.

    :param data: the bytes of the cache.
    :raises ValueError: if :func:`pack_draft` did not make these bytes.
    """
    body = data[len(_MAGIC) :]
    checksum, packed = body[:_CHECKSUM_BYTES], body[_CHECKSUM_BYTES:]
    if not data.startswith(_MAGIC) or hashlib.sha256(packed).digest() != checksum:
        raise ValueError("not a draft cache")
    try:
        content: dict[str, Any] = json.loads(zlib.decompress(packed))
        keyframes = tuple(
            (time, _read_thumbnail(base64.b64decode(text))) for time, text in content["keyframes"]
        )
        clip = Clip(content["mode"], content["seconds"], content["ratio"], keyframes)
        return Draft(content["prompt"], content["seed"], bytes.fromhex(content["digest"]), clip)
    except (zlib.error, LookupError, TypeError, OSError) as error:
        raise ValueError(f"not a draft cache: {error}") from None


def _encode_thumbnail(still: Image.Image) -> str:
    small = still.copy()
    small.thumbnail(_THUMBNAIL)
    buffer = io.BytesIO()
    small.save(buffer, "jpeg", quality=85)
    return base64.b64encode(buffer.getvalue()).decode()


def _read_thumbnail(data: bytes) -> MediaFile:
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
    digest = hashlib.sha256(data).hexdigest()
    stream = partial(io.BytesIO, data)
    return MediaFile("draft", "image/jpeg", len(data), digest, stream, width, height)
