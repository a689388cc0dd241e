"""The pages as HTML: what strangers wrote is text, and every link is one of the plugin."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from airflow_provider_flux.gallery.card import Card, CardOrigin, card_of_row
from airflow_provider_flux.gallery.card_source import CardList
from airflow_provider_flux.gallery.filters import CardFilter
from airflow_provider_flux.gallery.pages import (
    STATIC_FOLDER,
    CardLinks,
    Crumb,
    View,
    render_gallery,
    render_message,
    render_tiles,
)
from tests.support.gallery_cards import batch_cards

HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "</template></pre></textarea></title></script><script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %}",
    "\u202egnp.exe\u2066 \x1b[31m \x00 \ud800",
    "a" * 2**20,
]
VIEW = View(
    "Images",
    "/flux/gallery",
    [("dag_id", "shop & co")],
    [Crumb("shop", "/dags/shop"), Crumb("t")],
    "/flux/gallery.css",
    "/flux/gallery.js",
)


ALL = CardFilter()


class Page(HTMLParser):
    """Tags, attributes and text of a page.

    :param html: the page.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        html.encode()  # it has no lone surrogates
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record a tag."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Record a text."""
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of all tags of a name."""
        return [attributes for name, attributes in self.tags if name == tag]


def render(cards: list[Card], filter_: CardFilter = ALL, **links: Any) -> Page:
    source = CardList(cards)
    page = source.page(filter_)
    html = render_gallery(
        VIEW,
        page,
        all_totals=source.totals,
        filter_=filter_,
        link_card=lambda card: CardLinks(**links),
    )
    return Page(html)


def hostile_cards() -> list[Card]:
    names = [name for name in Card.__dataclass_fields__ if name != "origin"]
    cards = [card_of_row(dict.fromkeys(names, text)) for text in HOSTILE]
    return [
        replace(card, origin=CardOrigin(text[:99], text[:99], text[:99]))
        for card, text in zip(cards, HOSTILE, strict=True)
    ]


class TestStrangers:
    def test_texts_of_strangers_add_no_tag_and_no_attribute(self) -> None:
        plain = render([card_of_row({**dict.fromkeys(("key", "prompt"), "x")})] * len(HOSTILE))
        page = render(hostile_cards())
        known = {tag for tag, _ in plain.tags} | {"fieldset", "legend", "b"}
        assert {tag for tag, _ in page.tags} <= known
        assert len(page.all("script")) == 1
        for _, attributes in page.tags:
            assert not any(name.startswith("on") or name == "style" for name in attributes)
        assert "49" not in page.text
        for text in HOSTILE[:6]:
            assert text[:200] in page.text

    def test_control_characters_are_shown_as_their_escapes(self) -> None:
        page = render(hostile_cards())
        assert "\\u202egnp.exe\\u2066 \\x1b[31m \\x00 \\ud800" in page.text
        assert not set("\u202e\u2066\x1b\x00") & set(page.text)

    @pytest.mark.parametrize(
        "url", [*HOSTILE[:6], "//evil.example", "/\\evil.example", "http://x/"]
    )
    def test_a_link_that_is_not_of_this_server_is_left_out(self, url: str) -> None:
        page = render([Card(key="a", uri="/x")], thumb=url, full=url, sidecar=url, code=url)
        values = [value for _, attributes in page.tags for value in attributes.values()]
        assert url not in values
        assert not page.all("img")

    def test_a_page_of_texts_of_a_megabyte_is_short(self) -> None:
        source = CardList([hostile_cards()[-1]] * 100)
        html = render_tiles(source.page(CardFilter()), link_card=lambda card: CardLinks())
        assert len(html) < 100 * 25_000

    def test_a_message_is_text(self) -> None:
        assert "<script>alert(1)</script>" in Page(render_message(VIEW, HOSTILE[0])).text


class TestGallery:
    def test_a_tile_shows_what_the_card_knows(self) -> None:
        card = next(batch_cards(1, origin=CardOrigin("shop", "run-1", "images", 2)))
        page = render([card], thumb="/flux/thumb?n=0", full="/flux/full?n=0", sidecar="/flux/s?n=0")
        assert page.all("img")[0]["src"] == "/flux/thumb?n=0"
        assert card.prompt
        for text in (card.prompt, "1024 \u00d7 768", "sku-000000", str(card.seed), "images [2]"):
            assert text in page.text

    def test_a_row_without_an_image_says_why(self) -> None:
        cards = [Card(outcome="moderated", reason="Violence"), Card(outcome="pending")]
        text = render(cards).text
        assert "Violence" in text
        assert "The row was not submitted yet." in text

    def test_pages_link_to_each_other_with_the_filter(self) -> None:
        source = CardList(list(batch_cards(250)))
        filter_ = CardFilter(outcomes=frozenset({"landed"}))
        html = render_gallery(
            VIEW,
            source.page(filter_, 100),
            all_totals=source.totals,
            filter_=filter_,
            link_card=lambda card: CardLinks(),
        )
        links = {item.get("rel"): item.get("href") for item in Page(html).all("a")}
        start = "/flux/gallery?dag_id=shop+%26+co&outcome=landed&offset="
        assert (links["prev"], links["next"]) == (f"{start}0", f"{start}200")
        assert (
            'data-url="/flux/gallery?dag_id=shop+%26+co&amp;outcome=landed&amp;part=tiles"' in html
        )

    def test_the_form_keeps_the_page_and_the_filter(self) -> None:
        filter_ = CardFilter(outcomes=frozenset({"moderated"}), text="fox", min_cost=0)
        inputs = {
            item["name"]: item
            for item in render(list(batch_cards(200)), filter_).all("input")
            if "name" in item
        }
        assert inputs["dag_id"]["value"] == "shop & co"
        assert inputs["text"]["value"] == "fox"
        assert inputs["min_cost"]["value"] == "0"

    def test_an_empty_gallery_says_whether_a_filter_is_the_reason(self) -> None:
        assert "No images yet." in render([]).text
        filtered = render(list(batch_cards(3)), CardFilter(text="no such text"))
        assert "No image passes these filters." in filtered.text

    @pytest.mark.parametrize(
        ("name", "value", "shown"),
        [
            ("submitted_at", "9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59-14:00"),
            ("submitted_at", "0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+14:00"),
            ("submitted_at", "10000-01-01T00:00:00Z", "10000-01-01T00:00:00Z"),
            ("cost", 1e308, "1e+308 credits ($1e+306)"),
            ("cost", -1e308, "-1e+308 credits ($-1e+306)"),
            ("seconds", 1e308, "1e+308 s"),
        ],
    )
    def test_a_value_that_nobody_can_mean_takes_no_more_place_than_its_text(
        self, name: str, value: Any, shown: str
    ) -> None:
        page = render([card_of_row({"key": "a", name: value})])
        assert shown in page.text
        assert max(map(len, page.text.split())) < 60


def test_the_script_makes_no_markup_of_texts_and_calls_nobody_else() -> None:
    script = (STATIC_FOLDER / "gallery.js").read_text()
    for name in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "http:",
        "https:",
    ):
        assert name not in script
    css = (STATIC_FOLDER / "gallery.css").read_text()
    assert "url(" not in css
    assert "@import" not in css
    assert "</" not in script + css  # the contact sheet has both inline
