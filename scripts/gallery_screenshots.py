"""Renew the pictures of the gallery in ``docs/images``: ``python -m scripts.gallery_screenshots``.

It lands images of the emulator, starts an API server and takes each picture in light and dark with
Debian's chromium. Name some pictures to take only those. Look at each one before you commit it.
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
    """

    name: str
    url: Callable[[GallerySite], str]
    prepare: Callable[[Any], None] = lambda _page: None
    size: tuple[int, int] = _DESKTOP
    is_tab: bool = False
    has_images: bool = True


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


def shots() -> list[Shot]:
    """Return all pictures."""
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

        with gallery_site(Path(home), ROWS) as site:
            take_all(site, names)
    return 0


def take_all(site: GallerySite, names: Sequence[str]) -> None:
    """Take the pictures of a server.

    :param site: the server, with its images.
    :param names: names of the pictures to take; all if it is empty.
    """
    from tests.support.browser import chromium

    with chromium() as browser:
        for shot in shots():
            for scheme in ("light", "dark"):
                if names and shot.name not in names:
                    continue
                path = FOLDER / f"{shot.name}-{scheme}.webp"
                path.write_bytes(_compact(_take(browser, site, shot, scheme)))
                sys.stdout.write(f"{path.name}: {path.stat().st_size:,} bytes\n")
                sys.stdout.flush()


def _take(browser: Any, site: GallerySite, shot: Shot, scheme: str) -> bytes:
    from tests.support.browser import IMAGES_ARE_LOADED, Visit

    window = Visit(browser, site, scheme=scheme, size=shot.size, of_airflow=shot.is_tab)
    try:
        window.page.add_init_script(f"localStorage.setItem('theme', '{scheme}')")
        window.page.goto(shot.url(site))
        shown = window.page
        if shot.is_tab:
            shown = window.page.wait_for_selector("iframe").content_frame()
        shown.wait_for_selector("main")
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
        for quality in (82, 70, 55, 40):
            file = io.BytesIO()
            image.convert("RGB").save(file, "WEBP", quality=quality, method=6)
            if file.tell() <= MAX_BYTES:
                break
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
