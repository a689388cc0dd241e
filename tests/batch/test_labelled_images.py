"""Labelled pictures of the emulator: every bad one is found, and no good one is rejected.

``make soak`` sets ``FLUX_LABELLED_IMAGES`` to 200 of each kind; by default there are 8.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from tests.support.batch_tries import batch, prompts, quick
from tests.support.skips import needs_tesseract

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")
COUNT = int(os.environ.get("FLUX_LABELLED_IMAGES", "8"))
#: OCR takes up to a second for each picture.
TEXTS = COUNT if COUNT > 8 else 3
KINDS = ("fine", "blank", "black", "duplicate")
WORDS = ("coffee", "summer", "garden", "leather", "silver", "mountain", "winter", "kitchen")


def _label(number: int) -> str:
    """Return the text that belongs on a picture."""
    first, second = WORDS[number % 8], WORDS[(number // 8 + number + 3) % 8]
    return f"{first.capitalize()} {second} sale {number}"


def test_all_blank_and_repeated_pictures_are_found_and_no_other_is_rejected(
    connect: Callable[..., None], tmp_path: Path
) -> None:
    rows = [
        {"key": f"{kind}-{number}", "prompt": prompt, "width": 256, "height": 320}
        for kind in KINDS
        for number, prompt in enumerate(
            prompts(
                COUNT, "" if kind == "fine" else f"{kind}=always", start=1000 * KINDS.index(kind)
            )
        )
    ]
    with EmulatorServer(EmulatorConfig(latency=0.05, max_active=24, credits=10_000)) as server:
        connect(server.url)
        task = batch(tmp_path, rows, checks=["not_blank", "not_duplicate"])
        summary = task.retry()
    found = Counter((row["key"].partition("-")[0], row["outcome"]) for row in task.manifest())
    assert found == {
        ("fine", "landed"): COUNT,
        ("blank", "rejected"): COUNT,
        ("black", "rejected"): COUNT,
        # The first picture is no copy of another one.
        ("duplicate", "landed"): 1,
        ("duplicate", "rejected"): COUNT - 1,
    }
    assert summary["rejected"] == 3 * COUNT - 1


@needs_tesseract
@pytest.mark.parametrize(
    ("fault", "outcome"), [((), "landed"), (("wrong-text=always",), "rejected")]
)
def test_legible_texts_are_told_from_other_texts(
    connect: Callable[..., None], tmp_path: Path, fault: tuple[str, ...], outcome: str
) -> None:
    rows: list[dict[str, Any]] = [
        {"key": str(number), "prompt": _label(number), "width": 768, "height": 512}
        for number in range(TEXTS)
    ]
    with EmulatorServer(
        EmulatorConfig(latency=0.05, max_active=24, credits=10_000, faults=fault)
    ) as server:
        connect(server.url)
        task = batch(tmp_path, rows, checks=[{"text": "prompt"}], check_timeout=60)
        task.retry()
    assert Counter(row["outcome"] for row in task.manifest()) == {outcome: TEXTS}
