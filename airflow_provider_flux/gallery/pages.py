"""The pages of the gallery as HTML. The plugin and the contact sheet share them.

Every text of a card is data of strangers. jinja2 escapes all of them, control characters are shown
as their escapes, and a link counts only if it is relative, https, or an image as a data URI.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from airflow_provider_flux.gallery import page_filters
from airflow_provider_flux.gallery.card import Card
from airflow_provider_flux.gallery.card_source import PAGE_CARDS, CardPage
from airflow_provider_flux.gallery.dag_code import dag_code_of_card
from airflow_provider_flux.gallery.filters import CardFilter, Totals

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER = Path(__file__).parent
#: Folder of ``gallery.css`` and ``gallery.js``.
STATIC_FOLDER = _FOLDER / "static"


@dataclass(frozen=True)
class CardLinks:
    """URLs of the parts of a card. A part that is not there is ``None``.

    :param thumb: image of the tile.
    :param full: image or video in full size.
    :param sidecar: sidecar as JSON.
    :param code: the request as the code of a DAG, as plain text. Without it, the page itself has
        the code that the card knows.
    :param task: page of the task instance in Airflow.
    :param page: address that names the card, also when others come before it; without it, the
        address of the page stands for it.
    """

    thumb: str | None = None
    full: str | None = None
    sidecar: str | None = None
    code: str | None = None
    task: str | None = None
    page: str | None = None


#: Returns the links of a card.
LinkCard = Callable[[Card], CardLinks]


@dataclass(frozen=True)
class Crumb:
    """One part of the path above the title: a DAG, a run or a task.

    :param text: its name.
    :param url: its page; ``None`` if it has none.
    """

    text: str
    url: str | None = None


@dataclass(frozen=True)
class View:
    """One page: its title, and the URLs of its own parts.

    :param title: title of the page.
    :param action: URL of the page without its query.
    :param query: names and values of the query that choose the page, for example ``dag_id``. The
        filter and the offset are added to them.
    :param crumbs: path above the title.
    :param css: URL of ``gallery.css``.
    :param js: URL of ``gallery.js``.
    :param notices: sentences above the cards, for example that a manifest cannot be read.
    :param links: links to other pages about the same, beside the title.
    """

    title: str
    action: str
    query: Sequence[tuple[str, str]] = ()
    crumbs: Sequence[Crumb] = ()
    css: str = ""
    js: str = ""
    notices: Sequence[str] = ()
    links: Sequence[Crumb] = ()


def render_gallery(
    view: View,
    page: CardPage,
    *,
    all_totals: Totals,
    filter_: CardFilter,
    link_card: LinkCard,
    limit: int = PAGE_CARDS,
) -> str:
    """Return the page of a gallery: filters, totals, and the tiles of one page of cards.

    :param view: which page this is.
    :param page: the cards to show, and the totals of those that pass the filter.
    :param all_totals: totals of all cards, for the choices of the filters.
    :param filter_: the filter that the cards passed.
    :param link_card: returns the links of a card.
    :param limit: most cards of one page, 100 by default.
    """
    end = page.offset + len(page.cards)
    has_next = len(page.cards) > 0 and end < page.totals.cards
    return _render(
        "gallery.html",
        view=view,
        page=page,
        totals=page.totals,
        all_totals=all_totals,
        filter=filter_,
        tiles=[make_tile(card, link_card(card)) for card in page.cards],
        limit=limit,
        tiles_url=_url(view, filter_, ("part", "tiles")),
        reset_url=_url(view, CardFilter()),
        previous_url=_url(view, filter_, ("offset", str(max(page.offset - limit, 0))))
        if page.offset
        else None,
        next_url=_url(view, filter_, ("offset", str(end))) if has_next else None,
    )


def render_tiles(page: CardPage, *, link_card: LinkCard) -> str:
    """Return the tiles of one page of cards alone, for the script that scrolls.

    :param page: the cards.
    :param link_card: returns the links of a card.
    """
    tiles = [make_tile(card, link_card(card)) for card in page.cards]
    return _render("tiles.html", page=page, tiles=tiles)


def render_message(view: View, text: str) -> str:
    """Return a page with a message in place of cards: an error, or that there are no images yet.

    :param view: which page this is.
    :param text: sentences of the message.
    """
    return _render("message.html", view=view, text=text)


def render_links(view: View, text: str, links: Sequence[Crumb]) -> str:
    """Return a page with a list of links to other pages.

    :param view: which page this is.
    :param text: sentences above the list.
    :param links: the links.
    """
    return _render("links.html", view=view, text=text, links=links)


def _url(view: View, filter_: CardFilter, *more: tuple[str, str]) -> str:
    """Return the URL of the page with a filter, and further names and values."""
    query = urlencode([*view.query, *filter_.to_pairs(), *more], errors="replace")
    return f"{view.action}?{query}"


def make_tile(card: Card, links: CardLinks) -> dict[str, Any]:
    """Return the values of the template of one tile.

    :param card: the card.
    :param links: its links.
    """
    code = None if links.code else dag_code_of_card(card)
    return {"card": card, "links": links, "code": code}


def _render(name: str, **values: Any) -> str:
    return str(environment().get_template(name).render(**values))


@cache
def environment() -> Environment:
    """Return the environment of the templates: it escapes all values."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # not at DAG parse time

    environment = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=page_filters.show,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(page_filters.FILTERS)
    return environment
