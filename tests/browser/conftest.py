"""A server with landed images, and a browser. Both end with the last test of this folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.airflow_names import AIRFLOW
from tests.support.browser import Visit, axe_path, chromium, chromium_path
from tests.support.gallery_site import GallerySite, gallery_site

if TYPE_CHECKING:
    from tests.support.stored_review import StoredReview

#: Rows of the batch. The soak lands 10,000.
ROWS = int(os.environ.get("FLUX_GALLERY_ROWS", "500"))

collect_ignore_glob = ["*"] if AIRFLOW < (3, 1) else []


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GallerySite]:
    """The server, with its images."""
    folder = tmp_path_factory.mktemp("browser")
    with gallery_site(folder, ROWS, is_drawn=False) as running:
        yield running


@pytest.fixture(scope="package")
def reviews(
    site: GallerySite, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, StoredReview]]:
    """Reviews that wait, by the id of their task. The server of the gallery shows them, too."""
    from tests.support.review_site import review_site  # Airflow 3.0 has no form for people

    with review_site(tmp_path_factory.mktemp("reviews")) as waiting:
        yield waiting


# Not for the session: playwright keeps an event loop in this thread, and other tests have theirs.
@pytest.fixture(scope="package")
def browser(site: GallerySite) -> Iterator[Any]:
    """Debian's chromium."""
    pytest.importorskip("playwright.sync_api")
    if chromium_path() is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    if axe_path() is None:
        pytest.skip("axe-core is not installed. Install npm and run `make clean test`")
    with chromium() as running:
        yield running


@pytest.fixture
def visit(browser: Any, site: GallerySite) -> Iterator[Callable[..., Visit]]:
    """Open a window. At the end of the test, none of its pages may have complained."""
    visits: list[Visit] = []

    def start(**options: Any) -> Visit:
        visits.append(Visit(browser, site, **options))
        return visits[-1]

    yield start
    complaints = [complaint for window in visits for complaint in window.complaints]
    for window in visits:
        window.close()
    assert complaints == []
