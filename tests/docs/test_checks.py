"""The code of the page about checks."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_flux.emulator import EmulatorServer
from tests.support.batch_tries import batch, quick

__all__ = ["quick"]

SNIPPETS = Path(__file__).parents[2] / "docs" / "snippets"
pytestmark = pytest.mark.usefixtures("quick")


def test_the_batch_of_the_page_lands_warm_images_and_keeps_cold_ones_apart(
    emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(SNIPPETS)
    rows = [
        {"sku": str(number), "description": f"a fox {number}", "width": 512, "height": 384}
        for number in range(8)
    ]
    task = batch(
        tmp_path,
        rows,
        columns={"key": "sku", "prompt": "description", "width": "width", "height": "height"},
        checks=["not_blank", "not_duplicate", {"ratio": "4:3"}, "brand_checks.brand_colour"],
        max_rejected=None,
    )
    task.retry()
    counts = task.counts()
    assert counts["landed"] + counts["rejected"] == 8
    assert min(counts.values()) > 0
    for row in task.manifest():
        if row["outcome"] == "rejected":
            assert f"brand_checks.brand_colour: {row['key']} is too cold" in row["reason"]
