"""Renew the pictures of gallery and review: ``python -m scripts.gallery_screenshots``.

It lands images of the emulator, starts an API server and takes each picture in light and dark with
Debian's chromium, into ``docs/images``. Name some pictures to take only those. Look at each one
before you commit it.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.gallery_site import GallerySite

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "images"
ROWS = 120
#: Bytes of one picture in the repository, at most.
MAX_BYTES = 150_000
_DESKTOP, _PHONE = (1280, 800), (360, 740)


@dataclass(frozen=True)
class Shot:
    """One picture.

    :param name: name of its file, before the scheme.
    :param url: returns the URL of the page.
    :param prepare: brings the page into its state.
    :param size: width and height of the window in pixels.
    :param is_tab: whether the page is shown within Airflow's UI.
    :param has_images: whether to wait until the images in the window are shown.
    :param is_review: whether it is a review, whose current candidate must be shown.
    """

    name: str
    url: Callable[[GallerySite], str]
    prepare: Callable[[Any], None] = lambda _page: None
    size: tuple[int, int] = _DESKTOP
    is_tab: bool = False
    has_images: bool = True
    is_review: bool = False


def open_viewer(page: Any) -> None:
    """Open the fifth image in full size."""
    page.locator('[data-position="4"] .frame').click()
    page.wait_for_function(
        "() => { const shown = document.querySelectorAll('.viewer .stage img');"
        " return shown.length === 1 && shown[0].complete && shown[0].src.includes('/full'); }"
    )


def open_compare(page: Any) -> None:
    """Compare two images."""
    for position in (1, 4):
        page.locator(f'[data-position="{position}"] .pick input').check(force=True)
    page.get_by_role("button", name="Compare", exact=True).click()
    page.wait_for_function(
        "() => document.querySelectorAll('.compare .stage img').length === 2"
        " && [...document.querySelectorAll('.compare .stage img')]"
        ".every((image) => image.complete && image.src.includes('/full'))"
    )


def open_filters(page: Any) -> None:
    """Open the panel of the filters."""
    page.locator("summary").click()


def open_keys(page: Any) -> None:
    """Show the list of keys."""
    page.keyboard.press("?")


def choose(page: Any) -> None:
    """Choose the second candidate."""
    page.keyboard.press("2")
    _wait_for_candidates(page)
    page.locator("#prompt-text").filter(has_text="lighthouse").wait_for()


def compare_candidates(page: Any) -> None:
    """Keep the first candidate beside the others, and choose the third."""
    page.keyboard.press("c")
    page.keyboard.press("3")
    _wait_for_candidates(page)
    page.locator("#prompt-text").filter(has_text="lighthouse").wait_for()


def ask_again(page: Any) -> None:
    """Write feedback, and show the fields for other candidates."""
    page.get_by_label("Comment or feedback").fill("More fog, and the light of the tower is on")
    page.locator("summary").click()
    page.locator("#ask-again").scroll_into_view_if_needed()


def decide(page: Any) -> None:
    """Approve the second candidate if nobody has answered yet, and show the decision."""
    if page.locator("#answer").count():
        for key in ("2", "Enter", "Enter"):
            page.keyboard.press(key)
        page.locator("#status").filter(has_text="answered by").wait_for()
        page.reload()
    page.locator("#status").filter(has_text="Decided").wait_for()
    page.locator("#next").wait_for()
    page.keyboard.press("ArrowRight")
    _wait_for_candidates(page)


def _wait_for_candidates(page: Any) -> None:
    from tests.support.browser import CANDIDATES_ARE_SHOWN

    page.wait_for_function(CANDIDATES_ARE_SHOWN)


def review_shots() -> list[Shot]:
    """Return the pictures of the review page."""
    from tests.support.stored_review import page_of

    def page(task_id: str) -> Callable[[GallerySite], str]:
        return lambda site: site.url(page_of(task_id))

    def shot(name: str, task_id: str, prepare: Callable[[Any], None], **options: Any) -> Shot:
        return Shot(
            f"review-{name}", page(task_id), prepare, has_images=False, is_review=True, **options
        )

    return [
        shot("page", "pick", choose),
        shot("compare", "pick", compare_candidates),
        shot("again", "pick", ask_again),
        shot("decided", "by_mouse", decide),
        shot("phone", "pick", choose, size=_PHONE),
    ]


def shots() -> list[Shot]:
    """Return the pictures of the gallery."""
    from tests.support.gallery_site import BATCH_DAG, BATCH_TASK, SHOP_DAG

    def batch(site: GallerySite) -> str:
        return site.batch_page

    return [
        Shot("gallery-batch", batch),
        Shot("gallery-viewer", batch, open_viewer),
        Shot("gallery-compare", batch, open_compare),
        Shot("gallery-filters", batch, open_filters),
        Shot("gallery-keys", batch, open_keys),
        Shot(
            "gallery-moderated",
            lambda site: f"{site.batch_page}?outcome=moderated",
            has_images=False,
        ),
        Shot("gallery-run", lambda site: site.run_page),
        Shot("gallery-phone", batch, size=_PHONE),
        Shot("gallery-phone-viewer", batch, open_viewer, size=_PHONE),
        Shot(
            "gallery-tab-task",
            lambda site: site.tab(BATCH_DAG, task_id=BATCH_TASK),
            is_tab=True,
        ),
        Shot("gallery-tab-run", lambda site: site.tab(SHOP_DAG, is_run=True), is_tab=True),
        Shot("gallery-tab-dag", lambda site: site.tab(BATCH_DAG), is_tab=True),
        Shot("gallery-dags", lambda site: site.url("/plugin/flux"), is_tab=True, has_images=False),
    ]


def main(names: Sequence[str]) -> int:
    """Take the pictures.

    :param names: names of those to take; all if it is empty.
    :return: the exit code.
    """
    with tempfile.TemporaryDirectory(prefix="flux-screenshots-") as home:
        # Before the first import of Airflow, which reads its home then.
        os.environ["AIRFLOW_HOME"] = home
        os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
        from tests.support.gallery_site import gallery_site
        from tests.support.review_site import review_site

        reviews = Path(home) / "reviews"
        reviews.mkdir()
        with gallery_site(Path(home), ROWS) as site, review_site(reviews, is_drawn=True):
            take_all(site, names)
    return 0


def take_all(site: GallerySite, names: Sequence[str]) -> None:
    """Take the pictures of a server.

    :param site: the server, with its images.
    :param names: names of the pictures to take; all if it is empty.
    """
    from tests.support.browser import chromium

    with chromium() as browser:
        for shot in [*shots(), *review_shots()]:
            for scheme in ("light", "dark"):
                if names and shot.name not in names:
                    continue
                path = FOLDER / f"{shot.name}-{scheme}.webp"
                path.write_bytes(_compact(_take(browser, site, shot, scheme)))
                sys.stdout.write(f"{path.name}: {path.stat().st_size:,} bytes\n")
                sys.stdout.flush()


def _take(browser: Any, site: GallerySite, shot: Shot, scheme: str) -> bytes:
    from tests.support.browser import CANDIDATES_ARE_SHOWN, IMAGES_ARE_LOADED, Visit

    window = Visit(browser, site, scheme=scheme, size=shot.size, of_airflow=shot.is_tab)
    try:
        window.page.add_init_script(f"localStorage.setItem('theme', '{scheme}')")
        window.page.goto(shot.url(site))
        shown = window.page
        if shot.is_tab:
            shown = window.page.wait_for_selector("iframe").content_frame()
        shown.wait_for_selector("main")
        if shot.is_review:
            shown.wait_for_function(CANDIDATES_ARE_SHOWN)
        if shot.has_images:
            shown.wait_for_function(IMAGES_ARE_LOADED)
        shot.prepare(window.page)
        return bytes(window.page.screenshot())
    finally:
        window.close()


def _compact(png: bytes) -> bytes:
    """Return a picture as WebP that is small enough for the repository."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        for quality in (75, 60, 45, 30):
            file = io.BytesIO()
            image.convert("RGB").save(file, "WEBP", quality=quality, method=6)
            if file.tell() <= MAX_BYTES:
                break
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
