"""Renew pictures: ``python -m scripts.pictures [NAME...]``, all of them without names.

It lands images of the emulator, starts an API server and takes each picture in light and dark with
Debian's chromium. ``demo`` is the name of the recording of ``make demo``.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.pictures.recording import record_demo
from scripts.pictures.shots import Shot, airflow_shots, review_shots, shots

if TYPE_CHECKING:
    from tests.support.gallery_site import GallerySite

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "images"
ROWS = 120
#: Bytes of one picture in the repository, at most.
MAX_BYTES = 150_000
DEMO = "demo"


def main(names: Sequence[str]) -> int:
    """Take the pictures.

    :param names: names of those to take; all if it is empty.
    :return: the exit code.
    """
    if not names or DEMO in names:
        (FOLDER / "demo.svg").write_text(record_demo(), encoding="utf-8")
    if list(names) == [DEMO]:
        return 0
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
        for shot in [*shots(), *review_shots(), *airflow_shots()]:
            for scheme in ("light", "dark"):
                if names and shot.name not in names:
                    continue
                path = FOLDER / f"{shot.name}-{scheme}.webp"
                path.write_bytes(_compact(_take(browser, site, shot, scheme)))
                sys.stdout.write(f"{path.name}: {path.stat().st_size:,} bytes\n")
                sys.stdout.flush()


def _take(browser: Any, site: GallerySite, shot: Shot, scheme: str) -> bytes:
    from tests.support.browser import CANDIDATES_ARE_SHOWN, IMAGES_ARE_LOADED, Visit

    window = Visit(
        browser, site, scheme=scheme, size=shot.size, of_airflow=shot.is_tab or shot.is_airflow
    )
    try:
        window.page.add_init_script(f"localStorage.setItem('theme', '{scheme}')")
        window.page.goto(shot.url(site))
        shown = window.page
        if shot.is_tab:
            shown = window.page.wait_for_selector("iframe").content_frame()
        if not shot.is_airflow:
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
