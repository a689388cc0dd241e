"""Tests of the commands within the process: output, exit codes, and what BFL is sent."""

from __future__ import annotations

import json
import re
import shlex
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from airflow.utils import yaml

from airflow_provider_flux.cli import options
from airflow_provider_flux.cli.commands import COMMANDS
from airflow_provider_flux.cli.exit_codes import exit_code_of
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.testing.dag_run import run_dag
from tests.support.task_tries import Died

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
Command = Callable[..., Any]
SMALL = ("--defaults", '{"width": 256, "height": 256}')


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A file of three rows of two models."""
    path = tmp_path / "rows.csv"
    path.write_text("key,prompt,model\na,fox,\nb,bear,flux-2-pro\nc,[red] owl,\n")
    return path


def image_arguments(folder: Path, prompt: str = "fox") -> list[str]:
    size = ["--width", "256", "--height", "256"]
    return ["generate", prompt, *size, "--output-path", f"{folder}/{{key}}.{{ext}}"]


def batch_arguments(rows: Path, folder: Path) -> list[str]:
    return ["batch", str(rows), "--output-path", f"{folder}/{{key}}.{{ext}}", *SMALL]


# Wrong options


@pytest.mark.parametrize("value", ["nan", "-1", "inf", "many"])
def test_a_limit_that_limits_nothing_is_refused_before_the_submit(
    command: Command, emulator: EmulatorServer, tmp_path: Path, rows: Path, value: str
) -> None:
    for arguments in (image_arguments(tmp_path), batch_arguments(rows, tmp_path)):
        ended = command(*arguments, "--yes", f"--max-cost={value}")
        assert (ended.code, "--max-cost" in ended.err) == (2, True)
    assert emulator.submits() == 0
    assert command("doctor", f"--timeout={value}").code == 2


def test_a_file_that_does_not_exist_is_a_wrong_argument(
    command: Command, emulator: EmulatorServer, tmp_path: Path
) -> None:
    missing = tmp_path / "no.csv"
    for arguments in (["estimate", str(missing)], batch_arguments(missing, tmp_path)):
        ended = command(*arguments)
        assert (ended.code, f"{missing} does not exist" in ended.err) == (2, True)


# Formats


def parse(text: str, output: str) -> list[dict[str, Any]]:
    """Read what a command printed, as the program of a user does."""
    if output in {"json", "yaml"}:
        return json.loads(text) if output == "json" else yaml.safe_load(text)
    separator = r"\s*\|\s*" if output == "table" else r"\s{2,}"
    header, *lines = (line.strip() for line in text.splitlines() if line.strip(" =+"))
    names = re.split(separator, header)
    return [dict(zip(names, re.split(separator, line), strict=True)) for line in lines]


@pytest.mark.parametrize("output", ["table", "json", "yaml", "plain"])
def test_the_balance_is_printed_in_each_format(
    output: str, emulator: EmulatorServer, command: Command
) -> None:
    ended = command("credits", "-o", output)
    assert ended.code == 0
    (row,) = parse(ended.out, output)
    assert sorted(row) == ["connection", "credits", "host", "usd"]
    assert (float(row["credits"]), float(row["usd"])) == (1000, 10)
    assert row["host"] == emulator.url


@pytest.mark.parametrize("output", ["table", "json", "yaml", "plain"])
def test_the_models_are_printed_in_each_format_without_a_key(output: str, command: Command) -> None:
    ended = command("models", "-o", output)
    assert ended.code == 0
    for name in known_models():
        assert name in ended.out
    if output in {"json", "yaml"}:
        models = {row["model"]: row for row in parse(ended.out, output)}
        assert models["flux-pro-1.1"]["max_active"] == 24
        assert models["flux-pro-1.1"]["credits"] == "4"


@pytest.mark.parametrize("output", ["table", "json", "yaml", "plain"])
def test_a_file_is_priced_by_model_without_a_key(output: str, rows: Path, command: Command) -> None:
    ended = command("estimate", str(rows), "-o", output)
    assert ended.code == 0
    costs = {row["model"]: row for row in parse(ended.out, output)}
    assert float(costs["flux-pro-1.1"]["credits"]) == 8
    assert float(costs["flux-2-pro"]["credits"]) == 3
    assert (int(costs["all"]["rows"]), float(costs["all"]["usd"])) == (3, 0.11)


def test_a_row_that_is_not_valid_is_named_and_gives_exit_code_1(
    tmp_path: Path, command: Command
) -> None:
    path = tmp_path / "rows.jsonl"
    lines = [{"prompt": "fox"}, {"prompt": "owl", "key": "a\x1b[2J", "widht": 3}]
    path.write_text("\n".join(map(json.dumps, lines)))
    ended = command("estimate", str(path), "-o", "json")
    assert ended.code == 1
    assert [row["invalid"] for row in json.loads(ended.out)] == [1, 1]
    assert "widht" in ended.err


def test_a_batch_prints_its_summary_in_each_format(
    rows: Path, tmp_path: Path, emulator: EmulatorServer, command: Command
) -> None:
    arguments = batch_arguments(rows, tmp_path / "out")
    first = command(*arguments, "--yes", "-o", "json")
    assert first.code == 0, first.err
    (summary,) = json.loads(first.out)
    assert (summary["rows"], summary["landed"], summary["credits"]) == (3, 3, 11)
    assert "3 of 3 rows are submitted, expected to cost 11 credits ($0.11)" in first.err
    for output in ("table", "yaml", "plain"):
        again = command(*arguments, "-o", output)  # nothing to pay, so nobody is asked
        assert again.code == 0
        assert "No row has to be submitted" in again.err
        found = parse(again.out, output)
        figures = found[0] if output == "yaml" else {row["figure"]: row["value"] for row in found}
        assert int(figures["landed"]) == 3
    assert emulator.stats()["submits"] == 3


# Money


def test_the_same_command_lands_the_same_image_and_pays_once(
    tmp_path: Path, emulator: EmulatorServer, command: Command
) -> None:
    first = command(*image_arguments(tmp_path), "--yes", "-o", "json")
    assert first.code == 0, first.err
    assert "1 request to flux-pro-1.1: 4 credits ($0.04), estimated." in first.err
    (image,) = json.loads(first.out)
    assert Path(image["uri"]).is_file()
    assert (image["credits"], image["usd"]) == (4, 0.04)

    again = command(*image_arguments(tmp_path), "-o", "json")
    assert again.code == 0
    assert json.loads(again.out) == [image]
    assert "Nothing was submitted" in again.err
    assert emulator.stats()["submits"] == 1

    command(*image_arguments(tmp_path, "owl"), "--yes")
    command(*image_arguments(tmp_path), "--yes", "--run-id", "second")
    assert emulator.stats()["submits"] == 3
    assert command(*image_arguments(tmp_path)).code == 0
    assert emulator.stats()["submits"] == 3


def test_a_batch_submits_only_the_row_that_changed(
    rows: Path, tmp_path: Path, emulator: EmulatorServer, command: Command
) -> None:
    arguments = batch_arguments(rows, tmp_path / "out")
    assert command(*arguments, "--yes").code == 0
    rows.write_text(rows.read_text().replace("bear", "wolf"))
    ended = command(*arguments, "--yes")
    assert ended.code == 0
    assert "1 of 3 rows are submitted" in ended.err
    assert emulator.stats()["submits"] == 4


@pytest.mark.parametrize(
    ("options_", "reason"),
    [
        ([], "Nobody confirmed the cost. Nothing was submitted. Add --yes."),
        (["--yes", "--max-cost", "2"], "Nothing was submitted"),
    ],
)
@pytest.mark.parametrize("name", ["generate", "batch"])
def test_nothing_is_submitted_without_consent_to_the_cost(
    name: str,
    options_: list[str],
    reason: str,
    rows: Path,
    tmp_path: Path,
    emulator: EmulatorServer,
    command: Command,
) -> None:
    arguments = {"generate": image_arguments(tmp_path), "batch": batch_arguments(rows, tmp_path)}
    ended = command(*arguments[name], *options_)
    assert ended.code == 3
    assert reason in ended.err
    assert emulator.stats()["submits"] == 0


@pytest.mark.parametrize(("answer", "submits"), [("y\n", 1), ("YES\n", 1), ("n\n", 0), ("", 0)])
def test_the_user_is_asked_on_a_terminal(
    answer: str,
    submits: int,
    tmp_path: Path,
    emulator: EmulatorServer,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import io
    import sys

    stdin = io.StringIO(answer)
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", stdin)
    ended = command(*image_arguments(tmp_path))
    assert ended.code == (0 if submits else 3)
    assert "Submit? [y/N]" in ended.err
    assert emulator.stats()["submits"] == submits


# Renditions

RENDITIONS = [
    ([], ["thumb"]),
    (["--renditions", "{}"], []),
    (["--renditions", '{"small": {"width": 9}, "thumb": {"width": 32}}'], ["small", "thumb"]),
]


@pytest.mark.parametrize(("options_", "names"), RENDITIONS, ids=["default", "none", "two"])
def test_generate_writes_the_renditions_of_its_option(
    options_: list[str],
    names: list[str],
    tmp_path: Path,
    emulator: EmulatorServer,
    command: Command,
) -> None:
    ended = command(*image_arguments(tmp_path), "--yes", "-o", "json", *options_)
    assert ended.code == 0, ended.err
    (image,) = json.loads(ended.out)
    listed = json.loads(Path(f"{image['uri']}.json").read_text())["media"]["renditions"]
    assert list(listed) == names
    assert all(Path(item["uri"]).is_file() for item in listed.values())


@pytest.mark.parametrize(("options_", "names"), RENDITIONS, ids=["default", "none", "two"])
def test_batch_writes_the_renditions_of_its_option_for_each_row(
    options_: list[str],
    names: list[str],
    rows: Path,
    tmp_path: Path,
    emulator: EmulatorServer,
    command: Command,
) -> None:
    folder = tmp_path / "out"
    ended = command(*batch_arguments(rows, folder), "--yes", *options_)
    assert ended.code == 0, ended.err
    (manifest,) = folder.glob("manifest-*.jsonl")
    for line in manifest.read_text().splitlines():
        row = json.loads(line)
        assert sorted(row["renditions"] or {}) == sorted(names)
        assert all(Path(uri).is_file() for uri in (row["renditions"] or {}).values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("thumb", "--renditions"),
        ("[]", "renditions"),
        ('{"thumb": {}}', "thumb"),
        ('{"thumb": {"width": 99999}}', "8192"),
        ('{"thumb": {"width": 9, "path": "../x.{ext}"}}', "path"),
    ],
)
@pytest.mark.parametrize("name", ["generate", "batch"])
def test_wrong_renditions_are_refused_before_the_submit(
    name: str,
    text: str,
    message: str,
    rows: Path,
    tmp_path: Path,
    emulator: EmulatorServer,
    command: Command,
) -> None:
    arguments = {"generate": image_arguments(tmp_path), "batch": batch_arguments(rows, tmp_path)}
    ended = command(*arguments[name], "--yes", "--renditions", text)
    assert (ended.code, message in ended.err) == (2, True), ended.err
    assert emulator.stats()["submits"] == 0


# Exit codes


def test_options_files_and_connections_that_are_wrong_give_exit_code_2(
    rows: Path, tmp_path: Path, emulator: EmulatorServer, command: Command
) -> None:
    for arguments in (
        ["credits", "--flux-conn-id", "no_such"],
        ["estimate", str(rows), "--columns", "[1]"],
        ["estimate", str(rows), "--model", "no-such-model"],
        [*batch_arguments(rows, tmp_path / "{{ ds }}"), "--yes"],
        [*image_arguments(tmp_path), "--output-format", "gif", "--yes"],
        [*image_arguments(tmp_path), "--as", "d", "t", "r", "--run-id", "x", "--yes"],
    ):
        assert command(*arguments).code == 2, arguments
    assert emulator.stats()["submits"] == 0


def test_an_image_that_is_moderated_gives_exit_code_1(
    tmp_path: Path, emulator: EmulatorServer, command: Command
) -> None:
    ended = command(*image_arguments(tmp_path, "fox [[fault:moderated]]"), "--yes")
    assert ended.code == 1
    assert "BFL does not charge for it" in ended.err


def test_a_batch_with_a_failed_row_gives_exit_code_1_and_its_summary(
    tmp_path: Path, emulator: EmulatorServer, command: Command
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("prompt\nfox\nowl [[fault:failed]]\n")
    ended = command(*batch_arguments(path, tmp_path / "out"), "--yes", "-o", "json")
    assert ended.code == 1
    assert (json.loads(ended.out)[0]["landed"], json.loads(ended.out)[0]["failed"]) == (1, 1)
    assert "1 of 2 rows have no image" in ended.err
    relaxed = [*batch_arguments(path, tmp_path / "out"), "--yes", "--max-failed", "50%"]
    assert command(*relaxed).code == 0


def test_a_service_that_does_not_answer_gives_exit_code_4(connect: Any, command: Command) -> None:
    connect("http://127.0.0.1:1")
    assert command("credits").code == 4


def test_an_error_of_another_package_counts_as_incomplete() -> None:
    assert exit_code_of(Died()) == 1


# Texts from outside


class _HostileService(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"detail": "\x1b]0;title\x07 x-key: bfl_canary_key_0123456789"}).encode()
        self.send_response(403)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def test_no_escape_sequence_and_no_key_of_an_answer_is_printed(
    connect: Any, command: Command
) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _HostileService)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        connect(f"http://127.0.0.1:{server.server_port}")
        assert command("credits").code == 2
        assert command("doctor", "--timeout", "10").code == 1
    finally:
        server.shutdown()
        server.server_close()


# A command does not disturb a task


def test_a_command_is_refused_while_the_task_of_its_ids_runs(
    tmp_path: Path,
    emulator: EmulatorServer,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from airflow_provider_flux.recovery import metadata_db

    monkeypatch.setattr(metadata_db, "has_active_task", lambda owner: owner.task_id == "hero")
    arguments = [*image_arguments(tmp_path), "--yes", "--as", "ads"]
    refused = command(*arguments, "hero", "run")
    assert refused.code == 2
    assert "ads/hero of the run run runs at this moment" in refused.err
    assert command(*arguments, "other", "run").code == 0
    assert emulator.stats()["submits"] == 1


@pytest.mark.parametrize("name", ["generate", "batch"])
def test_a_command_with_another_ledger_than_the_task_pays_nothing(
    name: str,
    rows: Path,
    tmp_path: Path,
    emulator: EmulatorServer,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The ``output_path`` of the task has a template, so its ledger is in a folder above."""
    from airflow_provider_flux.recovery import metadata_db

    folder = f"{tmp_path}/_flux/ledger/"
    monkeypatch.setattr(metadata_db, "ledger_folders_of_task", lambda owner: {folder})
    day = tmp_path / "2026-11-29"
    arguments = {"generate": image_arguments(day), "batch": batch_arguments(rows, day)}[name]
    arguments = [*arguments, "--as", "ads", "hero", "run", "--yes"]
    refused = command(*arguments)
    assert refused.code == 2
    assert f"Add --ledger-path {folder}" in refused.err
    assert emulator.stats()["submits"] == 0
    assert command(*arguments, "--ledger-path", folder).code == 0


# The page


def test_the_page_names_each_command_and_each_option() -> None:
    text = PAGE.read_text()
    for entry in COMMANDS:
        assert f"airflow flux {entry.name}" in text
    for name in ("CREDITS", "ESTIMATE", "GENERATE", "BATCH", "DOCTOR"):
        for flag in getattr(options, name):
            assert f"`{flag}" in text or flag == "file" or flag == "prompt", flag


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def test_the_tour_of_the_page_prints_what_the_page_shows(
    tmp_path: Path,
    emulator_process: EmulatorServer,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emulator_process.reset()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BFL_API_KEY", "bfl_emulator")
    monkeypatch.setenv("BFL_API_BASE", emulator_process.url)
    rows_file = next(text for text in blocks("text") if text.startswith("key,prompt"))
    (tmp_path / "rows.csv").write_text(rows_file)
    (tour,) = blocks("console")
    steps = [step.splitlines() for step in tour.split("$ airflow flux ")[1:]]
    assert len(steps) == 6
    for line, *shown in steps:
        ended = command(*shlex.split(line))
        assert ended.code == 0, (line, ended.err)
        printed = f"{ended.out}{ended.err}".replace(emulator_process.url, "http://127.0.0.1:8484")
        lines = [text.rstrip() for text in printed.splitlines()]
        assert [text for text in shown if text not in lines] == [], line
    assert emulator_process.stats()["submits"] == 4


def test_a_dag_of_the_page_goes_on_with_the_command_of_the_page(
    tmp_path: Path, emulator: EmulatorServer, command: Command
) -> None:
    """The run of the page is started by its name, ``dag.test()`` chooses the name itself."""
    source = (PAGE.parent / "snippets" / "laptop_batch.py").read_text()
    line = next(text for text in blocks("bash") if "--as doors" in text).splitlines()[0]
    (tmp_path / "rows.csv").write_text("key,prompt\na,fox\nb,bear [[fault:failed]]\n")
    run_id = "manual__2026-11-29T00:00:00+00:00"
    arguments = shlex.split(line.replace("/tmp/flux", str(tmp_path)).replace("laptop-1", run_id))
    assert command(*arguments[2:]).code == 1
    assert emulator.stats()["submits"] == 2

    (tmp_path / "rows.csv").write_text("key,prompt\na,fox\nb,bear\n")
    from tests.support.airflow_names import DagBag

    file = tmp_path / "laptop_batch.py"
    file.write_text(source.replace("/tmp/flux", str(tmp_path)))
    run = run_dag(DagBag(str(file)).dags["doors"], run_after=datetime(2026, 11, 29, tzinfo=UTC))
    assert (run.run_id, str(run.state)) == (run_id, "success")
    assert emulator.stats()["submits"] == 3
    assert len(list((tmp_path / "doors").glob("*.jpeg"))) == 2

    # Airflow's database now knows the folder of the ledger.
    other = [text.replace("/doors/", "/doors/2026-11-29/") for text in arguments[2:]]
    refused = command(*other)
    assert refused.code == 2
    assert f"Add --ledger-path {tmp_path}/doors/_flux/ledger/" in refused.err
    assert emulator.stats()["submits"] == 3


def test_the_emulator_of_the_command_has_the_defaults_of_its_configuration() -> None:
    from airflow_provider_flux.emulator.options import OPTIONS

    defaults = EmulatorConfig()
    for flag, settings in OPTIONS.items():
        name = settings.get("dest", flag.removeprefix("--").replace("-", "_"))
        if settings.get("default") not in (None, "", []) and name != "port":
            assert settings["default"] == getattr(defaults, name), flag
