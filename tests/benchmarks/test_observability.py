"""Figures of the benchmark of the integrations: by hand, and of a few real tasks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.observability import Figures, Times

ROOT = Path(__file__).resolve().parents[2]
INTEGRATIONS = ("metrics", "spans", "links", "asset events", "decorator", "lineage")


def test_the_difference_is_the_median_of_the_pairs() -> None:
    without = [Times(1.0, 2.0), Times(1.2, 2.5), Times(1.1, 9.0)]
    with_all = [Times(1.1, 2.2), Times(1.3, 2.8), Times(1.4, 9.1)]
    figures = Figures(without, with_all)
    assert figures.task == Times(1.1, 2.5)
    assert figures.added.cpu == pytest.approx(0.1)
    assert figures.added.wall == pytest.approx(0.2)


def test_the_share_is_that_of_all_integrations_in_one_task() -> None:
    parts = {"metrics": Times(0.2, 0.4), "links": Times(0.1, 0.1)}
    figures = Figures([Times(3.0, 3.0)] * 2, [Times(3.1, 3.1)] * 2, parts)
    assert figures.parts_of_a_task["metrics"] == Times(0.1, 0.2)
    assert figures.share == pytest.approx(0.05)


def test_all_integrations_together_add_at_most_5_percent_to_a_task() -> None:
    command = [sys.executable, "-m", "benchmarks.observability", "5"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    rows = {line[:28].strip(): line.split() for line in ended.stdout.splitlines()}
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert all(float(rows[name][-4]) > 0 for name in INTEGRATIONS)
    assert float(rows["all integrations"][-3]) <= 5
