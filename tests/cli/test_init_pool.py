"""Tests of ``airflow flux init-pool``: it changes the slots of one pool, and no other setting.

The command runs on a migrated database of its own, as an administrator calls it. Refusals are
tested within the process.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.cli.commands import main
from airflow_provider_flux.cli.init_pool import PoolChange, init_pool, slots_of_connection
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from tests.support.installation import Installation
from tests.support.run_operator import run_operator

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "share-the-quota.md"
KEY = "bfl_canary_key_0123456789"


def test_init_pool_creates_updates_and_repeats_without_a_change(installation: Installation) -> None:
    preview = installation.init_pool("--dry-run").stdout
    assert "Pool flux would be created with 24 slots (BFL's usual limit" in preview
    assert "the connection flux_default does not exist" in preview
    assert "flux" not in installation.pools()

    assert "Pool flux was created with 24 slots" in installation.init_pool().stdout
    assert installation.pools()["flux"] == (24, True, "Active generations of the BFL account")

    connection = {"conn_type": "flux", "password": KEY, "extra": {"max_active": 12}}
    installation.airflow(
        "connections", "add", "flux_default", "--conn-json", json.dumps(connection)
    )
    shrunk = installation.init_pool()
    assert (
        "Pool flux was updated from 24 to 12 slots (max_active of the connection flux_default)"
        in shrunk.stdout
    )
    assert "fewer slots than before" in shrunk.stderr
    assert installation.pools()["flux"][:2] == (12, True)
    assert KEY not in shrunk.stdout + shrunk.stderr

    again = installation.init_pool()
    assert "Pool flux already has these settings, with 12 slots" in again.stdout
    assert "fewer" not in again.stderr
    assert sorted(installation.pools()) == ["default_pool", "flux"]


# Within the process, on the database of the tests' own Airflow home


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], dict[str, Any]]]:
    """Return the pools by name; those of a test are removed after it."""
    from airflow.models.pool import Pool
    from airflow.utils.db import initdb

    initdb()
    # The command sets this variable. It must not outlive the test.
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    before = {pool.pool for pool in Pool.get_pools()}
    yield lambda: {pool.pool: pool for pool in Pool.get_pools()}
    for pool in Pool.get_pools():
        if pool.pool not in before:
            Pool.delete_pool(pool.pool)


def output_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    main(["init-pool", *arguments])
    return capsys.readouterr().out.strip()


def test_init_pool_creates_a_pool_of_the_requested_name_and_size(
    pools: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    output = output_of(capsys, "--pool", "flux_videos", "--slots", "5")
    assert output == "Pool flux_videos was created with 5 slots (--slots)."
    assert (pools()["flux_videos"].slots, pools()["flux_videos"].include_deferred) == (5, True)
    assert "flux" not in pools()


def test_an_existing_pool_keeps_its_description(
    pools: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from airflow.models.pool import Pool

    Pool.create_or_update_pool("flux", 24, "Ours", include_deferred=False)
    preview = output_of(capsys, "--slots", "24", "--dry-run")
    assert (
        preview
        == "Pool flux would be updated to count deferred tasks, with 24 slots as before (--slots)."
    )
    assert pools()["flux"].include_deferred is False
    assert output_of(capsys, "--slots", "24") == preview.replace("would be", "was")
    assert (pools()["flux"].include_deferred, pools()["flux"].description) == (True, "Ours")


def test_an_unlimited_pool_gets_a_limit(pools: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from airflow.models.pool import Pool

    Pool.create_or_update_pool("flux", -1, "", include_deferred=False)
    main(["init-pool", "--slots", "1"])
    output = capsys.readouterr()
    assert "updated from unlimited to 1 slot, and to count deferred tasks (--slots)." in output.out
    assert "fewer slots than before" in output.err
    assert output_of(capsys, "--slots", "2") == "Pool flux was updated from 1 to 2 slots (--slots)."


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--slots", "0"], "0 slots: a pool needs 1 or more"),
        (["--slots", "-1"], "-1 slots"),
        (["--slots", "1", "--pool", ""], "the name of a pool"),
        (["--slots", "1", "--pool", "x" * 257], "but this one has 257"),
        (["--flux-conn-id", "no_such"], "'no_such' does not exist"),
        (["--flux-conn-id", "odd"], "max_active='many' in connection 'odd'"),
    ],
)
def test_invalid_options_are_refused_and_change_no_pool(
    pools: Any, connect: Any, arguments: list[str], reason: str
) -> None:
    connect("http://127.0.0.1:1", conn_id="odd", max_active="many")
    before = {name: pool.slots for name, pool in pools().items()}
    with pytest.raises(SystemExit, match=f"init-pool: .*{reason}"):
        main(["init-pool", *arguments])
    assert {name: pool.slots for name, pool in pools().items()} == before


def test_the_default_slots_are_max_active_of_the_connection(connect: Any) -> None:
    connect("http://127.0.0.1:1", conn_id="small", max_active=6)
    connect("http://127.0.0.1:1", conn_id="usual")
    assert slots_of_connection("small") == (6, "max_active of the connection small")
    assert slots_of_connection("usual")[0] == 24


def test_two_commands_at_the_same_time_create_one_pool(
    pools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other command commits between the read and the insert."""
    from airflow.models.pool import Pool

    get_pool = Pool.get_pool

    def read_too_early(name: str, **arguments: Any) -> None:
        monkeypatch.setattr(Pool, "get_pool", get_pool)
        assert init_pool(name, 12).before is None
        arguments["session"].add(Pool(pool=name, slots=24, description="", include_deferred=True))

    monkeypatch.setattr(Pool, "get_pool", read_too_early)
    assert init_pool("flux", 24) == PoolChange("flux", 24, before=12, counted_deferred=True)
    assert pools()["flux"].slots == 24


# The page


def test_the_page_explains_each_option_with_its_default() -> None:
    from airflow_provider_flux.cli.commands import COMMANDS

    (command,) = (command for command in COMMANDS if command.name == "init-pool")
    rows = re.findall(r"^\| (.*`--[^|]+) \| ([^|]+) \|", PAGE.read_text(), flags=re.MULTILINE)
    shown = {cell.split("`")[-2]: default.strip("`") for cell, default in rows}
    defaults = {arg.flags[-1]: arg.kwargs.get("default") for arg in command.args}
    assert sorted(shown) == sorted(defaults)
    for flag, default in defaults.items():
        assert shown[flag] == (default or shown[flag]), flag


def shown_dag(name: str) -> Any:
    from tests.support.airflow_names import DagBag

    return DagBag(str(PAGE.parents[1] / "snippets" / f"{name}.py")).dags[f"flux_{name}"]


def test_the_tasks_of_the_page_use_the_pools_that_the_page_creates(
    capsys: pytest.CaptureFixture[str], pools: Any
) -> None:
    text = PAGE.read_text()
    (session,) = (
        code
        for code in re.findall(r"```console\n(.*?)```", text, flags=re.DOTALL)
        if "--slots" in code
    )
    for command, output in re.findall(r"\$ airflow flux (.*)\n(.*)\n", session):
        capsys.readouterr()
        main(shlex.split(command))
        assert capsys.readouterr().out.strip() == output
    dag = shown_dag("share_the_quota")
    limits = {pool.pool: pool.slots for pool in pools().values()}
    assert {task.pool: limits[task.pool] for task in dag.tasks} == {"flux": 19, "flux_videos": 5}
    assert MODELS["flux-3-video"].max_active == limits["flux_videos"]
    assert limits["flux"] + limits["flux_videos"] == FluxSettings.max_active


def test_the_batch_of_the_page_uses_as_many_slots_as_the_pool_counts(
    connect: Any, tmp_path: Path
) -> None:
    task = shown_dag("batch_in_the_pool").get_task("doors").prepare_for_execution()
    task.output_path, task._root = f"{tmp_path}/{{key}}.{{ext}}", f"{tmp_path}/"
    task.requests = task.requests[:18]
    with EmulatorServer(EmulatorConfig(latency=1.0)) as server:
        connect(server.url)
        run_operator(task)
        stats = server.stats()
    assert task.pool == "flux"
    assert stats["submits"] == len(list(tmp_path.glob("door-*.jpeg"))) == 18
    assert 1 < stats["max_active"] <= task.pool_slots
