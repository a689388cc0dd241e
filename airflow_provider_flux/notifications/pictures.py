"""The bytes of small pictures for a notification."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from airflow_provider_flux.generation import Rendition

log = logging.getLogger(__name__)

#: Bytes of a picture. A thumb has about 20,000.
MAX_PICTURE_BYTES = 1024 * 1024
#: First bytes of a picture by its format.
_BEGINNINGS = {"jpeg": (b"\xff\xd8\xff", 0), "png": (b"\x89PNG\r\n", 0), "webp": (b"WEBP", 8)}


@dataclass(frozen=True)
class Picture:
    """A picture that a message can carry.

    :param name: name of the file.
    :param content: its bytes.
    """

    name: str
    content: bytes


def read_pictures(thumbs: Iterable[Rendition]) -> list[Picture]:
    """Read thumbs through the connections of their stores. One that cannot be read is left out.

    :param thumbs: thumbs of images that a task has landed.
    """
    pictures = []
    for number, thumb in enumerate(thumbs, 1):
        try:
            content = _read(thumb)
        except Exception as error:  # of a store; the message goes without it
            log.warning("The thumb %s cannot be read: %s", thumb["uri"], type(error).__name__)
            continue
        if content is not None and (kind := _find_format(content)):
            pictures.append(Picture(f"image-{number}.{kind}", content))
    return pictures


def _read(thumb: Rendition) -> bytes | None:
    """Return the bytes of a thumb; ``None`` if they are not those that the task has landed."""
    from airflow_provider_flux.object_store.filesystem import open_path, run_sync
    from airflow_provider_flux.object_store.objects import read_hint

    open_path(thumb["uri"])
    content = run_sync(read_hint(thumb["uri"], MAX_PICTURE_BYTES))
    if content is None or hashlib.sha256(content).hexdigest() != thumb["sha256"]:
        return None
    return content


def _find_format(content: bytes) -> str | None:
    for name, (beginning, offset) in _BEGINNINGS.items():
        if content[offset:].startswith(beginning):
            return name
    return None
