"""A batch warns of what BFL may refuse or change, once for all of its rows."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from airflow_provider_flux.batch.input.row_warnings import RowWarnings
from airflow_provider_flux.emulator import EmulatorServer
from tests.support.batch_inputs import read_all_rows
from tests.support.batch_tries import batch, quick

__all__ = ["quick"]

WIDTH = "width=1000 is not a multiple of 16: the service may round it or refuse it"


@pytest.mark.usefixtures("quick")
def test_a_batch_logs_each_warning_once_and_submits(
    emulator: EmulatorServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 32: BFL's statements that differ are warned of, also in a batch, and never refused."""
    rows = [{"key": f"k{n}", "prompt": f"fox {n}", "width": 1000, "height": 512} for n in range(5)]
    batch(tmp_path, rows, model="flux-2-klein-4b").retry()
    texts = [record.getMessage() for record in caplog.records]
    assert texts.count(f"flux-2-klein-4b: {WIDTH} (5 rows, first key 'k0')") == 1
    assert emulator.stats()["submits"] == 5


def test_a_warning_about_a_fallback_names_its_model(caplog: pytest.LogCaptureFixture) -> None:
    row = {"prompt": "a", "width": 1024, "height": 992, "fallback_model": "flux-2-pro"}
    defaults = {"webhook_url": "http://a.example/hook"}
    warnings = RowWarnings()
    for checked in read_all_rows([row], defaults=defaults):
        assert checked.problem is None
        warnings.add(checked)
    with caplog.at_level(logging.WARNING):
        warnings.log()
    assert [record.getMessage() for record in caplog.records] == [
        f"{model}: webhook_url is not https: the service may refuse it (1 row, first key '0')"
        for model in ("flux-2-pro", "flux-pro-1.1")
    ]


def test_warnings_that_differ_in_each_row_do_not_flood_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = [{"prompt": "a", "width": 1001 + 16 * n, "height": 64} for n in range(60)]
    warnings = RowWarnings()
    for checked in read_all_rows(rows, model="flux-2-pro"):
        warnings.add(checked)
    warnings.log()
    assert len(caplog.records) == 21
    assert caplog.records[-1].getMessage() == "The rows have 40 further warnings"
