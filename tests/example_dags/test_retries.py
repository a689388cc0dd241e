"""The retries of the example DAGs come while the link of an image lives."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = [*ROOT.glob("example_dags/*.py"), *ROOT.glob("docs/snippets/*.py")]
#: Example DAGs that submit nothing and land nothing.
WITHOUT_IMAGES = {"flux_reconcile.py"}
EXAMPLES = [
    path for path in FILES if path.parent.name == "example_dags" and path.name not in WITHOUT_IMAGES
]

SHORT_DELAYS = {"timedelta(seconds=5)", "timedelta(seconds=30)", "timedelta(minutes=1)"}


def flux_calls(path: Path) -> Iterator[ast.Call]:
    """Yield the calls that make a task of this provider, or map one."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).removesuffix(".partial") in {
            "FluxGenerateOperator",
            "FluxGenerateBatchOperator",
            "FluxReviewOperator",
            "FluxToObjectStorageOperator",
            "task.flux",
            "task.flux_batch",
        }:
            yield node


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_example_with_retries_does_not_wait_for_half_the_life_of_a_link(path: Path) -> None:
    """Fault 32: Airflow's default `retry_delay` is 5 minutes, and a link may live for 10."""
    for call in flux_calls(path):
        arguments = {keyword.arg: keyword.value for keyword in call.keywords}
        if "retries" in arguments:
            delay = arguments["retry_delay"]
            assert isinstance(delay, ast.Call)
            assert ast.unparse(delay) in SHORT_DELAYS


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_task_of_an_example_dag_has_retries(path: Path) -> None:
    calls = list(flux_calls(path))
    assert calls
    assert all("retries" in {keyword.arg for keyword in call.keywords} for call in calls)
