"""The gallery as a person sees it: in Debian's chromium, on a real API server."""

from __future__ import annotations

import ast
import os
import statistics
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.browser import IMAGES_ARE_LOADED, Visit
from tests.support.gallery_site import (
    BATCH_DAG,
    BATCH_TASK,
    HOSTILE,
    HOSTILE_INDEX,
    MODERATED_INDEX,
    SHOP_DAG,
    GallerySite,
)

#: Whether the figures of a quiet machine are checked: `make soak`.
IS_SOAK = bool(os.environ.get("FLUX_GALLERY_ROWS"))
#: Seconds until the thumbnails in the window are shown, at most.
FIRST_THUMBNAILS = 1.0
#: Tiles of one fetch.
PAGE_TILES = 100
Start = Callable[..., Visit]
WIDTHS = "() => [document.documentElement.scrollWidth, innerWidth]"
FOCUSED = "() => document.activeElement.closest('.tile')?.dataset.position"
BACKGROUND = "() => getComputedStyle(document.body).backgroundColor"
#: Seconds from the start of the navigation until the images in the window are shown.
SECONDS_TO_IMAGES = f"""
() => new Promise((done) => {{
  const isLoaded = {IMAGES_ARE_LOADED.strip()};
  const look = () => isLoaded() ? done(performance.now() / 1000) : requestAnimationFrame(look);
  look();
}})
"""


def key_of(index: int) -> str:
    return f"sku-{index:05}"


def focus_tile(page: Any, position: int) -> None:
    page.wait_for_function(f"() => ({FOCUSED})() === '{position}'")


def fits(page: Any) -> bool:
    needed, width = page.evaluate(WIDTHS)
    return bool(needed <= width)


class TestTiles:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_a_batch_shows_its_images_in_the_scheme_of_the_user(
        self, visit: Start, site: GallerySite, scheme: str
    ) -> None:
        window = visit(scheme=scheme)
        page = window.open(site.batch_page)
        assert page.get_by_role("heading", level=1).inner_text() == BATCH_TASK
        assert page.locator('[data-total="cards"]').inner_text() == f"{site.rows:,}"
        images = site.rows - site.moderated
        assert page.locator('[data-total="images"]').inner_text() == f"{images:,}"
        assert page.evaluate("() => matchMedia('(prefers-color-scheme: dark)').matches") == (
            scheme == "dark"
        )
        lightness = float(page.evaluate(BACKGROUND).partition("(")[2].split()[0].rstrip(","))
        is_dark = lightness < 0.5 or 1 < lightness < 100
        assert is_dark == (scheme == "dark"), page.evaluate(BACKGROUND)
        assert window.axe() == []

    def test_a_moderated_row_says_why_it_has_no_image(
        self, visit: Start, site: GallerySite
    ) -> None:
        page = visit().open(site.batch_page)
        tile = page.locator(f'[data-position="{MODERATED_INDEX}"]')
        assert tile.locator("img").count() == 0
        assert "Moderated" in tile.inner_text()
        assert "BFL's moderation refused the result" in tile.inner_text()

    def test_a_long_model_name_leaves_the_size_of_the_image_visible(
        self, visit: Start, site: GallerySite
    ) -> None:
        page = visit().open(site.batch_page)
        needed, width = page.locator(".tile .caption").first.evaluate(
            "(caption) => {"
            " caption.querySelector('.model').textContent = 'flux-tools/outpainting-v1'.repeat(3);"
            " return [caption.scrollWidth, caption.clientWidth]; }"
        )
        assert needed <= width

    def test_hostile_keys_and_prompts_are_text(self, visit: Start, site: GallerySite) -> None:
        page = visit().open(site.batch_page)
        tile = page.locator(f'[data-position="{HOSTILE_INDEX}"]')
        assert tile.locator(".key").inner_text() == HOSTILE
        tile.locator(".frame").click()
        viewer = page.locator("dialog.viewer")
        assert viewer.get_by_role("heading").inner_text() == HOSTILE
        viewer.locator(".prompt").wait_for()
        assert viewer.locator(".prompt").inner_text() == HOSTILE
        page.keyboard.press("Escape")
        viewer.wait_for(state="hidden")
        for key in ("c", "ArrowRight", "c"):
            page.keyboard.press(key)
        page.get_by_role("button", name="Compare", exact=True).click()
        assert HOSTILE in page.locator("dialog.compare").inner_text()
        assert page.title() == BATCH_TASK
        assert page.locator("img[src=x]").count() == 0

    def test_scrolling_fetches_only_the_tiles_near_the_window(
        self, visit: Start, site: GallerySite
    ) -> None:
        window = visit()
        page = window.open(site.batch_page)
        fetched: list[int] = []

        def hear(request: Any) -> None:
            query = parse_qs(urlsplit(request.url).query)
            if query.get("part") == ["tiles"]:
                fetched.append(int(query["offset"][0]) // PAGE_TILES)

        page.on("request", hear)
        page.evaluate("() => scrollTo(0, document.body.scrollHeight)")
        page.wait_for_selector(f'.tile[data-position="{site.rows - 1}"]:not(.blank)')
        window.wait_for_images()
        last = (site.rows - 1) // PAGE_TILES
        assert set(fetched) <= {last - 1, last}
        assert page.locator(".tile").count() < PAGE_TILES

    def test_the_first_thumbnails_are_shown_soon(self, visit: Start, site: GallerySite) -> None:
        page = visit().page
        seconds = []
        for _ in range(5 if IS_SOAK else 1):
            page.goto(site.batch_page, wait_until="commit")
            page.wait_for_selector(".tile img")
            seconds.append(page.evaluate(SECONDS_TO_IMAGES))
        sys.stdout.write(
            f"{site.rows} rows, landed in {site.landing_seconds:.0f} s; "
            f"first thumbnails after {[round(value, 2) for value in seconds]} s\n"
        )
        # The first visit also reads the index, and it is a person's only one.
        assert statistics.median(seconds) < FIRST_THUMBNAILS or not IS_SOAK


class TestFilters:
    def test_a_chip_filters_and_the_address_keeps_the_filter(
        self, visit: Start, site: GallerySite
    ) -> None:
        page = visit().open(site.batch_page)
        page.get_by_role("checkbox", name="Moderated").check(force=True)
        page.wait_for_url("**outcome=moderated**")
        page.wait_for_selector('.tile[data-outcome="moderated"]')
        assert page.locator('[data-total="cards"]').inner_text() == f"{site.moderated:,}"
        assert page.locator('.tile:not([data-outcome="moderated"])').count() == 0
        assert page.get_by_role("checkbox", name="Moderated").is_checked()

    def test_a_search_finds_one_key(self, visit: Start, site: GallerySite) -> None:
        page = visit().open(site.batch_page)
        page.keyboard.press("/")
        page.keyboard.type(key_of(42))
        page.keyboard.press("Enter")
        page.wait_for_url("**text=sku-00042**")
        page.wait_for_selector(".tile")
        assert page.locator(".tile .key").all_inner_texts() == [key_of(42)]

    def test_the_panel_filters_by_model_and_key(self, visit: Start, site: GallerySite) -> None:
        window = visit()
        page = window.open(site.batch_page)
        page.locator("summary").click()
        assert window.axe() == []
        page.get_by_label("Key", exact=True).fill("sku-0000")
        page.get_by_role("button", name="Apply").click()
        page.wait_for_url("**key=sku-0000**")
        page.wait_for_selector(".tile")
        assert page.locator(".tile").count() == 9  # of ten rows, one has a hostile key
        page.goto(f"{site.batch_page}?key=sku-0000&model=flux-pro-1.1")
        page.wait_for_selector(".tile")
        assert page.locator(".tile").count() == 3

    def test_a_filter_that_nothing_passes_says_so(self, visit: Start, site: GallerySite) -> None:
        page = visit().page
        page.goto(f"{site.batch_page}?text=no-row-has-this-text")
        assert "No image passes these filters" in page.locator("main").inner_text()


class TestViewer:
    def test_a_link_opens_its_image_in_full_size(self, visit: Start, site: GallerySite) -> None:
        window = visit()
        position = min(142, site.rows - 1)
        window.page.goto(f"{site.batch_page}#image-{position}")
        viewer = window.page.locator("dialog.viewer[open]")
        viewer.wait_for()
        assert viewer.get_by_role("heading").inner_text() == key_of(position)
        window.page.wait_for_function(
            "() => document.querySelector('.viewer .stage img')?.src.includes('/full')"
        )
        assert "Location" in viewer.inner_text()
        assert window.axe() == []

    def test_two_images_are_compared_side_by_side(self, visit: Start, site: GallerySite) -> None:
        window = visit()
        page = window.open(site.batch_page)
        for position in (0, 2):
            tile = page.locator(f'[data-position="{position}"]')
            tile.get_by_role("checkbox").check(force=True)
        page.get_by_role("button", name="Compare", exact=True).click()
        sides = page.locator("dialog.compare[open] section")
        assert sides.count() == 2
        assert [key_of(0), key_of(2)] == page.locator("dialog.compare h3").all_inner_texts()
        differing = sides.first.locator(".differs dt").all_inner_texts()
        assert {"Model", "Request id"} <= set(differing)
        assert window.axe() == []

    def test_a_request_is_copied_as_the_code_of_a_dag(
        self, visit: Start, site: GallerySite
    ) -> None:
        window = visit()
        page = window.open(site.batch_page)
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.locator('[data-position="0"] .frame').focus()
        page.keyboard.press("d")
        page.get_by_text("Copied as DAG code").wait_for()
        code = page.evaluate("() => navigator.clipboard.readText()")
        names = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}
        assert "FluxGenerateOperator" in names
        assert "packshot 0" in code

    def test_a_copied_link_names_the_image_by_its_task_whatever_the_page(
        self, visit: Start, site: GallerySite
    ) -> None:
        window = visit()
        page = window.open(site.run_page)
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        tile = page.locator('.tile[data-link*="map_index=1"]')
        key = tile.locator(".key").inner_text()
        tile.locator(".frame").click()
        page.get_by_role("button", name="Copy link").click()
        page.get_by_text("Link copied").wait_for(state="attached")
        link = page.evaluate("() => navigator.clipboard.readText()")
        assert "/tasks/seasons?map_index=1#image-0" in link
        page.goto(link)
        viewer = page.locator("dialog.viewer[open]")
        viewer.wait_for()
        assert viewer.get_by_role("heading").inner_text() == key

    def test_a_video_plays(self, visit: Start, site: GallerySite) -> None:
        page = visit().open(site.run_page)
        page.locator('.tile[data-media="video"] .frame').click()
        page.wait_for_function("() => document.querySelector('.viewer video')?.currentTime > 0.2")


class TestKeyboard:
    def test_everything_is_done_without_a_mouse(self, visit: Start, site: GallerySite) -> None:
        page = visit().open(site.batch_page)
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate(FOCUSED):
                break
        focus_tile(page, 0)
        columns = page.evaluate(
            "() => getComputedStyle(document.querySelector('.tiles'))"
            ".gridTemplateColumns.split(' ').length"
        )
        page.keyboard.press("ArrowDown")
        focus_tile(page, columns)
        page.keyboard.press("ArrowLeft")
        focus_tile(page, columns - 1)
        page.keyboard.press("Enter")
        viewer = page.locator("dialog.viewer[open]")
        viewer.wait_for()
        page.keyboard.press("ArrowRight")
        page.wait_for_function(
            f"() => document.querySelector('.viewer h2').textContent === '{key_of(columns)}'"
        )
        page.keyboard.press("Escape")
        focus_tile(page, columns)
        page.keyboard.press("End")
        focus_tile(page, site.rows - 1)
        page.keyboard.press("Home")
        focus_tile(page, 0)
        page.keyboard.press("?")
        page.locator("dialog.keys[open]").wait_for()
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog.keys", state="hidden")

    def test_the_arrows_move_after_the_button_of_the_keys(
        self, visit: Start, site: GallerySite
    ) -> None:
        page = visit().open(site.batch_page)
        page.get_by_role("button", name="Keys", exact=True).click()
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog.keys", state="hidden")
        page.keyboard.press("ArrowRight")
        focus_tile(page, 1)

    def test_the_focused_tile_has_a_visible_outline(self, visit: Start, site: GallerySite) -> None:
        page = visit().open(site.batch_page)
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate(FOCUSED):
                break
        outline = "() => getComputedStyle(document.querySelector('.tile')).outlineStyle"
        assert page.evaluate(outline) == "solid"


class TestSmallWindow:
    def test_page_and_dialogs_fit_360_pixels(self, visit: Start, site: GallerySite) -> None:
        window = visit(size=(360, 740))
        page = window.open(site.batch_page)
        assert fits(page)
        assert window.axe() == []
        page.locator("summary").click()
        assert fits(page)
        page.keyboard.press("Escape")
        for index, name in ((0, "viewer"), (1, "compare")):
            if index:
                for position in (0, 1):
                    page.locator(f'[data-position="{position}"] .pick input').check(force=True)
                page.get_by_role("button", name="Compare", exact=True).click()
            else:
                page.locator('[data-position="0"] .frame').click()
            box = page.locator(f"dialog.{name}[open]").bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 360
            assert fits(page)
            page.keyboard.press("Escape")


class TestAirflow:
    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_the_tab_of_a_run_shows_the_gallery_in_the_theme_of_airflow(
        self, visit: Start, site: GallerySite, theme: str
    ) -> None:
        # The system has the other scheme: Airflow's own choice wins.
        window = visit(scheme={"light": "dark", "dark": "light"}[theme], of_airflow=True)
        window.page.add_init_script(f"localStorage.setItem('theme', '{theme}')")
        window.page.goto(site.tab(SHOP_DAG, is_run=True))
        frame = window.page.frame_locator("iframe")
        frame.locator(".tile img").first.wait_for()
        assert frame.locator(".tile").count() == 5
        assert theme in (frame.locator("html").get_attribute("class") or "")

    def test_each_page_has_a_place_in_the_ui(self, visit: Start, site: GallerySite) -> None:
        window = visit(of_airflow=True)
        for url in (
            site.tab(BATCH_DAG),
            site.tab(BATCH_DAG, task_id=BATCH_TASK),
            site.tab(BATCH_DAG, is_run=True),
        ):
            window.page.goto(url)
            tile = window.page.frame_locator("iframe").locator(".tile img").first
            tile.wait_for()
        window.page.goto(site.url("/plugin/flux"))
        links = window.page.frame_locator("iframe").get_by_role("link")
        links.first.wait_for()
        assert {BATCH_DAG, SHOP_DAG} <= set(links.all_inner_texts())

    def test_a_viewer_of_another_dag_sees_no_image(self, visit: Start, site: GallerySite) -> None:
        window = visit(user="stranger")
        answer = window.page.goto(site.batch_page)
        assert answer.status == 403
        assert window.page.locator("img").count() == 0
        window.complaints.clear()
