"""With ``hide_prompt`` no text of BFL brings the prompt into a log, an error or a file."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.emulator import EmulatorServer
from tests.support.batch_tries import batch
from tests.support.image_task import image_task, run_task
from tests.support.run_operator import WAYS

pytestmark = pytest.mark.usefixtures("hurry")
PROMPT = "the secret Zephyr gearbox on a marble table"
#: Scripts of the emulator whose answer quotes the prompt, at the submit and at a poll.
QUOTES = ["quote-prompt", f"moderated={PROMPT}"]


def written(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return "\n".join(read_plain(path).decode(errors="replace") for path in files)


def read_plain(path: Path) -> bytes:
    """Return the bytes of a file; those of an index as they were before the compression."""
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".index" else data


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("script", QUOTES)
def test_a_refusal_that_quotes_the_prompt_is_shown_without_it(
    emulator: EmulatorServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    script: str,
    way: str,
) -> None:
    """Fault 6: exception, record, event and log of a single image."""
    path = f"{tmp_path}/x.{{ext}}"
    task = image_task(path, f"{PROMPT} [[fault:{script}]]", way, hide_prompt=True)
    with caplog.at_level("DEBUG"), pytest.raises((AirflowFailException, FluxError)) as caught:
        run_task(task)
    for text in (str(caught.value), caplog.text, written(tmp_path)):
        assert "zephyr" not in text.lower()


def test_the_outcome_of_a_batch_quotes_no_hidden_prompt(
    emulator: EmulatorServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 6: journal, manifest, summary and log of a batch."""
    rows: list[Any] = [f"{PROMPT} [[fault:{script}]]" for script in QUOTES]
    task = batch(tmp_path, [*rows, "a fox"], hide_prompt=True, on_invalid_row="skip")
    task.retry()
    assert task.counts() == {"landed": 1, "invalid": 1, "moderated": 1}
    shown = [written(tmp_path), caplog.text, json.dumps(task.ti.xcoms)]
    assert all("zephyr" not in text.lower() for text in shown)


@pytest.mark.parametrize("prompt", [[PROMPT], {"text": PROMPT}, (PROMPT, PROMPT)])
def test_a_prompt_of_a_wrong_type_is_refused_without_its_text(
    emulator: EmulatorServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, prompt: Any
) -> None:
    rows: list[Any] = [{"prompt": prompt}, "a fox"]
    task = batch(tmp_path, rows, hide_prompt=True, on_invalid_row="skip")
    task.retry()
    assert task.counts() == {"landed": 1, "invalid": 1}
    shown = [written(tmp_path), caplog.text, json.dumps(task.ti.xcoms)]
    assert all("zephyr" not in text.lower() for text in shown)


def test_the_label_of_a_moderation_is_shown_with_hide_prompt(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    task = image_task(f"{tmp_path}/x.{{ext}}", "[[fault:moderated=Violence]]", hide_prompt=True)
    with pytest.raises(AirflowFailException, match="Violence"):
        run_task(task)
