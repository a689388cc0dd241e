"""The steps of make targets say what they do, and that they go on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.run_step import StepError, main, run_step

ROOT = Path(__file__).parents[2]


def test_a_step_says_what_it_does_and_shows_the_last_line_of_its_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Fault 36: `make demo` printed nothing for minutes."""
    code = "import time; print('Collecting a', flush=True); time.sleep(1); print('b')"
    run_step("1/3", "Installing", "a second", [sys.executable, "-c", code], heartbeat=0.2)
    first, *beats, last = capsys.readouterr().out.splitlines()
    assert first == "[1/3] Installing. This usually takes a second."
    assert any(re.fullmatch(r" +\d+ s: Collecting a", beat) for beat in beats)
    assert re.fullmatch(r" +done in \d+ s", last)


def test_a_step_that_fails_shows_all_output_of_its_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Fault 36: the reason of a failed step must be on the screen."""
    command = [sys.executable, "-c", "print('the reason'); raise SystemExit(3)"]
    with pytest.raises(StepError, match="the reason"):
        run_step("1/3", "Installing", "a second", command)
    assert main(["1/3", "Installing", "a second", *command]) == 1
    assert "the reason" in capsys.readouterr().out


def test_each_install_of_a_make_target_is_a_numbered_step() -> None:
    """Fault 36: also `make test` and `make lint` install for minutes."""
    for target in (".venv/runtime", ".venv/dev"):
        done = subprocess.run(
            ["make", "-n", "-B", target], cwd=ROOT, capture_output=True, text=True, check=True
        )
        steps = re.findall(r'run_step\.py (\d/\d) "([^"]+)" "([^"]+)"', done.stdout)
        assert steps[0][0].startswith("1/")
        for command in re.findall(r".*--require-hashes.*", done.stdout.replace("\\\n", "")):
            assert "run_step.py" in command
