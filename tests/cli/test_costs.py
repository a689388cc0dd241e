"""The command ``costs``."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ended
from tests.support.cost_ledgers import OWNER, write_record


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__FLUX__CACHE_FOLDER", str(tmp_path / "cache"))


def test_rows_go_to_stdout_and_the_total_with_its_certainty_to_stderr(
    command: Callable[..., Ended], tmp_path: Path
) -> None:
    ledger = tmp_path / "out/_flux/ledger"
    hostile = OWNER.model_copy(update={"task_id": "=1\x1b[2J"})
    write_record(ledger, "r1")
    write_record(ledger, "r2", reported=False, number=1)
    write_record(ledger, None, phase="intent", owner=hostile, estimated_cost=4.0)
    ended = command("costs", str(tmp_path / "out"), "--by", "task", "--output", "json")
    assert ended.code == 0
    rows = json.loads(ended.out)
    assert [(row["task"], row["credits"], row["usd"]) for row in rows] == [
        ("hero", 6.0, 0.06),
        ("=1\\x1b[2J", 0.0, 0.0),
    ]
    assert rows[1]["possible_credits"] == 4.0
    assert "6 credits ($0.06) for 2 submits, all submits (UTC)" in ended.err
    assert "50.0% of the credits are estimated" in ended.err
    assert "up to 4 credits ($0.04) more" in ended.err
    text = command("costs", str(tmp_path / "out"), "--by", "task", "-o", "csv").out
    header, *cells = csv.reader(io.StringIO(text))
    assert header[:2] == ["dag", "task"]
    assert [row[1] for row in cells] == ["hero", "'=1\\x1b[2J"]


def test_a_period_in_a_time_zone_ends_before_its_end(
    command: Callable[..., Ended], tmp_path: Path
) -> None:
    write_record(tmp_path / "out/_flux/ledger", "r1")
    for start, end, submits in (("10", "11", 1), ("11", "12", 0), ("09", "10T12:00", 0)):
        period = ("--from", f"2026-11-{start}", "--to", f"2026-11-{end}")
        ended = command("costs", str(tmp_path / "out"), *period, "-o", "json")
        assert len(json.loads(ended.out)) == submits, ended.err


def test_what_cannot_be_read_is_named_and_the_exit_code_says_that_costs_are_missing(
    command: Callable[..., Ended], tmp_path: Path
) -> None:
    record = write_record(tmp_path / "out/_flux/ledger", "r1")
    record.with_name("hero-0123456789abcdef.3.json").write_text("{")
    ended = command("costs", str(tmp_path / "out"))
    assert ended.code == 1
    assert "hero-0123456789abcdef.3.json cannot be read" in ended.err
    assert "ads" in ended.out


def test_a_wrong_option_is_named_before_anything_is_read(command: Callable[..., Ended]) -> None:
    for options, named in (
        (["/"], "PATH='/'"),
        (["s3://"], "PATH='s3://'"),
        (["/no/such/folder"], "PATH='/no/such/folder'"),
        (["/tmp", "--from", "2026-13-01"], "--from='2026-13-01'"),
        (["/tmp", "--timezone", "Mars"], "--timezone='Mars'"),
    ):
        ended = command("costs", *options)
        assert (ended.code, ended.out) == (2, "")
        assert named in ended.err
