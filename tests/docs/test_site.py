"""The built documentation: links, anchors, pictures, search and diagrams, without a network.

``make site`` builds it. ``FLUX_SITE`` names its folder.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from airflow_provider_flux.bfl import errors
from airflow_provider_flux.bfl.errors import FluxError

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    not os.environ.get("FLUX_SITE"), reason="FLUX_SITE names no built site: run make site"
)
#: Attributes that a browser fetches without a click.
_FETCHED = {"script": "src", "img": "src", "source": "srcset", "iframe": "src", "link": "href"}
#: Links of a page to itself as another kind of page. No browser fetches them.
_NOT_FETCHED = {"canonical", "alternate", "prev", "next", "edit"}


class _Page(HTMLParser):
    """Anchors, links and fetched files of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.without_alt: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect a tag."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "img" and not values.get("alt"):
            self.without_alt.append(values.get("src", ""))
        name = _FETCHED.get(tag)
        if name in values and values.get("rel") not in _NOT_FETCHED:
            self.fetched.append(values[name])


def built() -> Path:
    """Return the folder of the newest version."""
    site = ROOT / os.environ["FLUX_SITE"]
    return site / json.loads((site / "versions.json").read_text())[0]["version"]


@cache
def pages() -> dict[Path, _Page]:
    return {path: _Page(path.read_text(encoding="utf-8")) for path in built().rglob("*.html")}


def targets_of(path: Path, links: list[str]) -> Iterator[tuple[str, Path, str]]:
    """Yield each link to another place of the site, its file, and its anchor."""
    for link in links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc or path.name == "404.html":
            continue
        file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        yield link, file / "index.html" if file.is_dir() else file, unquote(parts.fragment)


def test_every_link_of_the_site_has_its_page_and_its_anchor() -> None:
    dead = []
    for path, page in pages().items():
        for link, file, anchor in targets_of(path, page.links):
            is_shown_by_script = anchor.startswith("__")
            known = pages()[file].anchors if file in pages() else {anchor}
            if not file.exists() or (anchor and anchor not in known and not is_shown_by_script):
                dead.append(f"{path.relative_to(built())}: {link}")
    assert dead == []


def test_every_picture_and_program_of_a_page_is_in_the_site() -> None:
    lost = [
        f"{path.relative_to(built())}: {link}"
        for path, page in pages().items()
        for link, file, _ in targets_of(path, page.fetched)
        if not file.exists()
    ]
    assert lost == []


def test_no_page_of_the_site_fetches_anything_from_another_host() -> None:
    foreign = {
        f"{path.relative_to(built())}: {link}"
        for path, page in pages().items()
        for link in page.fetched
        if urlsplit(link).netloc
    }
    sheets = [path.read_text(encoding="utf-8") for path in built().rglob("*.css")]
    assert foreign == set()
    assert re.findall(r"url\([\"']?https?:[^)]*\)|@import[^;]*http", "".join(sheets)) == []


def test_every_picture_has_a_text_for_readers_who_do_not_see_it() -> None:
    assert {path.name: page.without_alt for path, page in pages().items() if page.without_alt} == {}


def test_the_index_for_programs_names_every_page_with_its_summary() -> None:
    lines = re.findall(r"^- \[.+\]\((.+?)\)(: .+)?$", (built() / "llms.txt").read_text(), re.M)
    assert [path for path, _ in lines if not (built() / path).is_file()] == []
    named = {path.removesuffix(".md") for path, _ in lines}
    shown = {str(path.relative_to(built()).with_suffix("")) for path in pages()}
    assert shown - named == {"404", "print"}
    without = [path for path, summary in lines if not summary]
    assert without == []


def test_one_page_for_printing_has_the_text_of_all_pages() -> None:
    text = (built() / "print.html").read_text(encoding="utf-8")
    articles = re.findall(r'<article id="([^"]+)">', text)
    assert len(articles) == len(set(articles)) == len(pages()) - 2
    assert "FluxGenerateBatchOperator" in text


def test_the_selector_lists_each_version_that_has_a_folder() -> None:
    site = built().parent
    listed = [row["version"] for row in json.loads((site / "versions.json").read_text())]
    assert sorted(listed) == sorted(path.parent.name for path in site.glob("*/llms.txt"))
    assert f"{listed[0]}/index.html" in (site / "index.html").read_text()


def test_every_error_has_a_section_in_the_guide_and_in_the_reference() -> None:
    names = {
        name.lower()
        for name, item in vars(errors).items()
        if isinstance(item, type) and issubclass(item, FluxError)
    }
    for page in ("errors.html", "reference/errors.html"):
        assert names - pages()[built() / page].anchors == set(), page


def test_the_site_is_searched_and_draws_diagrams_from_disk_without_a_network() -> None:
    from tests.support.browser import STEP_MILLISECONDS, chromium

    diagrams = [path for path in pages() if '<pre class="mermaid">' in path.read_text()]
    assert len(diagrams) > 1
    requests: list[str] = []
    with chromium() as browser:
        page = browser.new_context(offline=True).new_page()
        page.set_default_timeout(STEP_MILLISECONDS)
        page.on("request", lambda request: requests.append(request.url))
        page.goto((built() / "index.html").as_uri())
        page.get_by_label("Search", exact=True).first.fill("FluxBudgetError")
        page.locator(".md-search-result__item").first.wait_for()
        for path in diagrams:
            page.goto(path.as_uri())
            if path.name == "print.html":
                page.locator("pre.mermaid[data-processed] svg").last.wait_for()
                assert page.locator(".error-icon").count() == 0
            else:  # the theme hides its drawing from selectors
                page.locator("div.mermaid").first.wait_for()
    assert [url for url in requests if not url.startswith(("file:", "blob:", "data:"))] == []
