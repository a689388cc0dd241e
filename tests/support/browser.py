"""Debian's chromium, driven by playwright, with a record of what its pages complain about."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.gallery_site import GallerySite

_NPM_FOLDERS = (
    os.environ.get("FLUX_TESTS_NPM"),
    Path(__file__).resolve().parents[2] / ".venv" / "npm",
)
#: Violations of axe that fail a test.
_SERIOUS = frozenset({"serious", "critical"})
#: Part of a warning about the frame in which Airflow itself shows the pages of plugins.
_AIRFLOWS_FRAME = "allow-scripts and allow-same-origin"
#: Milliseconds that a step of a page may take on a busy machine.
STEP_MILLISECONDS = 60_000


def chromium_path() -> str | None:
    """Return the path of chromium; ``None`` if it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def axe_path() -> Path | None:
    """Return the script of axe-core; ``None`` if it is not installed."""
    scripts = [
        Path(folder, "node_modules/axe-core/axe.min.js") for folder in _NPM_FOLDERS if folder
    ]
    return next((script for script in scripts if script.is_file()), None)


@contextmanager
def chromium() -> Iterator[Any]:
    """Run a browser while the block lasts."""
    from playwright.sync_api import sync_playwright

    # Without a D-Bus and a GPU, which a container has not, chromium logs and waits less.
    options = ["--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=options)
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A window of a user who is logged in.

    :param browser: the browser.
    :param site: the server.
    :param user: name of the user.
    :param scheme: ``light`` or ``dark``.
    :param size: width and height of the window in pixels.
    :param of_airflow: whether Airflow pages are shown, whose complaints do not count.
    :ivar page: the page of playwright.
    :ivar complaints: errors of the console, violations of the policy and failed requests.
    """

    def __init__(
        self,
        browser: Any,
        site: GallerySite,
        *,
        user: str = "admin",
        scheme: str = "light",
        size: tuple[int, int] = (1280, 800),
        of_airflow: bool = False,
    ) -> None:
        self._of_airflow = of_airflow
        self._context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=scheme,
            reduced_motion="reduce",
            locale="en-US",
            timezone_id="UTC",
        )
        self._context.set_default_timeout(STEP_MILLISECONDS)
        self._context.add_cookies(
            [{"name": "_token", "value": site.server.token(user), "url": site.server.url}]
        )
        self.complaints: list[str] = []
        self.page = self._context.new_page()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self._complain(str(error), ""))
        self.page.on("requestfailed", self._hear_failure)
        self.page.on("response", self._hear_response)

    def close(self) -> None:
        """Close the window."""
        self._context.close()

    def open(self, url: str) -> Any:
        """Open a page, wait until the images in the window are loaded, and return it."""
        self.page.goto(url)
        self.wait_for_images()
        return self.page

    def wait_for_images(self) -> None:
        """Wait until all tiles in the window show their image."""
        self.page.wait_for_function(IMAGES_ARE_LOADED)

    def axe(self) -> list[str]:
        """Return the serious findings of axe on the page as it is now."""
        script = axe_path()
        if script is None:
            raise FileNotFoundError("axe-core is not installed")
        # evaluate() is not subject to the policy of the page. A <script> would be.
        self.page.evaluate(script.read_text(encoding="utf-8"))
        found = self.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{violation['id']} ({violation['impact']}): {node['target']} {node['failureSummary']}"
            for violation in found["violations"]
            if violation["impact"] in _SERIOUS
            for node in violation["nodes"][:3]
        ]

    def _complain(self, text: str, url: str) -> None:
        if not self._of_airflow or "/flux/" in url:
            self.complaints.append(f"{text} {url}")

    def _hear(self, message: Any) -> None:
        if message.type in {"error", "warning"} and _AIRFLOWS_FRAME not in message.text:
            self._complain(f"{message.type}: {message.text}", message.location.get("url", ""))

    def _hear_failure(self, request: Any) -> None:
        # An image that is scrolled away, or a video that is closed, is aborted by the browser.
        if "ERR_ABORTED" not in (request.failure or ""):
            self._complain(str(request.failure), request.url)

    def _hear_response(self, response: Any) -> None:
        if response.status >= 400:
            self._complain(str(response.status), response.url)


IMAGES_ARE_LOADED = """
() => {
  const seen = [...document.querySelectorAll(".tile img")].filter((image) => {
    const box = image.getBoundingClientRect();
    return box.bottom > 0 && box.top < innerHeight;
  });
  const isBlank = [...document.querySelectorAll(".tile.blank")].some((tile) => {
    const box = tile.getBoundingClientRect();
    return box.bottom > 0 && box.top < innerHeight;
  });
  return !isBlank && seen.length > 0 && seen.every((image) => image.complete && image.naturalWidth);
}
"""
#: All pictures of the stage of a review are there in full size.
CANDIDATES_ARE_SHOWN = """
() => {
  const images = [...document.querySelectorAll("#stage img")];
  return images.length > 0
    && images.every((image) => image.dataset.full && image.complete && image.naturalWidth);
}
"""
