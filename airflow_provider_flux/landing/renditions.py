"""Write the renditions of an image beside it: smaller or cropped copies, by the same verified put.

A rendition that fails is a warning, because the image has landed. The coroutines run on the event
loop of the stores. Pixels are decoded on threads, for two images of a loop at a time.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from weakref import WeakKeyDictionary

from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.generation import Generation, Rendition
from airflow_provider_flux.landing import sidecar as sidecars
from airflow_provider_flux.landing.below_root import LandingGuard
from airflow_provider_flux.landing.companion_names import sidecar_uri
from airflow_provider_flux.landing.existing import ExistingImage
from airflow_provider_flux.landing.other_tasks import find_other_task, read_stored_sidecar
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.rendition_options import RenditionOptions
from airflow_provider_flux.landing.sidecar import RenditionFacts
from airflow_provider_flux.landing.xmp import embed_xmp
from airflow_provider_flux.media.image import inspect_image
from airflow_provider_flux.media.info import MediaInfo
from airflow_provider_flux.media.rendition import make_rendition
from airflow_provider_flux.object_store.blocking import gather, has_loop
from airflow_provider_flux.object_store.objects import exists, put

log = logging.getLogger(__name__)

#: Images that are decoded at a time, for each event loop, and for all threads without one. A large
#: one takes 64 MiB.
_MAX_DECODING = 2
_DECODERS: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
#: The same for threads without an event loop.
_DECODING_THREADS = threading.BoundedSemaphore(_MAX_DECODING)


async def write_renditions(
    uri: str,
    data: bytes,
    info: MediaInfo,
    generation: Generation,
    plan: LandingPlan,
    *,
    names: frozenset[str] | None = None,
    exclusive: bool = False,
    guard: LandingGuard | None = None,
) -> dict[str, RenditionFacts]:
    """Write the renditions of an image that has landed.

    :param uri: URI of the image.
    :param data: its bytes.
    :param info: their format and size. A video has no renditions.
    :param generation: its generation.
    :param plan: its landing plan, which has the renditions.
    :param names: the renditions to write; by default all of the plan.
    :param exclusive: replace no object. Default ``False``.
    :param guard: limits of the names, if a stranger may have written the plan.
    :return: the renditions by name, without those that failed. Each failure is a warning.
    """
    if info.seconds is not None:
        return {}

    async def write(name: str, options: RenditionOptions) -> RenditionFacts | None:
        target_uri = options.uri_for(uri, name, info.format)
        try:
            if guard:
                guard.check_below(target_uri)
            await _refuse_taken_name(target_uri, uri, plan)
            return await _write(target_uri, data, options, generation, plan, exclusive)
        except Exception as error:  # the image has landed, and BFL billed it
            log.warning(
                "The image %s landed, but its rendition %r is missing: %s", uri, name, error
            )
            return None

    requested = {
        name: options
        for name, options in plan.target.options.renditions.items()
        if names is None or name in names
    }
    written = await gather(*(write(name, options) for name, options in requested.items()))
    return {
        name: facts for name, facts in zip(requested, written, strict=True) if facts is not None
    }


async def add_missing_renditions(
    existing: ExistingImage, generation: Generation, plan: LandingPlan
) -> Generation:
    """Write the renditions of a plan that an image in the store does not have yet.

    Its sidecar then lists them. The image itself is unchanged.

    :param existing: the image.
    :param generation: its generation.
    :param plan: the plan of the task that uses it.
    :return: the generation with all renditions of the image.
    """
    if existing.info.seconds is not None:
        return generation
    sidecar = existing.sidecar
    listed = dict(sidecar.media.renditions) if sidecar else {}
    missing = await _find_missing(existing, plan, listed)
    if missing:
        listed = {name: facts for name, facts in listed.items() if name not in missing}
        written = await write_renditions(
            existing.uri,
            existing.data,
            existing.info,
            generation,
            plan,
            names=missing,
            exclusive=sidecar is None,
        )
        if written and sidecar:
            await _update_sidecar(existing.uri, sidecar, {**listed, **written}, plan)
        listed |= written
    earlier = generation["image"] or existing.landed
    changed = generation.copy()
    changed["image"] = {**earlier, "renditions": as_renditions(listed)}
    return changed


def as_renditions(facts: Mapping[str, RenditionFacts]) -> dict[str, Rendition]:
    """Return renditions as the XCom describes them.

    :param facts: the renditions by name.
    """
    return {
        name: Rendition(
            uri=item.uri,
            sha256=item.sha256,
            bytes=item.bytes,
            width=item.width,
            height=item.height,
            content_type=item.content_type,
        )
        for name, item in facts.items()
    }


async def _find_missing(
    existing: ExistingImage, plan: LandingPlan, listed: Mapping[str, RenditionFacts]
) -> frozenset[str]:
    """Return the names of renditions that do not exist, or were made in another way."""

    async def is_missing(name: str, options: RenditionOptions) -> bool:
        facts = listed.get(name)
        if facts is None or facts.spec != _spec_of(options):
            return True
        uri = options.uri_for(existing.uri, name, existing.info.format)
        return facts.uri != uri or await exists(uri) is False

    requested = plan.target.options.renditions
    found = await gather(*(is_missing(*item) for item in requested.items()))
    return frozenset(name for name, missing in zip(requested, found, strict=True) if missing)


async def _write(
    uri: str,
    data: bytes,
    options: RenditionOptions,
    generation: Generation,
    plan: LandingPlan,
    exclusive: bool,
) -> RenditionFacts:
    facts = {"model": generation["model"], "request_id": generation["request_id"]}
    if has_loop():
        loop = asyncio.get_running_loop()
        async with _DECODERS.setdefault(loop, asyncio.Semaphore(_MAX_DECODING)):
            made, info = await asyncio.to_thread(make_marked, data, options, **facts)
    else:
        with _DECODING_THREADS:
            made, info = make_marked(data, options, **facts)
    await put(uri, made, plan.target.rendition_write_options(generation, info), exclusive=exclusive)
    return RenditionFacts(
        uri=uri,
        sha256=info.sha256,
        bytes=info.size,
        width=info.width,
        height=info.height,
        content_type=info.content_type,
        spec=_spec_of(options),
    )


def make_marked(
    data: bytes, options: RenditionOptions, *, model: str, request_id: str
) -> tuple[bytes, MediaInfo]:
    """Return a rendition that is marked as AI-generated and inspected.

    The mark of the image is lost with its other metadata, and so are content credentials, which
    hold for the very bytes of the image.

    :param data: the image.
    :param options: the rendition.
    :param model: name of the model.
    :param request_id: BFL's id of the request.
    :return: the rendition, and its format, size and hash.
    :raises RenditionError: if the image cannot be decoded.
    """
    made = make_rendition(data, options)
    marked = embed_xmp(made, inspect_image(made).format, model=model, request_id=request_id)
    return marked, inspect_image(marked)


def _spec_of(options: RenditionOptions) -> dict[str, str | int]:
    return options.model_dump(mode="json", exclude_none=True)


async def _refuse_taken_name(uri: str, image_uri: str, plan: LandingPlan) -> None:
    """Refuse the name of the image itself, and that of the image of another task of the run.

    :raises FluxStorageError: if the name is taken.
    """
    if uri == image_uri:
        raise FluxStorageError("It would replace its image. Add {name} to its path.")
    stored = await read_stored_sidecar(uri, plan)
    if other := find_other_task(stored, uri, None, plan):
        raise FluxStorageError(
            f"{uri} is the image of the task {other.task_id!r} (map index {other.map_index}) of "
            "this DAG run."
        )


async def _update_sidecar(
    uri: str, sidecar: sidecars.Sidecar, renditions: dict[str, RenditionFacts], plan: LandingPlan
) -> None:
    content = sidecars.encode_sidecar(sidecars.with_renditions(sidecar, renditions))
    write_options = plan.target.companion_write_options(sidecars.CONTENT_TYPE)
    try:
        await put(sidecar_uri(uri), content, write_options)
    except FluxStorageError as error:
        log.warning("The sidecar of %s does not list its new renditions. %s", uri, error)
