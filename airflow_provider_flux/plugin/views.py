"""Addresses and titles of the pages, and of the parts of a card."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from airflow_provider_flux.gallery.card import Card
from airflow_provider_flux.gallery.pages import CardLinks, Crumb, View, render_links, render_message
from airflow_provider_flux.links.gallery import (
    GALLERY_PREFIX,
    costs_path,
    gallery_path,
    ui_path,
)
from airflow_provider_flux.plugin.sources import PageCards


def view_of_page(
    found: PageCards,
    dag_id: str,
    run_id: str | None = None,
    task_id: str | None = None,
    map_index: int | None = None,
) -> View:
    """Return the page of a DAG, a run or a task.

    :param found: its cards.
    :param dag_id: id of the DAG.
    :param run_id: id of the run; ``None`` for the page of the DAG.
    :param task_id: id of the task; ``None`` for the page of the run.
    :param map_index: map index of the task instance; ``None`` for all of the task.
    """
    names = [name for name in (dag_id, run_id, task_id) if name is not None]
    title = names[-1] if map_index is None else f"{names[-1]}[{map_index}]"
    crumbs = [Crumb("FLUX images", ui_path("/plugin/flux"))]
    crumbs += [Crumb(name, _tab_of(names[: index + 1])) for index, name in enumerate(names[:-1])]
    return View(
        title=title,
        action=gallery_path(dag_id, run_id, task_id),
        query=() if map_index is None else (("map_index", str(map_index)),),
        crumbs=crumbs,
        css=_static("gallery.css"),
        js=_static("gallery.js"),
        notices=found.notices,
        links=[Crumb("Costs", costs_path(dag_id))] if run_id is None else (),
    )


def view_of_dags(dag_ids: Sequence[str]) -> str:
    """Return the page of all DAGs with images.

    :param dag_ids: ids of the DAGs that the user may read.
    """
    if not dag_ids:
        return message_page("FLUX images", "No task that you may see has landed images yet.")
    view = View(
        "FLUX images",
        gallery_path(),
        css=_static("gallery.css"),
        js=_static("gallery.js"),
        links=[Crumb("Costs", costs_path())],
    )
    links = [Crumb(dag_id, _tab_of([dag_id])) for dag_id in dag_ids]
    return render_links(view, "These DAGs ran tasks that land images:", links)


def message_page(title: str, text: str) -> str:
    """Return a page with a message.

    :param title: title of the page.
    :param text: sentences of the message.
    """
    view = View(title, gallery_path(), css=_static("gallery.css"), js=_static("gallery.js"))
    return render_message(view, text)


def link_card(card: Card) -> CardLinks:
    """Return the links of a card.

    :param card: the card, with its origin.
    """
    origin = card.origin
    page = gallery_path(origin.dag_id, origin.run_id, origin.task_id)
    query = f"?map_index={origin.map_index}" if origin.map_index >= 0 else ""

    def link(kind: str) -> str:
        return f"{page}/objects/{card.index}/{kind}{query}"

    has_media = card.has_media
    return CardLinks(
        thumb=link("thumb") if card.thumb or (has_media and not card.is_video) else None,
        full=link("full") if has_media else None,
        sidecar=link("sidecar.json") if card.sidecar else None,
        code=link("code.txt"),
        task=_task_page(card),
        page=f"{page}{query}#image-{card.index}",
    )


def _task_page(card: Card) -> str:
    """Return the page of the task instance in Airflow."""
    origin = card.origin
    ids = zip(
        ("dags", "runs", "tasks"), (origin.dag_id, origin.run_id, origin.task_id), strict=True
    )
    path = "".join(f"/{name}/{quote(value, safe='')}" for name, value in ids)
    mapped = f"/mapped/{origin.map_index}" if origin.map_index >= 0 else ""
    return ui_path(f"{path}{mapped}")


def _tab_of(names: Sequence[str]) -> str:
    """Return the tab of a DAG or a run in Airflow."""
    path = "".join(
        f"/{kind}/{quote(name, safe='')}"
        for kind, name in zip(("dags", "runs"), names, strict=False)
    )
    return ui_path(f"{path}/plugin/{('flux-dag', 'flux-run')[len(names) - 1]}")


def _static(name: str) -> str:
    return ui_path(f"{GALLERY_PREFIX}/static/{name}")
