"""Tests of ``airflow flux recover``: it lists and lands each image once, and replaces nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.account.budgets.account_budgets import AccountBudgets, open_budgets
from airflow_provider_flux.account.budgets.parts import Order
from airflow_provider_flux.account.budgets.periods import Spender
from airflow_provider_flux.account.budgets.state import BLOCK_SECONDS
from airflow_provider_flux.cli.commands import main
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.object_store.filesystem import run_sync
from tests.support.batch_interruptions import meanwhile, stop_after, wait_until
from tests.support.batch_tries import batch, emulated, prompts, quick
from tests.support.object_stores import Store
from tests.support.task_tries import Died, Task, phases

__all__ = ["emulated", "quick"]

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
def abandon(die_at: Callable[[str], None]) -> Callable[..., Task]:
    """Return a function that runs a task until its worker die_at."""

    def run_and_die(
        path: str | None, prompt: str = "a fox", moment: str = "before poll", **arguments: Any
    ) -> Task:
        task = Task({"prompt": prompt, "output_path": path, **arguments})
        die_at(moment)
        with pytest.raises(Died):
            task.retry()
        return task

    return run_and_die


def recover(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    """Run the command and return its rows."""
    capsys.readouterr()
    main(["recover", "--output", "json", *arguments])
    out = capsys.readouterr().out
    return json.loads(out) if out.strip() else []


def test_recover_lists_then_lands_an_image_once_in_each_store(
    emulator: EmulatorServer,
    store: Store,
    abandon: Callable[..., Task],
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = abandon(f"{store.root}/{{seed}}.{{ext}}")
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
    assert task.clear()["image"]["uri"] == row["uri"]  # The task returns it without paying.
    assert recover(capsys, "--prefix", store.root) == []
    assert emulator.stats()["submits"] == 1


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({}, ["thumb"]),
        ({"renditions": {}}, []),
        ({"renditions": {"thumb": {"width": 64}, "small": {"width": 9}}}, ["thumb", "small"]),
    ],
    ids=["default", "none", "two"],
)
def test_a_recovered_image_has_the_renditions_that_its_task_would_have_made(
    emulator: EmulatorServer,
    store: Store,
    abandon: Callable[..., Task],
    capsys: pytest.CaptureFixture[str],
    arguments: dict[str, Any],
    names: list[str],
) -> None:
    task = abandon(f"{store.root}/x.{{ext}}", **arguments)
    (row,) = recover(capsys, "--prefix", store.root)
    assert row["outcome"] == "recovered"
    sidecar = json.loads(store.read(f"{row['uri']}.json") or b"")
    listed = sidecar["media"]["renditions"]
    assert list(listed) == names
    for rendition in listed.values():
        assert store.read(rendition["uri"]) is not None
    image = task.clear()["image"]
    assert list(image["renditions"]) == names
    assert emulator.stats()["submits"] == 1


def test_a_recovered_image_gets_the_renditions_of_its_task_in_another_folder(
    emulator: EmulatorServer,
    tmp_path: Path,
    abandon: Callable[..., Task],
    capsys: pytest.CaptureFixture[str],
) -> None:
    small = {"width": 9, "path": "small/{stem}.{ext}"}
    abandon(f"{tmp_path}/x.{{ext}}", renditions={"small": small})
    elsewhere = f"{tmp_path}/found/{{request_id}}.{{ext}}"
    (row,) = recover(capsys, "--prefix", str(tmp_path), "--output-path", elsewhere)
    assert row["outcome"] == "recovered"
    folder, _, name = row["uri"].rpartition("/")
    assert Path(folder, "small", name).exists()


def test_recover_lands_only_records_of_the_requested_dag_and_run(
    emulator: EmulatorServer,
    tmp_path: Path,
    abandon: Callable[..., Task],
    capsys: pytest.CaptureFixture[str],
) -> None:
    abandon(f"{tmp_path}/x.{{ext}}")
    assert recover(capsys, "--prefix", str(tmp_path), "--dag-id", "others") == []
    assert recover(capsys, "--prefix", str(tmp_path), "--run-id", "another") == []
    run_id = "manual__2026-11-26T00:00:00+00:00"
    assert len(recover(capsys, "--prefix", str(tmp_path), "--run-id", run_id, "--dry-run")) == 1


def test_an_abandoned_image_lands_beside_its_successor(
    emulator: EmulatorServer,
    tmp_path: Path,
    abandon: Callable[..., Task],
    capsys: pytest.CaptureFixture[str],
) -> None:
    task = abandon(f"{tmp_path}/x.{{ext}}")
    existing = Path(task.retry(prompt="a bear")["image"]["uri"])
    content = existing.read_bytes()
    (row,) = recover(capsys, "--prefix", str(tmp_path))
    assert row["outcome"] == "recovered"
    assert row["uri"] == f"{tmp_path}/x-{row['request_id']}.jpeg"
    assert existing.read_bytes() == content


def test_a_record_without_output_path_needs_the_option(
    emulator: EmulatorServer,
    tmp_path: Path,
    abandon: Callable[..., Task],
    capsys: pytest.CaptureFixture[str],
) -> None:
    abandon(None, ledger_path=f"{tmp_path}/ledger")
    with pytest.raises(SystemExit) as exit_info:
        recover(capsys, "--prefix", f"{tmp_path}/ledger")
    assert exit_info.value.code == 1
    assert "--output-path" in capsys.readouterr().out
    (row,) = recover(
        capsys, "--prefix", f"{tmp_path}/ledger", "--output-path", f"{tmp_path}/{{key}}.{{ext}}"
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
def test_an_image_that_cannot_be_recovered_has_an_outcome_and_a_reason(
    emulator: EmulatorServer,
    tmp_path: Path,
    abandon: Callable[..., Task],
    capsys: pytest.CaptureFixture[str],
    fault: str,
    outcome: str,
    phase: str,
) -> None:
    task = abandon(f"{tmp_path}/x.{{ext}}", f"x [[fault:{fault}]]")
    (row,) = recover(capsys, "--prefix", str(tmp_path))
    assert row["outcome"] == outcome
    assert bool(row["reason"]) == (outcome != "not ready")
    assert phases(task.records(tmp_path)) == [phase]


def test_an_uncertain_submit_is_listed_with_its_estimated_cost(
    emulator: EmulatorServer,
    tmp_path: Path,
    abandon: Callable[..., Task],
    capsys: pytest.CaptureFixture[str],
) -> None:
    abandon(f"{tmp_path}/x.{{ext}}", moment="after post")
    (row,) = recover(capsys, "--prefix", str(tmp_path))
    assert (row["outcome"], row["request_id"], row["credits"]) == ("uncertain", "", "4")


def test_unreadable_records_are_reported_and_the_others_are_recovered(
    emulator: EmulatorServer,
    tmp_path: Path,
    abandon: Callable[..., Task],
    capsys: pytest.CaptureFixture[str],
) -> None:
    abandon(f"{tmp_path}/a/x.{{ext}}")
    abandon(f"{tmp_path}/b/x.{{ext}}")
    (unreadable,) = (tmp_path / "a").glob("_flux/ledger/**/*.json")
    unreadable.write_text("{")
    prefixes = [f"--prefix={tmp_path / name}" for name in ("a", "b", "c")]
    with pytest.raises(SystemExit) as exit_info:
        recover(capsys, *prefixes)
    output = capsys.readouterr()
    assert exit_info.value.code == 1
    assert str(unreadable) in output.err
    assert [row["outcome"] for row in json.loads(output.out)] == ["recovered"]
    with pytest.raises(SystemExit):
        recover(capsys, "--prefix", "s3://no_such_conn@b/x")


@pytest.mark.parametrize("store", ["s3", "gs", "abfs"], indirect=True)
def test_a_prefix_in_a_bucket_that_does_not_exist_is_an_error(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fault 42: the command ended with 0 and "nothing to collect"."""
    missing = store.root.replace("@media/", "@no-such-bucket/")
    with pytest.raises(SystemExit) as exit_info:
        recover(capsys, "--prefix", missing)
    assert exit_info.value.code == 1
    assert "there is no bucket 'no-such-bucket'" in capsys.readouterr().err
    assert recover(capsys, "--prefix", f"{store.root}/empty") == []


def test_a_failed_record_is_not_listed_and_a_clear_submits_again(
    tmp_path: Path, connect: Any, abandon: Callable[..., Task], capsys: pytest.CaptureFixture[str]
) -> None:
    with EmulatorServer(EmulatorConfig(latency=0.0)) as server:
        connect(server.url)
        task = abandon(f"{tmp_path}/x.{{ext}}")
        server.reset()
        with pytest.raises(AirflowFailException, match="is lost"):
            task.retry()
        assert recover(capsys, "--prefix", str(tmp_path)) == []
        task.clear()
        assert phases(task.records(tmp_path)) == ["failed", "returned"]


def test_recover_does_not_change_a_record_that_its_task_returned_meanwhile(
    emulator: EmulatorServer, tmp_path: Path, abandon: Callable[..., Task]
) -> None:
    from airflow_provider_flux.recovery.find import RecordFilter, find_records
    from airflow_provider_flux.recovery.recover import recover_all

    task = abandon(f"{tmp_path}/x.{{ext}}")
    found = find_records(RecordFilter([str(tmp_path)]))
    first = task.retry()
    assert list(recover_all(found.records, dry_run=False)) == []
    assert phases(task.records(tmp_path)) == ["returned"]
    assert task.clear()["request_id"] != first["request_id"]


def test_a_prefix_includes_all_folders_below_it(
    emulator: EmulatorServer,
    tmp_path: Path,
    abandon: Callable[..., Task],
    capsys: pytest.CaptureFixture[str],
) -> None:
    abandon(f"{tmp_path}/x.{{ext}}")
    abandon(f"{tmp_path}/below/x.{{ext}}")
    found = recover(capsys, "--prefix", str(tmp_path))
    assert [row["outcome"] for row in found] == ["recovered", "recovered"]


def test_an_invalid_output_path_option_is_refused_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="--output-path: output_path='x' is relative"):
        recover(capsys, "--prefix", str(tmp_path), "--output-path", "x", "--dry-run")


def test_recover_uses_connections_in_the_database(
    emulator: EmulatorServer,
    tmp_path: Path,
    abandon: Callable[..., Task],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The command runs in its own process: Airflow decides once where to look for connections."""
    import subprocess
    import sys

    abandon(f"{tmp_path}/x.{{ext}}")
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


def test_recover_is_a_command_of_airflow_or_of_the_package() -> None:
    import subprocess
    import sys

    from airflow.providers_manager import ProvidersManager

    takes_commands = hasattr(ProvidersManager, "cli_command_functions")  # from Airflow 3.2 on
    module = ["airflow", "flux"] if takes_commands else ["airflow_provider_flux"]
    help_text = subprocess.run(
        [sys.executable, "-m", *module, "recover", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "--dry-run" in help_text
    assert "replaces no" in " ".join(help_text.split())


def test_a_recovered_image_of_an_earlier_submit_leaves_the_list(
    emulator: EmulatorServer,
    tmp_path: Path,
    abandon: Callable[..., Task],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Fault 44: no task returns the image of an earlier submit, so it was listed for ever."""
    task = abandon(f"{tmp_path}/x.{{ext}}")
    task.retry(prompt="a bear")
    (row,) = recover(capsys, "--prefix", str(tmp_path))
    assert row["outcome"] == "recovered"
    assert recover(capsys, "--prefix", str(tmp_path)) == []


@pytest.mark.usefixtures("quick")
def test_a_retry_settles_the_budget_of_a_batch_that_died_although_recover_landed_its_images(
    emulated: Callable[..., EmulatorServer],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    budgets = [{"credits": 1000, "per": "month"}]
    server = emulated(extra={"account_path": f"{tmp_path}/account", "budgets": budgets})
    (tmp_path / "account").mkdir()
    batch_task = batch(tmp_path, prompts(4, "slow=1"), grace=0.0)

    async def die(self: AccountBudgets, order: object) -> None:
        raise Died

    with monkeypatch.context() as patched, meanwhile(stop_after(server, batch_task, 4)):
        patched.setattr(AccountBudgets, "close", die)
        with pytest.raises(Died):
            batch_task.retry()
    prefix = ("--prefix", str(tmp_path / "out"))
    wait_until(lambda: {row["outcome"] for row in recover(capsys, *prefix)} == {"landed"})
    account = open_budgets(FluxHook().settings, Spender("shop", "hero"), "the connection")
    assert account is not None
    of_another_task = Order(holder="another", spender="shop.other")
    later = time.time() + BLOCK_SECONDS + 10
    run_sync(account.state.update(lambda state: state.close(of_another_task, later)))
    [key] = account.state.read_sync().counters
    assert account.state.read_sync().spent(key) > 16
    batch_task.retry()
    state = account.state.read_sync()
    assert state.spent(key) == 16 == server.stats()["credits_spent"]
    assert (state.reserved(key), state.lapsed) == (0, {})
