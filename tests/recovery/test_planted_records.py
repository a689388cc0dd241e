"""Records that a stranger planted in the bucket: ``recover`` treats each field as data.

The stranger may write anywhere below the folder of the images, and knows a request of BFL that is
ready. The folder ``dags`` beside it, other connections and other hosts are out of reach.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.cli.commands import main
from airflow_provider_flux.emulator import EmulatorServer
from tests.support.planted import (
    ESCAPES,
    Stranger,
    edit_json,
    jpeg_with_a_zip,
    set_member,
    snapshot,
    stranger,
)
from tests.support.sample_media import make_image
from tests.support.task_tries import Died, Task

__all__ = ["stranger"]

pytestmark = [
    pytest.mark.usefixtures("hurry", "database"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

#: Values of ``target.path`` that lead out of the folder of the images. ``{lake}`` is that folder.
ESCAPING_PATHS = {
    "another folder": "{lake}/../dags/x.{ext}",
    "another folder by its absolute path": "{dags}/x.{ext}",
    "a file:// URI of another folder": "file://{dags}/x.{ext}",
    "a local:// URI of another folder": "local://{dags}/x.{ext}",
    "two steps up in the middle": "{lake}/a/../../dags/x.{ext}",
    "percent-encoded dots": "{lake}/%2e%2e/dags/x.{ext}",
    "a percent-encoded slash": "{lake}/..%2Fdags%2Fx.{ext}",
    "a backslash": "{lake}/..\\dags\\x.{ext}",
    "a link out of the folder": "{lake}/link/x.{ext}",
    "a name that begins like the folder": "{lake}-other/x.{ext}",
    "a template": "{{ conn.slack_default.password }}/x.{ext}",
    "a template below the folder": "{lake}/{{ conn.slack_default.password }}.{ext}",
    "another store by another connection": "s3://aws_prod@bucket/x.{ext}",
    "another store by the credentials of the machine": "s3://bucket/x.{ext}",
    "a web server": "http://{stranger}/x.{ext}",
    "a relative path": "dags/x.{ext}",
    "an unknown placeholder": "{lake}/{secret}.{ext}",
    "an attribute of a placeholder": "{lake}/{key.__class__}.{ext}",
    "nothing": "",
    "an escape sequence": "{dags}/\x1b[2J.{ext}",
}
#: Paths below the folder whose suffix is not the format of the image, and keys that bring one.
WRONG_NAMES = {
    "a Python module": ({"path": "{lake}/x.py"}, "x.py"),
    "a file that Python runs at its start": ({"path": "{lake}/x.pth"}, "x.pth"),
    "a page": ({"path": "{lake}/x.html"}, "x.html"),
    "another format": ({"path": "{lake}/x.png"}, "x.png"),
    "a key with a suffix": ({"path": "{lake}/{key}", "key": "x.py"}, "x.py"),
}
#: Values of any member of a record that are no valid record.
UNREADABLE = {
    "generation.request_id": f"r{ESCAPES}",
    "generation.polling_url": f"https://api.bfl.ai/{ESCAPES}",
    "generation.image": "file:///etc/passwd",
    "generation.video": {"uri": ["x"], "sha256": "y"},
    "generation": [],
    "target": {"path": 7},
    "target.options.if_exists": "destroy",
    "target.options.cache_control": "x\r\nSet-Cookie: y",
    "owner.map_index": "x",
    "phase": f"returned{ESCAPES}",
    "schema_version": 99,
}


@pytest.fixture(scope="module")
def database() -> None:
    """The metadata database of the tests' own Airflow home: no task instance is in it."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """The folder of the images, beside a folder of DAGs, to which a link in it leads."""
    (tmp_path / "lake").mkdir()
    (tmp_path / "dags").mkdir()
    (tmp_path / "lake" / "link").symlink_to(tmp_path / "dags")
    return tmp_path / "lake"


@pytest.fixture
def planted(
    lake: Path, emulator: EmulatorServer, die_at: Callable[[str], None]
) -> Callable[..., Path]:
    """Return a function that plants the record of a lost task, and returns its file."""

    def plant(*edits: Callable[[dict[str, Any]], None], **arguments: Any) -> Path:
        die_at("before poll")
        with pytest.raises(Died):
            Task({"prompt": "a fox", "output_path": f"{lake}/x.{{ext}}", **arguments}).retry()
        (path,) = lake.parent.rglob("*.1.json")
        for edit in edits:
            edit_json(path, edit)
        return path

    return plant


@pytest.fixture
def recover(
    lake: Path, capsys: pytest.CaptureFixture[str], stranger: Stranger
) -> Callable[..., list[dict[str, Any]]]:
    """Return a function that runs the command and returns its rows."""

    def run(*arguments: str, prefix: str | None = None) -> list[dict[str, Any]]:
        capsys.readouterr()
        with suppress(SystemExit):  # for an error in a row
            main(["recover", "-o", "json", "--prefix", prefix or str(lake), *arguments])
        out, err = capsys.readouterr()
        stranger.shown += [out, err]
        return json.loads(out) if out.strip() else []

    return run


Recover = Callable[..., list[dict[str, Any]]]
Plant = Callable[..., Path]


def fill(text: str, lake: Path, stranger: Stranger) -> str:
    """Fill in the folders and the host of a planted text, and leave its placeholders."""
    values = {"lake": lake, "dags": lake.parent / "dags", "stranger": stranger.url[7:]}
    return re.sub(r"\{(lake|dags|stranger)\}", lambda match: str(values[match[1]]), text)


@pytest.mark.parametrize("kind", ESCAPING_PATHS)
@pytest.mark.parametrize("mode", ["--verbose", "--dry-run"])
def test_a_record_lands_nothing_outside_of_its_folder(
    kind: str, mode: str, lake: Path, planted: Plant, recover: Recover, stranger: Stranger
) -> None:
    """Fault 1: ``recover`` wrote to whatever path a record named."""
    planted(set_member("target.path", fill(ESCAPING_PATHS[kind], lake, stranger)))
    before = snapshot(lake.parent)
    (row,) = recover(mode)
    assert row["outcome"] == "error"
    assert "output_path" in row["reason"]
    assert snapshot(lake.parent) == before


@pytest.mark.parametrize("kind", WRONG_NAMES)
def test_a_record_lands_no_image_under_the_suffix_of_something_else(
    kind: str, lake: Path, planted: Plant, recover: Recover, stranger: Stranger
) -> None:
    """Fault 1: an image with code behind it landed as a module or as a page."""
    target, name = WRONG_NAMES[kind]
    planted(
        *(
            set_member(f"target.{member}", fill(value, lake, stranger))
            for member, value in target.items()
        )
    )
    (row,) = recover()
    assert row["outcome"] == "error"
    assert re.search(r"another suffix|ends in \.html", row["reason"])
    assert not (lake / name).exists()


def test_the_image_of_a_record_comes_from_bfl_and_from_no_file(
    tmp_path: Path, lake: Path, planted: Plant, recover: Recover
) -> None:
    """Fault 1: ``recover`` copied the file that ``image.uri`` names, code behind it included."""
    bait = tmp_path / "bait.jpeg"
    bait.write_bytes(jpeg_with_a_zip())
    image = {
        "uri": f"file://{bait}",
        "sha256": hashlib.sha256(bait.read_bytes()).hexdigest(),
        "bytes": 1,
        "width": 1,
        "height": 1,
        "content_type": "image/jpeg",
        "sidecar": None,
    }
    planted(set_member("generation.image", image))
    (row,) = recover()
    assert row["outcome"] == "recovered"
    assert (lake / "x.jpeg").read_bytes() != bait.read_bytes()


@pytest.mark.parametrize("uri", ["s3://aws_prod@bucket/x.jpeg", "http://{stranger}/x.jpeg"])
def test_recover_asks_no_store_for_the_image_of_a_record(
    uri: str, lake: Path, planted: Plant, recover: Recover, stranger: Stranger
) -> None:
    """Fault 1: ``recover`` opened the store of ``image.uri`` by the connection that it names."""
    planted(set_member("generation.image", {"uri": fill(uri, lake, stranger), "sha256": "0" * 64}))
    (row,) = recover()
    assert row["outcome"] == "recovered"


@pytest.mark.parametrize(
    "conn_id", ["slack_default", "aws_prod", "no_such", pytest.param(f"x{ESCAPES}", id="escapes")]
)
def test_a_record_in_a_bucket_chooses_no_connection(
    conn_id: str, lake: Path, planted: Plant, recover: Recover, emulator: EmulatorServer
) -> None:
    """Fault 2: ``recover`` sent the password of the connection in a record to BFL."""
    path = planted(set_member("flux_conn_id", conn_id))
    polls = emulator.stats()["polls"]
    (row,) = recover()
    assert row["outcome"] == "error"
    assert "--flux-conn-id" in row["reason"]
    assert emulator.stats()["polls"] == polls
    assert json.loads(path.read_text())["phase"] == "submitted"


def test_the_command_line_chooses_the_connection_of_a_record(
    planted: Plant, recover: Recover, connect: Any, emulator: EmulatorServer
) -> None:
    """Fault 2: the connection comes from the database or the command line."""
    connect(emulator.url, conn_id="flux_eu")
    planted(set_member("flux_conn_id", "flux_eu"))
    (refused,) = recover("--dry-run")
    (row,) = recover("--flux-conn-id", "flux_eu")
    assert (refused["outcome"], row["outcome"]) == ("error", "recovered")


def test_the_command_line_cannot_choose_a_connection_of_another_type(
    planted: Plant, recover: Recover
) -> None:
    """Fault 2: only connections of type flux are used, also if the user is talked into another."""
    planted(set_member("flux_conn_id", "slack_default"))
    (row,) = recover("--flux-conn-id", "slack_default")
    assert row["outcome"] == "error"
    assert "'slack'" in row["reason"]


def test_a_request_that_another_connection_does_not_know_is_not_given_up(
    planted: Plant, recover: Recover
) -> None:
    """Fault 2: by the wrong connection BFL knows no request, and the record must survive that."""
    path = planted(
        set_member("flux_conn_id", "flux_eu"),
        set_member("generation.request_id", "unknown"),
        set_member("generation.polling_url", None),
    )
    (row,) = recover("--flux-conn-id", "flux_default")
    assert row["outcome"] == "error"
    assert "another connection" in row["reason"]
    assert json.loads(path.read_text())["phase"] == "submitted"


@pytest.mark.parametrize(
    "url", ["http://{stranger}/v1/get_result?id=x", "https://api.bfl.ai.evil.example/x", "x"]
)
def test_the_key_is_not_sent_to_a_polling_url_of_a_record(
    url: str, lake: Path, planted: Plant, recover: Recover, stranger: Stranger
) -> None:
    """Fault 1: a record may name any polling URL, and only trusted hosts get the key."""
    planted(set_member("generation.polling_url", fill(url, lake, stranger)))
    (row,) = recover()
    assert row["outcome"] == "error"
    assert "FluxUntrustedURLError" in row["reason"]


@pytest.mark.parametrize("member", UNREADABLE)
def test_a_record_with_an_impossible_value_is_reported_and_lands_nothing(
    member: str, lake: Path, planted: Plant, recover: Recover
) -> None:
    """Fault 1: a damaged record is one line of the report, and its escape sequences are shown."""
    planted(set_member(member, UNREADABLE[member]))
    assert recover() == []
    assert not list(lake.glob("*.*"))


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("model", f"flux{ESCAPES}"),
        ("owner.dag_id", f"ads{ESCAPES}"),
        ("target.key", f"k{ESCAPES}"),
        ("opened_at", ESCAPES),
        ("estimated_cost", float("nan")),
        ("estimated_cost", -1e300),
    ],
    ids=["model", "DAG", "key", "time", "cost that is no number", "negative cost"],
)
def test_a_field_of_a_record_reaches_the_terminal_escaped(
    member: str, value: Any, planted: Plant, recover: Recover
) -> None:
    """Fault 1: escape sequences in a record are data for the terminal, too."""
    planted(set_member(member, value))
    (row,) = recover("--dry-run")
    assert row["outcome"] == "recoverable"
    assert row["credits"] not in {"nan", "-1e+300"}


def test_a_record_cannot_make_an_image_public(lake: Path, planted: Plant, recover: Recover) -> None:
    """Fault 1: options of the store in a record are checked as those of an operator."""
    planted(set_member("target.options.store_options", {"acl": "public-read"}))
    (row,) = recover()
    assert row["outcome"] == "error"
    assert "store_options" in row["reason"]


def test_a_record_replaces_no_object(lake: Path, planted: Plant, recover: Recover) -> None:
    """Fault 1: whatever ``if_exists`` of a record says, ``recover`` replaces nothing."""
    planted(set_member("target.options.if_exists", "overwrite"))
    (lake / "x.jpeg").write_bytes(there := make_image("jpeg"))
    (row,) = recover()
    assert row["outcome"] == "recovered"
    assert (lake / "x.jpeg").read_bytes() == there


def test_a_record_that_was_copied_to_another_folder_lands_there_only_by_its_option(
    lake: Path, planted: Plant, recover: Recover
) -> None:
    """Fault 1: the folder in which a record is found decides, not the one that it names."""
    planted()
    other = lake.parent / "other"
    other.mkdir()
    shutil.move(lake / "_flux", other / "_flux")
    (refused,) = recover(prefix=str(other))
    assert refused["outcome"] == "error"
    assert not list(lake.glob("*.jpeg"))
    (row,) = recover("--output-path", f"{other}/{{request_id}}.{{ext}}", prefix=str(other))
    assert row["outcome"] == "recovered"
    assert row["uri"].startswith(f"{other}/")


def test_a_ledger_path_elsewhere_needs_the_database_or_the_option(
    lake: Path, planted: Plant, recover: Recover
) -> None:
    """Fault 1: a record in a ``ledger_path`` alone does not say where its image may land."""
    planted(ledger_path=str(lake.parent / "ledger"))
    (refused,) = recover(prefix=str(lake.parent / "ledger"))
    assert refused["outcome"] == "error"
    assert "ledger_path" in refused["reason"]
    assert not list(lake.glob("*.jpeg"))
    (row,) = recover("--output-path", f"{lake}/{{key}}.{{ext}}", prefix=str(lake.parent / "ledger"))
    assert row["uri"] == f"{lake}/hero.jpeg"
