"""The names of the files beside an image."""

from __future__ import annotations

#: End of the name of a draft cache.
DRAFT_CACHE_SUFFIX = ".draft.bin"


def sidecar_uri(image_uri: str) -> str:
    """Return the URI of the sidecar of an image: ``hero.jpeg.json`` for ``hero.jpeg``.

    :param image_uri: URI of the image.
    """
    return f"{image_uri}.json"


def draft_cache_uri(video_uri: str) -> str:
    """Return the URI of the draft cache of a video: ``clip.draft.bin`` for ``clip.mp4``.

    :param video_uri: URI of the video.
    """
    return f"{video_uri.removesuffix('.mp4')}{DRAFT_CACHE_SUFFIX}"
