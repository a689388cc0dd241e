"""The contact sheet that a batch writes beside its manifest."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_flux.emulator import EmulatorServer
from tests.support.batch_tries import batch, prompts


def test_a_batch_writes_a_sheet_of_all_its_rows_beside_the_manifest(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    task = batch(tmp_path, [*prompts(2), "x [[fault:moderated]]"], contact_sheet=True)
    task.retry()
    html = (task.folder / "manifest-hero.html").read_text()
    assert html.count('class="tile"') == 3
    assert html.count("data:image/webp") == 2
    assert "<h1>hero</h1>" in html


def test_a_sheet_of_hidden_prompts_has_none(emulator: EmulatorServer, tmp_path: Path) -> None:
    task = batch(tmp_path, ["a zephyr gearbox"], contact_sheet=True, hide_prompt=True)
    task.retry()
    assert "zephyr" not in (task.folder / "manifest-hero.html").read_text()


def test_a_sheet_that_cannot_be_written_costs_no_image(
    emulator: EmulatorServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = batch(tmp_path, prompts(1), contact_sheet=True)
    (task.folder / "manifest-hero.html").mkdir(parents=True)
    assert task.retry()["landed"] == 1
    assert "The contact sheet could not be written" in caplog.text
