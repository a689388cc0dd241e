"""The page of costs in a browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.browser import Visit
from tests.support.gallery_site import BATCH_DAG, GallerySite


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_costs_is_accessible_and_keeps_its_policy(
    visit: Callable[..., Visit], site: GallerySite, scheme: str
) -> None:
    window = visit(scheme=scheme)
    page = window.page
    page.goto(site.url("/flux/costs"))
    while page.get_by_text("Show what was read meanwhile").count():
        page.reload()
    page.locator(".bars .part").first.wait_for()
    assert window.axe() == []
    page.locator('select[name="by"]').select_option("task")
    page.locator('select[name="dag"]').select_option(BATCH_DAG)
    page.get_by_role("button", name="Show").click()
    page.locator("tbody tr").first.wait_for()
    assert page.locator("tbody tr").count() == 1
    assert page.locator(".bars text.value").count() == 1
