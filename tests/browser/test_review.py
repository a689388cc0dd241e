"""The review page as a person uses it. Its answers go to Airflow's own API of a real server."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.browser import CANDIDATES_ARE_SHOWN, Visit
from tests.support.gallery_site import GallerySite
from tests.support.review_site import HOSTILE_SUBJECT, MANY

if TYPE_CHECKING:
    from tests.support.stored_review import StoredReview

Start = Callable[..., Visit]
Reviews = Mapping[str, "StoredReview"]
#: Milliseconds after which an open page asks whether something has changed, with one to spare.
LOOK_MILLISECONDS = 11_000
WIDTHS = "() => [document.documentElement.scrollWidth, innerWidth]"
BACKGROUND = "() => getComputedStyle(document.body).backgroundColor"


@pytest.fixture
def open_review(visit: Start, site: GallerySite, reviews: Reviews) -> Callable[..., Visit]:
    """Return a function that opens the page of a review, and waits for its first picture."""

    def start(name: str, *, theme: str | None = None, **options: Any) -> Visit:
        window = visit(**options)
        if theme:
            window.page.add_init_script(f"localStorage.setItem('theme', '{theme}')")
        window.page.goto(site.url(reviews[name].path))
        window.page.wait_for_function(CANDIDATES_ARE_SHOWN)
        return window

    return start


def candidate(page: Any, number: int) -> Any:
    return page.locator(f'.candidate[data-number="{number}"]')


def status(page: Any, text: str) -> None:
    """Wait until the page says a text."""
    page.locator("#status").filter(has_text=text).wait_for()


def confirm(page: Any, question: str) -> None:
    """Answer the question of the dialog with yes, by its key."""
    page.locator("dialog[open]").filter(has_text=question).wait_for()
    page.keyboard.press("Enter")


def fits(page: Any) -> bool:
    needed, width = page.evaluate(WIDTHS)
    return bool(needed <= width)


def promoted(review: StoredReview, xcom: Any) -> tuple[Path, dict[str, Any]]:
    """Return the file that a review has copied, and the decision in its sidecar."""
    image = xcom["image"]
    decision = json.loads(Path(image["sidecar"]).read_text())["review"]
    assert decision["task"]["task_id"] == review.task_id
    return Path(image["uri"]), decision


class TestLook:
    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_candidates_are_shown_in_the_theme_of_airflow_without_serious_findings(
        self, open_review: Callable[..., Visit], theme: str
    ) -> None:
        # The system has the other scheme: Airflow's own choice wins.
        window = open_review("pick", theme=theme, scheme={"light": "dark", "dark": "light"}[theme])
        page = window.page
        assert page.get_by_role("heading", level=1).inner_text() == "Pick the hero image"
        assert page.locator(".candidate").count() == 4
        status(page, "Choose one of the 4 candidates.")
        page.locator("#prompt-text").filter(has_text="lighthouse").wait_for()
        is_dark = int(page.evaluate(BACKGROUND).partition("(")[2].split(",")[0]) < 100
        assert is_dark == (theme == "dark")
        assert window.axe() == []
        page.locator("summary").click()
        candidate(page, 2).click()
        assert window.axe() == []
        page.keyboard.press("r")
        page.locator("#confirm[open]").wait_for()
        assert window.axe() == []

    def test_two_candidates_are_compared_side_by_side(
        self, open_review: Callable[..., Visit]
    ) -> None:
        window = open_review("pick")
        window.page.keyboard.press("c")
        window.page.keyboard.press("ArrowRight")
        figures = window.page.locator("#stage figure")
        figures.nth(1).wait_for()
        assert figures.locator("figcaption").all_inner_texts() == ["1 (kept to compare)", "2"]
        window.page.wait_for_function(CANDIDATES_ARE_SHOWN)

    def test_a_hostile_headline_is_text(self, open_review: Callable[..., Visit]) -> None:
        page = open_review("hostile").page
        assert page.get_by_role("heading", level=1).inner_text() == HOSTILE_SUBJECT
        assert page.title() == HOSTILE_SUBJECT
        assert page.locator("img[src=x]").count() == 0

    @pytest.mark.parametrize(("name", "user"), [("pick", "viewer"), ("assigned", "editor")])
    def test_who_may_not_answer_sees_pictures_without_buttons(
        self, open_review: Callable[..., Visit], name: str, user: str
    ) -> None:
        page = open_review(name, user=user).page
        status(page, "Airflow does not permit you to answer.")
        assert page.locator("#answer").count() == 0
        page.keyboard.press("r")
        assert page.locator("dialog[open]").count() == 0

    def test_page_and_dialogs_fit_360_pixels(self, open_review: Callable[..., Visit]) -> None:
        window = open_review("pick", size=(360, 740))
        page = window.page
        assert fits(page)
        assert window.axe() == []
        page.locator("summary").click()
        assert fits(page)
        for key, name in (("?", "help"), ("r", "confirm")):
            page.locator("h1").click()
            page.keyboard.press(key)
            box = page.locator(f"#{name}[open]").bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 360
            assert fits(page)
            page.keyboard.press("Escape")


class TestAnswer:
    def test_an_approved_candidate_is_copied_and_the_page_says_who_approved_it(
        self, open_review: Callable[..., Visit], reviews: Reviews
    ) -> None:
        review, page = reviews["by_mouse"], open_review("by_mouse").page
        candidate(page, 2).click()
        assert candidate(page, 2).get_attribute("aria-pressed") == "true"
        page.get_by_role("button", name="Approve").click()
        page.locator("dialog[open]").filter(has_text="Approve candidate 2?").wait_for()
        page.get_by_role("button", name="Yes").click()
        status(page, "2: answered by admin.")
        assert review.recorded["options"] == ["2"]
        assert page.get_by_role("link", name="Next review").is_visible()

        image, decision = promoted(review, review.resume())

        status(page, "The task is success.")
        page.reload()
        status(page, "Decided: 2, by admin.")
        assert page.locator("#answer").count() == 0
        assert image.read_bytes() == (Path(review.folder) / "four/candidate-2.jpeg").read_bytes()
        assert (decision["outcome"], decision["decided_by_name"]) == ("approved", "admin")

    def test_a_candidate_is_approved_with_a_comment_by_keyboard_alone(
        self, open_review: Callable[..., Visit], reviews: Reviews
    ) -> None:
        review, page = reviews["by_keyboard"], open_review("by_keyboard").page
        page.keyboard.press("Enter")
        status(page, "Nothing is chosen.")
        for key in ("?", "Escape", "End", "ArrowLeft", "a", "e"):
            page.keyboard.press(key)
        page.keyboard.type("Sharp, r and 1 are no keys here")
        page.keyboard.press("Escape")
        page.keyboard.press("Enter")
        confirm(page, "Approve candidate 3?")
        status(page, "3: answered by admin.")

        _image, decision = promoted(review, review.resume())

        assert decision["comment"] == "Sharp, r and 1 are no keys here"
        assert decision["candidate"] == 3

    def test_rejected_candidates_skip_the_task(
        self, open_review: Callable[..., Visit], reviews: Reviews
    ) -> None:
        review, page = reviews["reject"], open_review("reject").page
        page.keyboard.press("r")
        page.locator("dialog[open]").wait_for()
        page.keyboard.press("Escape")
        assert review.recorded["options"] is None
        page.keyboard.press("r")
        confirm(page, "Reject all 4 candidates?")
        status(page, "Reject: answered by admin.")

        assert review.resume() is None

        status(page, "The task is skipped.")
        page.reload()
        status(page, "Decided: Reject, by admin.")

    def test_an_open_page_shows_the_default_of_a_timeout(
        self, visit: Start, site: GallerySite, reviews: Reviews
    ) -> None:
        review, page = reviews["timeout"], visit().page
        page.clock.install()
        page.goto(site.url(review.path))
        status(page, "Choose one of the 4 candidates.")

        _image, decision = promoted(review, review.let_time_pass())

        page.clock.run_for(LOOK_MILLISECONDS)
        status(page, "3: answered by the default of the timeout. The task is success.")
        assert page.get_by_role("button", name="Approve").is_disabled()
        page.reload()
        status(page, "Decided: 3, by the default of the timeout.")
        assert (decision["candidate"], decision["is_timeout"]) == (3, True)


class TestAskAgain:
    def test_other_candidates_with_feedback_appear_in_the_open_page(
        self, open_review: Callable[..., Visit], reviews: Reviews
    ) -> None:
        review, page = reviews["ask_again"], open_review("ask_again").page
        page.get_by_label("Comment or feedback").fill("More fog")
        page.locator("summary").click()
        assert "2 other candidates" in page.locator("summary").inner_text()
        page.get_by_label("First seed").fill("7x")
        page.keyboard.press("Control+Enter")
        status(page, "The seed must be a whole number.")
        page.get_by_label("First seed").fill("7")
        page.keyboard.press("Control+Enter")
        confirm(page, "Ask for other candidates? BFL bills them.")
        status(page, "Ask again: answered by admin.")
        fields = review.recorded["fields"]
        assert (fields["comment"], fields["seed"], fields["round"]) == ("More fog", 7, 0)

        assert review.resume() is None

        candidate(page, 6).wait_for()
        assert candidate(page, 1).is_visible()
        page.keyboard.press("5")
        page.locator("#caption").filter(has_text="seed 7").wait_for()
        page.locator("#prompt-text").filter(has_text="More fog").wait_for()
        page.keyboard.press("Enter")
        confirm(page, "Approve candidate 5?")
        status(page, "5: answered by admin.")
        assert promoted(review, review.resume())[1]["round"] == 1


class TestTwoReviewers:
    def test_the_second_of_two_reviewers_sees_who_was_first(
        self, open_review: Callable[..., Visit], reviews: Reviews
    ) -> None:
        windows = [open_review("two_reviewers", user=user) for user in ("editor", "admin")]
        first, second = (window.page for window in windows)
        for page, number in ((first, 1), (second, 4)):
            page.keyboard.press(str(number))
            page.keyboard.press("Enter")
        confirm(first, "Approve candidate 1?")
        status(first, "1: answered by editor.")
        confirm(second, "Approve candidate 4?")
        status(second, "1: answered by editor.")
        assert second.get_by_role("button", name="Approve").is_disabled()
        assert len(windows[1].complaints) == 2  # the answer 409, in network and console
        assert all("409" in complaint for complaint in windows[1].complaints)
        windows[1].complaints.clear()

        _image, decision = promoted(reviews["two_reviewers"], reviews["two_reviewers"].resume())

        assert (decision["candidate"], decision["decided_by_name"]) == (1, "editor")


class TestMany:
    def test_many_candidates_are_reviewed_by_as_many_keys(
        self, open_review: Callable[..., Visit], reviews: Reviews
    ) -> None:
        page = open_review("many").page
        started = time.monotonic()
        waits = []
        for number in range(1, MANY + 1):
            pressed = time.monotonic()
            page.keyboard.press("x" if number % 3 == 0 else "a")
            if number < MANY:
                page.wait_for_selector(f'.candidate[data-number="{number + 1}"][aria-current]')
            page.wait_for_function("() => document.querySelector('#stage img')?.naturalWidth > 0")
            waits.append(time.monotonic() - pressed)
        page.keyboard.press("Enter")
        confirm(page, f"Approve {MANY - MANY // 3} of {MANY} candidates?")
        status(page, f"{MANY - MANY // 3} candidates: answered by admin.")
        seconds = time.monotonic() - started

        assert reviews["many"].recorded["options"] == [
            str(number) for number in range(1, MANY + 1) if number % 3
        ]
        sys.stdout.write(
            f"{MANY} candidates by {MANY + 2} keys in {seconds:.1f} s; median from a key to the "
            f"next picture {1000 * sorted(waits)[MANY // 2]:.0f} ms\n"
        )
        assert seconds < 1.2 * MANY
