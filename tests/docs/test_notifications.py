"""The page of the notifier matches it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from airflow_provider_flux.notifications.flux import FluxNotifier
from tests.support.airflow_names import DagBag

DOCS = Path(__file__).parents[2] / "docs"


def test_every_parameter_of_the_notifier_is_documented() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \|.*\| (yes|no) \|$", (DOCS / "notifications.md").read_text(), re.M
    )
    names = list(inspect.signature(FluxNotifier).parameters)
    assert [name for name, _ in rows] == names
    assert {name for name, templated in rows if templated == "yes"} == set(
        FluxNotifier.template_fields
    )


def test_the_documented_task_has_both_callbacks() -> None:
    bag = DagBag(str(DOCS / "snippets" / "notify.py"))
    assert not bag.import_errors
    (hero,) = bag.dags["flux_notified_hero"].tasks
    for callbacks in (hero.on_success_callback, hero.on_failure_callback):
        (callback,) = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
        assert isinstance(callback, FluxNotifier)
