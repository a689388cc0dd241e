"""Read an image that is in a store already, and its sidecar if that describes these very bytes."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from airflow_provider_flux.bfl.delivery import MAX_RESULT_BYTES
from airflow_provider_flux.bfl.errors import FluxError, FluxExistsError
from airflow_provider_flux.generation import LandedImage, renditions_of
from airflow_provider_flux.landing.below_root import is_below
from airflow_provider_flux.landing.companion_names import DRAFT_CACHE_SUFFIX, sidecar_uri
from airflow_provider_flux.landing.download import VerifiedResult, inspect_result
from airflow_provider_flux.landing.sidecar import (
    MAX_SIDECAR_BYTES,
    Sidecar,
    parse_sidecar,
    with_renditions,
)
from airflow_provider_flux.media.info import MediaInfo
from airflow_provider_flux.media.trailing import ends_before
from airflow_provider_flux.object_store.objects import exists, read, read_hint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExistingImage:
    """A whole image or video in a store.

    :param uri: where it is.
    :param data: its bytes.
    :param info: format, size and hash of the bytes.
    :param sidecar: its sidecar; ``None`` if it has none that describes these bytes.
    """

    uri: str
    data: bytes
    info: MediaInfo
    sidecar: Sidecar | None

    @property
    def landed(self) -> LandedImage:
        """The image as the XCom describes it."""
        sidecar = sidecar_uri(self.uri) if self.sidecar else None
        landed = describe_landed(self.uri, self.info, sidecar)
        if self.sidecar:
            listed = self.sidecar.media.model_dump(include={"renditions"})
            landed["renditions"] = renditions_of(listed)
        return landed

    @property
    def draft_cache(self) -> str | None:
        """URI of the draft cache of a video."""
        return self.sidecar.media.draft_cache if self.sidecar else None

    @property
    def has_trailing_bytes(self) -> bool:
        """Whether bytes follow the end of the image, for example an archive of code.

        BFL delivers no such images, but lands one if it does. It is not copied elsewhere.
        """
        return ends_before(self.data, self.info.format)

    def as_result(self) -> VerifiedResult:
        """Return the image as a result that can land elsewhere."""
        return VerifiedResult(self.data, self.info, copied_from=self.uri, origin=self.sidecar)


def describe_landed(uri: str, info: MediaInfo, sidecar: str | None) -> LandedImage:
    """Return an image as the XCom describes it.

    :param uri: where the image is.
    :param info: format, size and hash of its bytes.
    :param sidecar: URI of its sidecar.
    """
    return LandedImage(
        uri=uri,
        sha256=info.sha256,
        bytes=info.size,
        width=info.width,
        height=info.height,
        content_type=info.content_type,
        sidecar=sidecar,
        renditions={},
    )


async def load_image(uri: str) -> ExistingImage | None:
    """Read an image and its sidecar.

    :param uri: URI of the image.
    :return: ``None`` if there is no object.
    :raises FluxExistsError: if the object is not a whole image.
    :raises FluxStorageError: if it cannot be read.
    """
    data = await read(uri, max_bytes=MAX_RESULT_BYTES)
    if data is None:
        return None
    try:
        info = inspect_result(data, "unknown")
    except FluxError as error:
        raise FluxExistsError(
            f"The object at {uri} is not a whole image ({error}) It is untouched. Remove it, use "
            "another output_path, or set if_exists='overwrite'."
        ) from None
    return ExistingImage(uri, data, info, await _load_checked_sidecar(uri, info.sha256))


async def load_sidecar(uri: str, sha256: str | None = None) -> Sidecar | None:
    """Read the sidecar of an image.

    :param uri: URI of the image.
    :param sha256: hash that the sidecar must name; any by default.
    :return: ``None`` if there is none, or if it describes other bytes.
    :raises FluxStorageError: if it cannot be read.
    """
    data = await read_hint(sidecar_uri(uri), MAX_SIDECAR_BYTES)
    sidecar = parse_sidecar(data) if data else None
    if sidecar is None or sha256 not in {None, sidecar.media.sha256}:
        return None
    sidecar = _without_foreign_renditions(sidecar, uri)
    cache = sidecar.media.draft_cache
    if cache is None or _is_draft_cache_beside(cache, uri):
        return sidecar
    log.warning("The sidecar of %s names a draft cache elsewhere, which is not used.", uri)
    return _without_draft_cache(sidecar)


async def _load_checked_sidecar(uri: str, sha256: str) -> Sidecar | None:
    """Read the sidecar of an image, without its draft cache if that is gone."""
    sidecar = await load_sidecar(uri, sha256)
    if sidecar is None or sidecar.media.draft_cache is None:
        return sidecar
    if await exists(sidecar.media.draft_cache) is not False:
        return sidecar
    return _without_draft_cache(sidecar)


def _is_draft_cache_beside(cache: str, uri: str) -> bool:
    """Whether a draft cache is in the store of an image, and has the name of a draft cache.

    The sidecar of a copy names the draft cache of the original. BFL gets the bytes of a draft cache
    unchecked, so a sidecar may name no other file.
    """
    store = uri[: uri.index("/", uri.index("://") + 3) + 1] if "://" in uri else "/"
    return cache.endswith(DRAFT_CACHE_SUFFIX) and is_below(cache, store)


def _without_foreign_renditions(sidecar: Sidecar, uri: str) -> Sidecar:
    """Return a sidecar with the renditions that are below the folder of their image."""
    media, folder = sidecar.media, f"{uri.rpartition('/')[0]}/"
    own = {name: facts for name, facts in media.renditions.items() if is_below(facts.uri, folder)}
    if len(own) == len(media.renditions):
        return sidecar
    log.warning("The sidecar of %s names renditions elsewhere, which do not count.", uri)
    return with_renditions(sidecar, own)


def _without_draft_cache(sidecar: Sidecar) -> Sidecar:
    media = sidecar.media.model_copy(update={"draft_cache": None})
    return sidecar.model_copy(update={"media": media})
