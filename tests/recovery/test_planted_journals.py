"""Journals of batches that a stranger planted or changed: headers, entries and owners are data."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.emulator import EmulatorServer
from tests.recovery.test_planted_records import (
    ESCAPING_PATHS,
    Recover,
    database,
    fill,
    lake,
    recover,
)
from tests.support.batch_tries import Batch, batch, prompts, quick
from tests.support.planted import ESCAPES, Stranger, edit_lines, set_member, snapshot, stranger

__all__ = ["database", "lake", "quick", "recover", "stranger"]

pytestmark = [
    pytest.mark.usefixtures("quick", "database"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

Edit = Callable[[dict[str, Any]], None]


def edit_journal(task: Batch, *edits: Edit) -> None:
    """Change every line of the journal of a batch."""
    for segment in task.folder.parent.rglob("*.rows/*.jsonl"):
        for edit in edits:
            edit_lines(segment, edit)


def abandoned(folder: Path, **arguments: Any) -> Batch:
    """Return a batch of two rows whose images are ready, and have not landed."""
    task = batch(folder, prompts(2, "slow=1.5"), **arguments)
    task.arguments["output_path"] = f"{folder}/{{key}}.{{ext}}"
    task.retry(timeout=1, max_failed=9)
    assert {row["outcome"] for row in task.manifest()} == {"submitted"}
    return task


def wait_until_ready(emulator: EmulatorServer) -> None:
    """Wait until no generation is active."""
    deadline = time.monotonic() + 10
    while emulator.stats()["active"] and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.mark.parametrize("member", ["target.path", "facts.path"])
@pytest.mark.parametrize("kind", ["another folder", "a link out of the folder", "a template"])
def test_a_journal_lands_nothing_outside_of_its_folder(
    kind: str,
    member: str,
    lake: Path,
    emulator: EmulatorServer,
    recover: Recover,
    stranger: Stranger,
) -> None:
    """Fault 1: the header of a journal named the folder that its images landed in."""
    task = abandoned(lake)
    wait_until_ready(emulator)
    edit_journal(task, set_member(member, fill(ESCAPING_PATHS[kind], lake, stranger)))
    before = snapshot(lake.parent)
    rows = recover()
    assert [row["outcome"] for row in rows] == ["error", "error"]
    assert snapshot(lake.parent) == before


def test_the_header_of_a_journal_chooses_no_connection(
    lake: Path, emulator: EmulatorServer, recover: Recover
) -> None:
    """Fault 2: the header of a journal named the connection whose password BFL got."""
    edit_journal(abandoned(lake), set_member("flux_conn_id", "slack_default"))
    polls = emulator.stats()["polls"]
    assert [row["outcome"] for row in recover()] == ["error", "error"]
    assert emulator.stats()["polls"] == polls


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("generation.request_id", f"r{ESCAPES}"),
        ("generation.image", "file:///etc/passwd"),
        ("generation", []),
        ("facts.index", "x"),
        ("phase", "returned"),
    ],
    ids=["escapes", "image", "generation", "index", "phase"],
)
def test_an_impossible_entry_is_reported_and_nothing_is_submitted(
    member: str, value: Any, lake: Path, emulator: EmulatorServer, recover: Recover
) -> None:
    """Fault 1: a damaged journal is an error of the ledger, in ``recover`` and in a retry."""
    task = abandoned(lake)
    submits = emulator.stats()["submits"]

    def remove_generation(entry: dict[str, Any]) -> None:
        if entry.get("phase") == "returned":
            entry.pop("generation", None)

    edit_journal(task, set_member(member, value), remove_generation)
    assert [row["outcome"] for row in recover()] == []
    with pytest.raises((AirflowFailException, FluxError), match="journal"):
        task.retry()
    assert emulator.stats()["submits"] == submits


def test_a_retry_returns_no_image_that_a_journal_names_elsewhere(
    lake: Path, emulator: EmulatorServer, stranger: Stranger
) -> None:
    """Fault 1: a manifest held whatever URI the journal named, and later tasks opened it."""
    task = batch(lake, prompts(2))
    task.arguments["output_path"] = f"{lake}/{{key}}.{{ext}}"
    task.retry()
    submits = emulator.stats()["submits"]
    edit_journal(
        task,
        set_member("generation.image.uri", "s3://aws_prod@bucket/secret.jpeg"),
    )
    task.retry()
    uris = [row["uri"] for row in task.manifest()]
    assert uris == [f"{lake}/0.jpeg", f"{lake}/1.jpeg"]
    assert emulator.stats()["submits"] == submits


@pytest.mark.parametrize("content", ["[" * 100_000, "{}", '{"session": "x"}'])
def test_a_planted_owner_costs_no_money_and_is_an_error_of_the_ledger(
    content: str, lake: Path, emulator: EmulatorServer
) -> None:
    """Fault 1: whatever a stranger writes as the owner, nothing is submitted, and no code fails."""
    task = abandoned(lake)
    (owner,) = lake.rglob("owner.json")
    owner.write_text(content)
    submits = emulator.stats()["submits"]
    with pytest.raises((AirflowFailException, FluxError)):
        task.retry(timeout=None, requests=prompts(4))
    assert emulator.stats()["submits"] == submits


class TestLandedRowsLeaveTheList:
    """Rows that ``recover`` has landed."""

    def test_a_retry_takes_recovered_rows_off_the_list(
        self, lake: Path, emulator: EmulatorServer, recover: Recover
    ) -> None:
        """Fault 44: rows that a retry had returned stayed in the list for ever."""
        task = abandoned(lake)
        wait_until_ready(emulator)
        assert [row["outcome"] for row in recover()] == ["recovered", "recovered"]
        assert [row["outcome"] for row in recover()] == ["landed", "landed"]
        assert task.retry(timeout=None)["landed"] == 2
        assert recover() == []
        assert emulator.stats()["submits"] == 2

    def test_a_row_that_was_submitted_again_leaves_the_list(
        self, lake: Path, emulator: EmulatorServer, recover: Recover
    ) -> None:
        """Fault 44: no task returns the image of a row that was submitted again."""
        task = abandoned(lake)
        task.retry(requests=prompts(2, start=10), timeout=None)
        wait_until_ready(emulator)
        assert [row["outcome"] for row in recover()] == ["recovered", "recovered"]
        assert recover() == []

    def test_rows_that_left_the_input_leave_the_list(
        self, lake: Path, emulator: EmulatorServer, recover: Recover
    ) -> None:
        """Fault 44: a later try reads what ``recover`` has landed, also of rows that are gone."""
        task = abandoned(lake)
        wait_until_ready(emulator)
        assert [row["outcome"] for row in recover()] == ["recovered", "recovered"]
        task.retry(requests=prompts(1), timeout=None)
        assert recover() == []


def test_a_segment_of_recover_holds_no_more_than_the_phase(
    lake: Path, emulator: EmulatorServer, recover: Recover
) -> None:
    """Fault 1: the segment that ``recover`` writes is in the folder of the journal."""
    task = abandoned(lake)
    wait_until_ready(emulator)
    edit_journal(task, set_member("session", "../../../dags/x"))
    before = set(snapshot(lake.parent / "dags"))
    recover()
    assert set(snapshot(lake.parent / "dags")) == before
    lines = [
        json.loads(line)
        for path in lake.rglob("*.rows/*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert sum(line.get("phase") == "persisted" for line in lines) == 2


def test_a_recovered_image_lands_where_the_columns_of_its_row_say(
    lake: Path, emulator: EmulatorServer, recover: Recover
) -> None:
    rows = [
        {"prompt": prompt, "category": category}
        for prompt, category in zip(prompts(2, "slow=1.5"), ("Doors", "a/../b"), strict=True)
    ]
    task = batch(
        lake,
        rows,
        output_path=f"{lake}/{{category}}/{{key}}.{{ext}}",
        keep_columns=["category"],
    )
    task.retry(timeout=1, max_failed=9)
    wait_until_ready(emulator)
    assert [row["outcome"] for row in recover()] == ["recovered", "recovered"]
    assert (lake / "Doors/0.jpeg").is_file()
    assert (lake / "a_.._b/1.jpeg").is_file()
    assert task.retry()["landed"] == 2
    assert emulator.stats()["submits"] == 2
