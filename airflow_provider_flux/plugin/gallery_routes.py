"""Pages of the gallery, and the objects that they show."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse, Response

from airflow_provider_flux.gallery.card import Card, CardOrigin
from airflow_provider_flux.gallery.card_source import PAGE_CARDS, CardPage
from airflow_provider_flux.gallery.dag_code import dag_code_of_card, dag_code_of_sidecar
from airflow_provider_flux.gallery.filters import CardFilter, Totals
from airflow_provider_flux.gallery.pages import (
    STATIC_FOLDER,
    render_gallery,
    render_message,
    render_tiles,
)
from airflow_provider_flux.landing.sidecar import MAX_SIDECAR_BYTES
from airflow_provider_flux.plugin.access import (
    READS_DAG,
    logged_in_user,
    may_read_dag,
    readable_dag_ids,
)
from airflow_provider_flux.plugin.byte_ranges import answer_with, has_version, not_modified
from airflow_provider_flux.plugin.headers import OBJECT_POLICY
from airflow_provider_flux.plugin.prompts import add_prompts
from airflow_provider_flux.plugin.sources import PageCards, card_of_task, cards_of_page
from airflow_provider_flux.plugin.stored_objects import (
    ObjectError,
    StoredObject,
    open_media,
    open_thumb,
    read_small,
)
from airflow_provider_flux.plugin.task_paths import TaskPaths
from airflow_provider_flux.plugin.task_records import find_dags_with_images
from airflow_provider_flux.plugin.views import link_card, view_of_dags, view_of_page
from airflow_provider_flux.plugin.workers import in_database_thread, in_store_thread

router = APIRouter()

_LARGEST_INDEX = 2**31 - 1
_NO_IMAGES = "There are no images here yet. A task shows its images when it has landed them."
_STATIC_FILES = frozenset({"gallery.css", "gallery.js", "icon.svg", "costs.css"})

Id = Annotated[str, Path(min_length=1, max_length=250)]
Index = Annotated[int, Path(ge=0, le=_LARGEST_INDEX)]
MapIndex = Annotated[int, Query(ge=-1, le=_LARGEST_INDEX)]
Offset = Annotated[int, Query(ge=0, le=_LARGEST_INDEX)]
Part = Annotated[Literal["page", "tiles"], Query()]
_AS_DATA = {"Content-Security-Policy": OBJECT_POLICY}
_RUN = "/dags/{dag_id}/runs/{run_id}"
_TASK = f"{_RUN}/tasks/{{task_id}}"
_OBJECT = f"{_TASK}/objects/{{index}}"


async def _task_in_path(
    dag_id: Id, run_id: Id, task_id: Id, map_index: MapIndex = -1
) -> CardOrigin:
    return CardOrigin(dag_id, run_id, task_id, map_index)


#: The task instance that the address of an object names.
Origin = Annotated[CardOrigin, Depends(_task_in_path)]


@dataclass(frozen=True)
class PageQuery:
    """The part of a page that a request asks for.

    :param filter_: the filter.
    :param offset: number of passing cards before the page.
    :param is_tiles: whether the script of the page asks for more tiles.
    """

    filter_: CardFilter
    offset: int
    is_tiles: bool


async def _query_of(request: Request, offset: Offset = 0, part: Part = "page") -> PageQuery:
    filter_ = CardFilter.from_query(request.query_params.multi_items())
    return PageQuery(filter_, offset, part == "tiles")


#: What the query of a page chooses.
Chosen = Annotated[PageQuery, Depends(_query_of)]


@router.get("/static/{name}")
async def static_file(name: str) -> Response:
    """Send a file that is the same for everybody: style, script or icon.

    :param name: name of the file.
    """
    if name not in _STATIC_FILES:
        raise HTTPException(404)
    return FileResponse(STATIC_FOLDER / name, headers={"Cache-Control": "public, max-age=300"})


@router.get("/")
async def all_dags(user: Annotated[Any, Depends(logged_in_user)]) -> Response:
    """Show the DAGs with images that the user may read.

    :param user: the user.
    """

    def find() -> list[str]:
        readable = readable_dag_ids(user)
        return [
            dag_id
            for dag_id in find_dags_with_images()
            if dag_id in readable and may_read_dag(user, dag_id)
        ]

    return _html(view_of_dags(await in_database_thread(find)))


@router.get("/dags/{dag_id}", dependencies=READS_DAG)
async def dag_page(dag_id: Id, chosen: Chosen) -> Response:
    """Show the images of a DAG, the latest run first.

    :param dag_id: id of the DAG.
    :param chosen: what to show.
    """
    return await _gallery_page(chosen, dag_id)


@router.get(_RUN, dependencies=READS_DAG)
async def run_page(dag_id: Id, run_id: Id, chosen: Chosen) -> Response:
    """Show the images of a run.

    :param dag_id: id of the DAG.
    :param run_id: id of the run.
    :param chosen: what to show.
    """
    return await _gallery_page(chosen, dag_id, run_id)


@router.get(_TASK, dependencies=READS_DAG)
async def task_page(
    dag_id: Id,
    run_id: Id,
    task_id: Id,
    chosen: Chosen,
    map_index: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Show the images of a task instance, or of all map indexes of a task.

    :param dag_id: id of the DAG.
    :param run_id: id of the run.
    :param task_id: id of the task.
    :param chosen: what to show.
    :param map_index: map index. Any other text stands for all: Airflow leaves a placeholder in the
        address of a tab if the task is not mapped.
    """
    is_index = map_index.isascii() and map_index.isdecimal()
    index = int(map_index) if is_index else None
    if index is not None and index > _LARGEST_INDEX:
        raise HTTPException(404)
    return await _gallery_page(chosen, dag_id, run_id, task_id, index)


@router.get(f"{_OBJECT}/sidecar.json", dependencies=READS_DAG)
async def sidecar_object(origin: Origin, index: Index) -> Response:
    """Send the sidecar of a card, as JSON that no browser takes for a page.

    :param origin: task instance of the card.
    :param index: position of the card among those of the task instance.
    """
    sidecar = await _read_sidecar(*await _find_card(origin, index))
    if sidecar is None:
        raise HTTPException(404)
    return Response(sidecar, headers=_AS_DATA, media_type="application/json")


@router.get(f"{_OBJECT}/code.txt", dependencies=READS_DAG)
async def code_object(origin: Origin, index: Index) -> Response:
    """Send the request of a card as the code of a DAG, as plain text.

    :param origin: task instance of the card.
    :param index: position of the card among those of the task instance.
    """
    card, paths = await _find_card(origin, index)
    sidecar = await _read_sidecar(card, paths)
    try:
        code = dag_code_of_sidecar(json.loads(sidecar)) if sidecar else dag_code_of_card(card)
    except RecursionError:
        code = dag_code_of_card(card)
    return PlainTextResponse(code.encode(errors="replace"), headers=_AS_DATA)


@router.head(f"{_OBJECT}/{{kind}}", dependencies=READS_DAG, include_in_schema=False)
@router.get(f"{_OBJECT}/{{kind}}", dependencies=READS_DAG)
async def media_object(
    request: Request, origin: Origin, index: Index, kind: Literal["thumb", "full"]
) -> Response:
    """Send the image or video of a card, or its thumbnail.

    :param request: the request, which may ask for a range, or for a version that is not known yet.
    :param origin: task instance of the card.
    :param index: position of the card among those of the task instance.
    :param kind: the thumbnail, or the file in full size.
    """
    card, paths = await _find_card(origin, index)
    try:
        thumb = await _find_thumb(card, paths) if kind == "thumb" else None
        if thumb is not None:
            return answer_with(thumb, request)
        uri = card.uri
        if uri is None or not await in_database_thread(paths.has, uri):
            raise HTTPException(404)
        if has_version(request, card.sha256):
            return not_modified(str(card.sha256))
        found = await in_store_thread(open_media, uri, sha256=card.sha256, size=card.bytes)
    except ObjectError as error:
        raise HTTPException(error.status, error.text) from None
    return answer_with(found, request)


async def _find_thumb(card: Card, paths: TaskPaths) -> StoredObject | None:
    """Return the thumbnail of a card; ``None`` if the image itself stands for it."""
    if card.thumb is None or not await in_database_thread(paths.has, card.thumb):
        return None
    return await in_store_thread(open_thumb, card.thumb, card.request_id)


async def _find_card(origin: CardOrigin, index: int) -> tuple[Card, TaskPaths]:
    found = await in_store_thread(card_of_task, origin, index)
    if found is None:
        raise HTTPException(404)
    return found


async def _read_sidecar(card: Card, paths: TaskPaths) -> bytes | None:
    """Return the sidecar of a card; ``None`` if it is none, or not where the task writes."""
    uri = card.sidecar
    if uri is None or not await in_database_thread(paths.has, uri):
        return None
    try:
        data = await in_store_thread(read_small, uri, MAX_SIDECAR_BYTES)
        content = json.loads(data)
    except ObjectError as problem:
        raise HTTPException(problem.status, problem.text) from None
    except (ValueError, RecursionError):
        return None
    return data if isinstance(content, dict) and "digital_source_type" in content else None


async def _gallery_page(chosen: PageQuery, *ids: Any) -> Response:
    found, page, totals = await in_store_thread(_read_page, chosen, *ids)
    if chosen.is_tiles:
        return _html(render_tiles(page, link_card=link_card))
    view = view_of_page(found, *ids)
    if not totals.cards and not found.notices:
        return _html(render_message(view, _NO_IMAGES))
    return _html(
        render_gallery(
            view,
            page,
            all_totals=totals,
            filter_=chosen.filter_,
            link_card=link_card,
            limit=PAGE_CARDS,
        )
    )


def _html(text: str) -> Response:
    # A text of a stranger may have half a character, which UTF-8 cannot have.
    return HTMLResponse(text.encode(errors="replace"))


def _read_page(chosen: PageQuery, *ids: Any) -> tuple[PageCards, CardPage, Totals]:
    found = cards_of_page(*ids, is_search=bool(chosen.filter_.text))
    page, totals = found.cards.page(chosen.filter_, chosen.offset), found.cards.totals
    TaskPaths.load(found.paths[card.origin] for card in page.cards if card.sidecar)
    cards = add_prompts(page.cards, found.may_name)
    return found, CardPage(cards, page.offset, page.totals), totals
