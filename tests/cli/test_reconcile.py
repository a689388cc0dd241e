"""The command ``reconcile``: what it prints, and the exit code that an alert can use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.bfl.request import build_request
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.hooks.flux import FluxHook
from tests.support.batch_tries import batch, emulated, prompts, quick

__all__ = ["emulated", "quick"]

pytestmark = pytest.mark.usefixtures("quick")

Command = Callable[..., Any]
Emulated = Callable[..., EmulatorServer]


@pytest.fixture
def emulator(emulated: Emulated, tmp_path: Path) -> EmulatorServer:
    return emulated(extra={"account_path": f"{tmp_path}/account"}, latency=0.05)


def test_a_balance_that_ledgers_explain_gives_exit_code_0(
    emulator: EmulatorServer, tmp_path: Path, command: Command
) -> None:
    batch(tmp_path, [*prompts(3), *prompts(1, "submit-lost", start=3)], max_failed=None).retry()
    ended = command("reconcile", str(tmp_path / "out"), "-o", "json")
    assert ended.code == 0
    *_, total = json.loads(ended.out)
    assert total["row"] == "total"
    assert (total["spent"], total["explained"], total["uncertain"]) == (16, 12, 4)
    assert (total["unexplained"], total["added"]) == (0, 0)
    assert "uncertain: ads/manual__2026-11-26T00:00:00+00:00/hero row" in ended.err
    again = command("reconcile", str(tmp_path / "out"), "--settle")
    assert (again.code, "uncertain: ads/" in again.err) == (0, True)


def test_credits_that_somebody_else_spent_give_exit_code_1(
    emulator: EmulatorServer, tmp_path: Path, command: Command
) -> None:
    batch(tmp_path, prompts(2)).retry()
    FluxHook().submit(build_request("flux-pro-1.1", {"prompt": "by a script"}))
    ended = command("reconcile", str(tmp_path / "out"), "-o", "json")
    assert ended.code == 1
    rows = json.loads(ended.out)
    assert [(row["row"], row["unexplained"]) for row in rows] == [("interval", 4), ("total", 4)]
    assert "4 credits are unexplained. Somebody else used the key: another Airflow" in ended.err


def test_ledgers_that_are_not_named_leave_credits_unexplained(
    emulator: EmulatorServer, tmp_path: Path, command: Command
) -> None:
    batch(tmp_path, prompts(2)).retry()
    batch(tmp_path / "other", prompts(2, start=2)).retry()
    assert command("reconcile", str(tmp_path / "out")).code == 1
    folders = [str(tmp_path / "out"), str(tmp_path / "other" / "out")]
    assert command("reconcile", *folders).code == 0


def test_one_reading_of_the_balance_is_nothing_to_compare(
    emulator: EmulatorServer, tmp_path: Path, command: Command
) -> None:
    ended = command("reconcile", str(tmp_path))
    assert (ended.code, "There is only one reading" in ended.err) == (0, True)


def test_a_ledger_that_cannot_be_read_gives_exit_code_1(
    emulator: EmulatorServer, tmp_path: Path, command: Command
) -> None:
    task = batch(tmp_path, prompts(2))
    task.retry()
    task.segments()[0].write_text("\x1b[2J no JSON\n")
    ended = command("reconcile", str(tmp_path / "out"))
    assert (ended.code, "FluxLedgerError" in ended.err) == (1, True)


def test_a_connection_without_account_path_is_named(
    emulated: Emulated, tmp_path: Path, command: Command
) -> None:
    emulated()
    ended = command("reconcile", str(tmp_path))
    assert ended.code == 2
    assert "'flux_default' has no account_path" in ended.err


def test_a_period_that_ends_before_it_begins_is_refused(
    emulator: EmulatorServer, command: Command
) -> None:
    ended = command("reconcile", "--from", "2026-12-02", "--to", "2026-12-01")
    assert (ended.code, "must be before --to" in ended.err) == (2, True)
