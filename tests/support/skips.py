"""Tests that a version of Airflow cannot run, and skipped tests that fail where none may be."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

#: For tests that read text with tesseract.
needs_tesseract = pytest.mark.skipif(
    shutil.which("tesseract") is None or find_spec("pytesseract") is None,
    reason="tesseract, or pytesseract, is not installed",
)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Fail skipped tests if FLUX_TESTS_MUST_NOT_SKIP is set: a green CI has run all tests.

    Tests may be skipped whose reason matches the expression in FLUX_TESTS_MAY_SKIP.
    """
    report = yield
    allowed = os.environ.get("FLUX_TESTS_MAY_SKIP")
    is_allowed = bool(allowed and re.search(allowed, str(report.longrepr)))
    if report.skipped and os.environ.get("FLUX_TESTS_MUST_NOT_SKIP") and not is_allowed:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but no test may be: {report.longrepr}"
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip modules that run DAGs if the DAGs of ``airflow.sdk`` have no ``test()``."""
    from airflow.sdk import DAG

    if hasattr(DAG, "test"):
        return
    skip = pytest.mark.skip(reason="Airflow 3.0.0 cannot run a DAG of airflow.sdk by dag.test()")
    for item in items:
        if hasattr(getattr(item, "module", None), "run_dag"):
            item.add_marker(skip)
