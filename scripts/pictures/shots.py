"""The pages that are shown, and the state in which each is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.gallery_site import GallerySite

_DESKTOP, _PHONE = (1280, 800), (360, 740)


@dataclass(frozen=True)
class Shot:
    """One picture.

    :param name: name of its file, before the scheme.
    :param url: returns the URL of the page.
    :param prepare: brings the page into its state.
    :param size: width and height of the window in pixels.
    :param is_tab: whether the page is a plugin's within Airflow's UI.
    :param is_airflow: whether the page is Airflow's own.
    :param has_images: whether to wait until the images in the window are shown.
    :param is_review: whether it is a review, whose current candidate must be shown.
    """

    name: str
    url: Callable[[GallerySite], str]
    prepare: Callable[[Any], None] = lambda _page: None
    size: tuple[int, int] = _DESKTOP
    is_tab: bool = False
    is_airflow: bool = False
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


def read_costs(page: Any) -> None:
    """Wait until the server has read the ledgers."""
    while page.get_by_text("Show what was read meanwhile").count():
        page.reload()
    page.locator(".bars .part").first.wait_for()


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
        Shot(
            "costs-page",
            lambda site: site.url("/flux/costs?by=task"),
            read_costs,
            size=(1280, 560),
            has_images=False,
        ),
        Shot("gallery-dags", lambda site: site.url("/plugin/flux"), is_tab=True, has_images=False),
    ]


def open_connection_form(page: Any) -> None:
    """Fill in the form of a new connection, with the fields of this provider."""
    page.get_by_role("button", name="Add Connection").click()
    page.locator("input[name=connection_id]").fill("flux_default")
    page.get_by_role("combobox").last.click()
    page.keyboard.type("FLUX")
    page.keyboard.press("Enter")
    page.locator("input[name=password]").fill("bfl_of_the_documentation")
    page.get_by_role("button", name="Extra Fields", exact=True).click()
    page.locator("input[name=element_max_active]").click(trial=True)  # it has stopped moving
    page.get_by_role("heading", name="Add Connection").scroll_into_view_if_needed()


def show_links(page: Any) -> None:
    """Wait until the task shows its links."""
    page.get_by_text("Extra Links").wait_for()
    page.wait_for_function(  # until the grid has the states of all tasks
        "() => document.querySelectorAll('a[href*=\"/tasks/\"] svg').length >= 4"
    )


def airflow_shots() -> list[Shot]:
    """Return the pictures of Airflow's own pages."""
    from tests.support.gallery_site import SHOP_DAG

    def task(site: GallerySite) -> str:
        return site.url(f"/dags/{SHOP_DAG}/runs/{site.run_ids[SHOP_DAG]}/tasks/hero/details")

    def shot(name: str, url: Callable[[GallerySite], str], prepare: Callable[[Any], None]) -> Shot:
        return Shot(name, url, prepare, has_images=False, is_airflow=True)

    return [
        shot("connection-form", lambda site: site.url("/connections"), open_connection_form),
        shot("task-page", task, show_links),
    ]
