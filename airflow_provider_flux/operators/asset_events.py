"""Asset events of a task: their extras, and one event for each image on request.

Airflow emits an event for each asset in ``outlets`` when a task succeeds. This module fills its
extra. An ``AssetAlias`` in ``outlets`` gets one event for each image.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypedDict, cast
from urllib.parse import quote, urlsplit, urlunsplit

from airflow.providers.common.compat.sdk import Asset, AssetAlias

from airflow_provider_flux.bfl.storable import is_storable_integer
from airflow_provider_flux.generation import Generation, renditions_of

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

log = logging.getLogger(__name__)

#: Events for single images of one task. The API server writes all of them in one request, for which
#: the worker waits 5 seconds (``[workers] execution_api_timeout``). 100 of them take the server
#: 0.6 seconds of CPU time, and 1000 take 10.
MAX_IMAGE_EVENTS = 100
#: Partitions of one task, which the API server writes in the same request: 1.2 seconds of CPU time.
MAX_PARTITIONS = 500
#: Images of a list that the extra of one event describes, so that it stays below about 20 kB.
MAX_LISTED_IMAGES = 50
#: Airflow's limit of a partition key, in characters.
_MAX_PARTITION_CHARACTERS = 250
_ASCII = "".join(map(chr, range(128)))
#: Sidecars that are read at the same time.
_MAX_PARALLEL = 16


class ImageEventExtra(TypedDict, total=False):
    """The extra of an asset event for one image or video. Members that do not apply are missing.

    :ivar uri: URI of the image, with the id of its connection, as in the XCom.
    :ivar sha256: SHA-256 of its bytes, in hexadecimal.
    :ivar bytes: size in bytes.
    :ivar width: width in pixels.
    :ivar height: height in pixels.
    :ivar content_type: MIME type.
    :ivar sidecar: URI of the JSON file with its provenance.
    :ivar thumb: URI of the rendition ``thumb``.
    :ivar seconds: length of a video in seconds; missing for a video of a batch.
    :ivar key: key of the row, for an image of a batch.
    :ivar model: name of the model.
    :ivar seed: the effective seed.
    :ivar cost: credits (1 credit = 0.01 USD); 0 for a reused image.
    :ivar cost_source: ``reported``, ``estimated`` or ``reused``.
    :ivar request_id: BFL's id of the request.
    :ivar reused: whether the image existed before, so that nothing was submitted.
    :ivar prompt: the prompt, with ``prompt_in_events=True``.
    """

    uri: str
    sha256: str
    bytes: int
    width: int
    height: int
    content_type: str
    sidecar: str
    thumb: str
    seconds: float
    key: str
    model: str
    seed: int
    cost: float
    cost_source: str
    request_id: str
    reused: bool
    prompt: str


class ImageListEventExtra(TypedDict):
    """The extra of an asset event for a list of images.

    :ivar count: number of images and videos.
    :ivar credits: credits (1 credit = 0.01 USD) that all of them cost, as far as they are known.
    :ivar images: the first 50 of them.
    """

    count: int
    credits: float
    images: list[ImageEventExtra]


class BatchEventExtra(TypedDict):
    """The extra of an asset event for a batch: members of its summary.

    :ivar manifest: URI of the manifest, which has a row for each row of the input.
    :ivar rows: number of rows of the input.
    :ivar landed: rows whose image was generated and has landed.
    :ivar reused: rows that use an image that existed before.
    :ivar moderated: rows that moderation refused.
    :ivar rejected: rows whose image a check rejected.
    :ivar invalid: rows that are no valid request.
    :ivar failed: rows without an image because of an error.
    :ivar submitted: rows that BFL bills, and whose image has not landed.
    :ivar uncertain: rows whose answer to the submit was lost.
    :ivar lost: rows that BFL billed, and whose image is lost.
    :ivar pending: rows that were not submitted.
    :ivar credits: credits (1 credit = 0.01 USD) that the batch cost over all its tries.
    :ivar credits_saved: credits that reused images would have cost.
    """

    manifest: str
    rows: int
    landed: int
    reused: int
    moderated: int
    rejected: int
    invalid: int
    failed: int
    submitted: int
    uncertain: int
    lost: int
    pending: int
    credits: float
    credits_saved: float


#: Members of a manifest row, or of a generation and its image, that an extra has.
_MEMBERS = tuple(name for name in ImageEventExtra.__annotations__ if name != "prompt")


def describe_generation(generation: Generation) -> ImageEventExtra:
    """Return the extra of an event for a generation.

    :param generation: the generation that the task returns.
    """
    landed: Mapping[str, Any] = generation["image"] or generation["video"] or {}
    thumb = renditions_of(landed).get("thumb")
    return describe_image({**generation, **landed, "thumb": thumb["uri"] if thumb else None})


def describe_image(members: Mapping[str, Any]) -> ImageEventExtra:
    """Return the extra of an event for one image.

    :param members: the members of a generation and of its landed image.
    """
    fitted = {name: _fit(members.get(name)) for name in _MEMBERS}
    extra = cast(ImageEventExtra, {k: v for k, v in fitted.items() if v is not None})
    extra["reused"] = bool(members.get("reused")) or members.get("outcome") == "reused"
    return extra


def describe_row(row: Mapping[str, Any]) -> ImageEventExtra:
    """Return the extra of an event for the image of a row of a batch.

    :param row: row of the manifest. Its ``seconds`` are those of the generation, so the extra does
        not have them.
    """
    return describe_image({name: value for name, value in row.items() if name != "seconds"})


def describe_list(generations: Sequence[Generation]) -> ImageListEventExtra:
    """Return the extra of an event for a list of generations.

    :param generations: the generations that the task returns.
    """
    return ImageListEventExtra(
        count=len(generations),
        credits=round(sum(generation["cost"] or 0.0 for generation in generations), 4),
        images=[describe_generation(generation) for generation in generations[:MAX_LISTED_IMAGES]],
    )


def describe_batch(summary: Mapping[str, Any]) -> BatchEventExtra:
    """Return the extra of an asset event for a batch.

    :param summary: the summary that the task returns.
    """
    members = {name: summary[name] for name in BatchEventExtra.__annotations__}
    return cast(BatchEventExtra, members)


def emit_events(
    context: Context,
    outlets: Sequence[Any],
    extra: Mapping[str, Any],
    images: Callable[[], Iterable[ImageEventExtra]],
    *,
    with_prompts: bool = False,
    partition_keys: Callable[[], Iterable[Any]] | None = None,
) -> None:
    """Fill the extras of the assets of a task, and add an event for each image to its aliases.

    The images have landed, so nothing here fails the task: a fault is a warning in its log.

    :param context: context of the task.
    :param outlets: ``outlets`` of the task.
    :param extra: extra of the event of each asset. Members that the DAG has set itself are kept.
    :param images: returns the extras of the single images, for aliases.
    :param with_prompts: add the prompts of the sidecars to extras of images. Default ``False``.
    :param partition_keys: returns the partitions of the assets; by default they have none.
    """
    events = context.get("outlet_events")
    if events is None or not outlets:
        return
    try:
        keys = _check_partitions(partition_keys() if partition_keys else ())
        has_alias = any(isinstance(outlet, AssetAlias) for outlet in outlets)
        described = _list_images(images()) if has_alias else []
    except Exception as error:
        log.warning("The asset events of this task have no extras (%s).", error)
        return
    if with_prompts:
        extra, described = _add_prompts(extra, described)
    for outlet in outlets:
        try:
            if isinstance(outlet, AssetAlias):
                _add_images(events[outlet], described)
            else:
                _fill(events[outlet], extra, keys)
        except Exception as error:
            # Outlets may be of types that have no events, for example datasets of OpenLineage.
            log.warning("The asset event of outlet %r has no extra (%s).", outlet, error)


def _fill(accessor: Any, extra: Mapping[str, Any], partition_keys: list[str]) -> None:
    accessor.extra = {**extra, **accessor.extra}
    if not partition_keys:
        return
    if hasattr(accessor, "add_partitions"):
        accessor.add_partitions(partition_keys)
    else:
        log.warning("Before Airflow 3.3 a task cannot name partitions. Its asset event has no key.")


def _add_images(accessor: Any, images: Sequence[ImageEventExtra]) -> None:
    for image in images:
        try:
            asset = Asset(asset_uri(image["uri"]))
        except ValueError as error:  # longer than Airflow's limit of 1500 characters
            log.warning("An image has no asset event (%s): %s", error, image["uri"])
            continue
        accessor.add(asset, extra=dict(image))


def asset_uri(uri: str) -> str:
    """Return the URI of the asset of an image: its URI without the id of a connection, in ASCII.

    Airflow's API server fails a task that emits an event for a URI with other characters, so these
    are percent-encoded.

    :param uri: URI of the image, for example ``s3://my_conn@bucket/hero.jpeg``.
    """
    parts = urlsplit(uri)
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return quote(plain, safe=_ASCII, errors="replace")


def _list_images(images: Iterable[ImageEventExtra]) -> list[ImageEventExtra]:
    landed = (image for image in images if image.get("uri"))
    listed = list(islice(landed, MAX_IMAGE_EVENTS))
    rest = sum(1 for _ in landed)
    if rest:
        log.warning(
            "An asset alias gets events for the first %d images. %d more images have none. They "
            "are in the output of the task.",
            MAX_IMAGE_EVENTS,
            rest,
        )
    return listed


def _check_partitions(keys: Iterable[Any]) -> list[str]:
    """Return the keys that Airflow accepts as texts, and warn about the others."""
    listed = list(keys)
    # Data of another task may be a number or a date.
    texts = [str(key) for key in listed if isinstance(key, str) or not isinstance(key, Collection)]
    usable = [
        key
        for key in texts
        if key.strip() and key.isprintable() and len(key) <= _MAX_PARTITION_CHARACTERS
    ]
    if len(usable) < len(listed):
        log.warning(
            "%d keys are empty, not printable, longer than %d characters, or lists or dicts, so "
            "the assets get no partition for them.",
            len(listed) - len(usable),
            _MAX_PARTITION_CHARACTERS,
        )
    return usable


def _add_prompts(
    extra: Mapping[str, Any], images: Sequence[ImageEventExtra]
) -> tuple[Mapping[str, Any], list[ImageEventExtra]]:
    """Return the extra of the task, and those of the images, with the prompts of the sidecars."""
    listed: list[ImageEventExtra] = [extra] if "uri" in extra else [*extra.get("images", ())]  # type: ignore[list-item]
    try:
        prompts = _read_prompts([*listed, *images])
    except Exception as error:
        log.warning("The asset events of this task have no prompts (%s).", error)
        return extra, list(images)

    def add(image: ImageEventExtra) -> ImageEventExtra:
        prompt = prompts.get(image.get("uri", ""))
        return image if prompt is None else {**image, "prompt": prompt}

    if "uri" in extra:
        extra = add(listed[0])
    elif listed:
        extra = {**extra, "images": list(map(add, listed))}
    return extra, list(map(add, images))


def _read_prompts(images: Iterable[ImageEventExtra]) -> dict[str, str]:
    """Return the prompts of the sidecars by the URIs of the images."""
    # They bring fsspec and Pillow, which parsing a DAG does not need.
    from airflow_provider_flux.landing.existing import load_sidecar
    from airflow_provider_flux.object_store.filesystem import open_path, run_sync

    with_sidecar = {image["uri"]: image for image in images if image.get("sidecar")}
    for uri in {uri.rpartition("/")[0]: uri for uri in with_sidecar}.values():
        open_path(uri)
    limit = asyncio.Semaphore(_MAX_PARALLEL)

    async def read(image: ImageEventExtra) -> tuple[str, str | None]:
        async with limit:
            sidecar = await load_sidecar(image["uri"], image.get("sha256"))
        return image["uri"], sidecar.request.prompt if sidecar else None

    async def read_all() -> list[tuple[str, str | None]]:
        return await asyncio.gather(*map(read, with_sidecar.values()))

    found = run_sync(read_all())
    return {uri: _fit(prompt) for uri, prompt in found if prompt is not None}


def _fit(value: Any) -> Any:
    """Return a value that Airflow can send and store; ``None`` for any other."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode() or None
    if isinstance(value, int) and not is_storable_integer(value):
        return None
    return value
