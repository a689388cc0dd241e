"""What is known of an image that lies in a store already: its bytes, and its sidecar if that fits them."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_flux.bfl.errors import FluxError, FluxExistsError
from airflow_provider_flux.generation import LandedImage
from airflow_provider_flux.landing import sidecar
from airflow_provider_flux.landing.download import VerifiedResult, inspect
from airflow_provider_flux.landing.sidecar import Sidecar
from airflow_provider_flux.media.info import MediaInfo
from airflow_provider_flux.object_store.objects import exists, read


@dataclass(frozen=True)
class Existing:
    """An image in a store. ``sidecar`` is ``None`` if it has none that describes these very bytes."""

    uri: str
    data: bytes
    info: MediaInfo
    sidecar: Sidecar | None

    @property
    def landed(self) -> LandedImage:
        """What the XCom says of it."""
        return describe_landed(
            self.uri, self.info, sidecar.uri_of(self.uri) if self.sidecar else None
        )

    @property
    def draft_cache(self) -> str | None:
        """URI of the draft cache of a video."""
        return self.sidecar.media.draft_cache if self.sidecar else None

    @property
    def fetched(self) -> VerifiedResult:
        """Its bytes, to be placed elsewhere."""
        return VerifiedResult(self.data, self.info, copied_from=self.uri, origin=self.sidecar)


def describe_landed(uri: str, info: MediaInfo, sidecar_uri: str | None) -> LandedImage:
    """Return what the XCom says of an image."""
    return LandedImage(
        uri=uri,
        sha256=info.sha256,
        bytes=info.size,
        width=info.width,
        height=info.height,
        content_type=info.content_type,
        sidecar=sidecar_uri,
    )


async def load(uri: str) -> Existing | None:
    """Return the image at ``uri``; ``None`` if there is nothing.

    :raises FluxExistsError: if something else is there.
    :raises FluxStorageError: if it cannot be read.
    """
    data = await read(uri)
    if data is None:
        return None
    try:
        info = inspect(data, "unknown")
    except FluxError as error:
        raise FluxExistsError(
            f"What is at {uri} is not a whole image ({error}) It is untouched: remove it, use another output_path, "
            "or if_exists='overwrite'."
        ) from None
    described = await load_sidecar(uri, info.sha256)
    if (
        described
        and described.media.draft_cache
        and await exists(described.media.draft_cache) is False
    ):
        media = described.media.model_copy(update={"draft_cache": None})
        described = described.model_copy(update={"media": media})
    return Existing(uri, data, info, described)


async def load_sidecar(uri: str, sha256: str | None = None) -> Sidecar | None:
    """Return the sidecar of an image, if there is one, and it is of the bytes with this ``sha256``.

    :raises FluxStorageError: if it cannot be told.
    """
    data = await read(sidecar.uri_of(uri))
    found = sidecar.from_bytes(data) if data else None
    return found if found and sha256 in {None, found.media.sha256} else None
