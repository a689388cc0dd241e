"""``airflow flux recover``: what no task has collected is listed and landed, once, and replaces nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.cli.commands import main
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from tests.support.object_stores import Store
from tests.support.task_tries import Died, Task, phases

pytestmark = [
    pytest.mark.usefixtures("hurry", "database"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def database() -> None:
    """The metadata database of the tests' own Airflow home: no task instance is in it."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def left(dies: Callable[[str], None]) -> Callable[..., Task]:
    """Leave what a task has submitted to nobody."""

    def leave(
        path: str | None, prompt: str = "a fox", place: str = "before poll", **arguments: Any
    ) -> Task:
        task = Task({"prompt": prompt, "output_path": path, **arguments})
        dies(place)
        with pytest.raises(Died):
            task.retry()
        return task

    return leave


def recover(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    """Run the command and return its rows."""
    capsys.readouterr()
    main(["recover", "--output", "json", *arguments])
    out = capsys.readouterr().out
    return json.loads(out) if out.strip() else []


def test_it_lists_then_lands_once_in_each_store(
    emulator: EmulatorServer,
    store: Store,
    left: Callable[..., Task],
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = left(f"{store.root}/{{seed}}.{{ext}}")
    before = {name: store.read(f"{store.root}/{name}") for name in store.all_names()}
    (row,) = recover(capsys, "--prefix", store.root, "--dry-run")
    assert (row["outcome"], row["credits"], row["task_id"]) == ("recoverable", "4", "hero")
    assert {name: store.read(f"{store.root}/{name}") for name in store.all_names()} == before
    (row,) = recover(capsys, "--prefix", f"{store.root}/", "--dag-id", "ads")
    assert row["outcome"] == "recovered"
    assert store.read(row["uri"]) is not None
    (again,) = recover(capsys, "--prefix", store.root)
    assert (again["outcome"], again["uri"]) == ("landed", row["uri"])
    assert emulator.stats()["downloads"] == 1
    assert task.clear()["image"]["uri"] == row["uri"]  # and the task takes it, without paying
    assert recover(capsys, "--prefix", store.root) == []
    assert emulator.stats()["submits"] == 1


def test_it_takes_only_what_it_is_asked_for(
    emulator: EmulatorServer,
    tmp_path: Path,
    left: Callable[..., Task],
    capsys: pytest.CaptureFixture[str],
) -> None:
    left(f"{tmp_path}/x.{{ext}}")
    assert recover(capsys, "--prefix", str(tmp_path), "--dag-id", "others") == []
    assert recover(capsys, "--prefix", str(tmp_path), "--run-id", "another") == []
    run_id = "manual__2026-11-26T00:00:00+00:00"
    assert len(recover(capsys, "--prefix", str(tmp_path), "--run-id", run_id, "--dry-run")) == 1


def test_what_was_left_for_another_request_lands_beside_its_successor(
    emulator: EmulatorServer,
    tmp_path: Path,
    left: Callable[..., Task],
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = left(f"{tmp_path}/x.{{ext}}")
    kept = Path(task.retry(prompt="a bear")["image"]["uri"])
    content = kept.read_bytes()
    (row,) = recover(capsys, "--prefix", str(tmp_path))
    assert row["outcome"] == "recovered"
    assert row["uri"] == f"{tmp_path}/x-{row['request_id']}.jpeg"
    assert kept.read_bytes() == content


def test_what_has_no_output_path_needs_one(
    emulator: EmulatorServer,
    tmp_path: Path,
    left: Callable[..., Task],
    capsys: pytest.CaptureFixture[str],
) -> None:
    left(None, ledger_path=f"{tmp_path}/books")
    with pytest.raises(SystemExit) as ended:
        recover(capsys, "--prefix", f"{tmp_path}/books")
    assert ended.value.code == 1
    assert "--output-path" in capsys.readouterr().out
    (row,) = recover(
        capsys, "--prefix", f"{tmp_path}/books", "--output-path", f"{tmp_path}/{{key}}.{{ext}}"
    )
    assert (row["outcome"], row["uri"]) == ("recovered", f"{tmp_path}/hero.jpeg")


@pytest.mark.parametrize(
    ("fault", "outcome", "phase"),
    [
        ("slow=99", "not ready", "submitted"),
        ("moderated=Violence", "not charged", "failed"),
        ("error", "not charged", "failed"),
        ("lost", "lost", "failed"),
    ],
)
def test_what_cannot_be_had_says_why(
    emulator: EmulatorServer,
    tmp_path: Path,
    left: Callable[..., Task],
    capsys: pytest.CaptureFixture[str],
    fault: str,
    outcome: str,
    phase: str,
) -> None:
    task = left(f"{tmp_path}/x.{{ext}}", f"x [[fault:{fault}]]")
    (row,) = recover(capsys, "--prefix", str(tmp_path))
    assert row["outcome"] == outcome
    assert bool(row["reason"]) == (outcome != "not ready")
    assert phases(task.records(tmp_path)) == [phase]


def test_an_unknown_submit_is_listed_as_possibly_billed(
    emulator: EmulatorServer,
    tmp_path: Path,
    left: Callable[..., Task],
    capsys: pytest.CaptureFixture[str],
) -> None:
    left(f"{tmp_path}/x.{{ext}}", place="after post")
    (row,) = recover(capsys, "--prefix", str(tmp_path))
    assert (row["outcome"], row["request_id"], row["credits"]) == ("uncertain", "", "4")


def test_what_cannot_be_read_is_said_and_the_rest_is_collected(
    emulator: EmulatorServer,
    tmp_path: Path,
    left: Callable[..., Task],
    capsys: pytest.CaptureFixture[str],
) -> None:
    left(f"{tmp_path}/a/x.{{ext}}")
    left(f"{tmp_path}/b/x.{{ext}}")
    (torn,) = (tmp_path / "a").glob("_flux/ledger/**/*.json")
    torn.write_text("{")
    prefixes = [f"--prefix={tmp_path / name}" for name in ("a", "b", "c")]
    with pytest.raises(SystemExit) as ended:
        recover(capsys, *prefixes)
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert str(torn) in said.err
    assert [row["outcome"] for row in json.loads(said.out)] == ["recovered"]
    with pytest.raises(SystemExit):
        recover(capsys, "--prefix", "s3://no_such_conn@b/x")


def test_an_image_bfl_has_forgotten_is_lost_and_the_task_may_pay_again(
    tmp_path: Path, connect: Any, left: Callable[..., Task], capsys: pytest.CaptureFixture[str]
) -> None:
    with EmulatorServer(EmulatorConfig(latency=0.0)) as server:
        connect(server.url)
        task = left(f"{tmp_path}/x.{{ext}}")
        server.reset()
        with pytest.raises(AirflowFailException, match="is lost"):
            task.retry()
        assert recover(capsys, "--prefix", str(tmp_path)) == []
        task.clear()
        assert phases(task.records(tmp_path)) == ["failed", "returned"]


def test_a_task_that_returns_meanwhile_keeps_its_record(
    emulator: EmulatorServer, tmp_path: Path, left: Callable[..., Task]
) -> None:
    from airflow_provider_flux.recovery.find import RecordFilter, find_records
    from airflow_provider_flux.recovery.recover import recover_all

    task = left(f"{tmp_path}/x.{{ext}}")
    found = find_records(RecordFilter([str(tmp_path)]))
    first = task.retry()
    assert list(recover_all(found.records, dry_run=False)) == []
    assert phases(task.records(tmp_path)) == ["returned"]
    assert task.clear()["request_id"] != first["request_id"]


def test_a_prefix_holds_all_that_is_below_it(
    emulator: EmulatorServer,
    tmp_path: Path,
    left: Callable[..., Task],
    capsys: pytest.CaptureFixture[str],
) -> None:
    left(f"{tmp_path}/x.{{ext}}")
    left(f"{tmp_path}/below/x.{{ext}}")
    found = recover(capsys, "--prefix", str(tmp_path))
    assert [row["outcome"] for row in found] == ["recovered", "recovered"]


def test_a_path_that_is_none_is_refused_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="--output-path: output_path='x' is relative"):
        recover(capsys, "--prefix", str(tmp_path), "--output-path", "x", "--dry-run")


def test_connections_in_the_database_are_used(
    emulator: EmulatorServer,
    tmp_path: Path,
    left: Callable[..., Task],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a process of its own, as an administrator does: Airflow decides once where it looks for connections."""
    import subprocess
    import sys

    left(f"{tmp_path}/x.{{ext}}")
    monkeypatch.delenv("AIRFLOW_CONN_FLUX_DEFAULT")
    connection = json.dumps(
        {"conn_type": "flux", "password": "bfl_canary_key_0123456789", "host": emulator.url}
    )
    airflow = [sys.executable, "-m", "airflow", "connections"]
    subprocess.run(
        [*airflow, "add", "flux_default", "--conn-json", connection],
        check=True,
        capture_output=True,
    )
    try:
        command = [
            sys.executable,
            "-m",
            "airflow_provider_flux",
            "recover",
            "-o",
            "json",
            "--prefix",
            str(tmp_path),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        subprocess.run([*airflow, "delete", "flux_default"], check=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["outcome"] for row in json.loads(done.stdout)] == ["recovered"]


def test_it_is_a_command_of_airflow_and_of_the_package() -> None:
    import subprocess
    import sys

    from airflow.providers_manager import ProvidersManager

    takes_commands = hasattr(ProvidersManager, "cli_command_functions")  # from Airflow 3.2 on
    module = ["airflow", "flux"] if takes_commands else ["airflow_provider_flux"]
    said = subprocess.run(
        [sys.executable, "-m", *module, "recover", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "--dry-run" in said
    assert "replaces no" in " ".join(said.split())
