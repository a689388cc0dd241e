"""Records that a stranger planted or changed, against a retry, a clear and the trigger."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.emulator import EmulatorServer
from tests.support.planted import (
    ESCAPES,
    Stranger,
    edit_json,
    jpeg_with_a_zip,
    set_member,
    stranger,
)
from tests.support.run_operator import WAYS, run_trigger
from tests.support.task_tries import Died, Task

__all__ = ["stranger"]

pytestmark = [
    pytest.mark.usefixtures("hurry"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """The folder of the images, beside another folder, to which a link in it leads."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.jpeg").write_bytes(jpeg_with_a_zip())
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "link").symlink_to(tmp_path / "outside")
    return tmp_path / "lake"


def foreign_image(uri: str, lake: Path) -> Edit:
    """Return an edit by which a record says that its image has landed elsewhere."""
    secret = lake.parent / "outside" / "secret.jpeg"
    image = {
        "uri": uri.replace("{outside}", str(secret.parent)).replace("{lake}", str(lake)),
        "sha256": hashlib.sha256(secret.read_bytes()).hexdigest(),
        "bytes": 1,
        "width": 1,
        "height": 1,
        "content_type": "image/jpeg",
        "sidecar": None,
    }

    def edit(record: dict[str, Any]) -> None:
        record["phase"] = "persisted"
        record["generation"]["image"] = image

    return edit


FOREIGN_URIS = [
    "{outside}/secret.jpeg",
    "file://{outside}/secret.jpeg",
    "{lake}/../outside/secret.jpeg",
    "{lake}/link/secret.jpeg",
    "s3://aws_prod@bucket/secret.jpeg",
    "\x1b[2J",
]


@pytest.mark.parametrize("uri", [*FOREIGN_URIS[:-1], pytest.param(FOREIGN_URIS[-1], id="escape")])
@pytest.mark.parametrize("action", ["retry", "clear"])
def test_a_retry_or_clear_returns_no_image_that_a_record_names_elsewhere(
    action: str, uri: str, lake: Path, emulator: EmulatorServer, stranger: Stranger
) -> None:
    """Fault 1: a task copied or returned whatever image a record named."""
    task = Task({"prompt": "a fox", "output_path": f"{lake}/x.{{ext}}"})
    task.retry()
    (path,) = lake.glob("_flux/ledger/**/*.json")
    edit_json(path, foreign_image(uri, lake))
    result = task.clear() if action == "clear" else task.retry()
    assert result["image"]["uri"] == f"{lake}/x.jpeg"
    assert b"__main__.py" not in Path(result["image"]["uri"]).read_bytes()
    assert emulator.stats()["submits"] == 1


@pytest.mark.parametrize("uri", FOREIGN_URIS[:-1])
def test_a_trigger_reports_no_image_that_a_record_names_elsewhere(
    uri: str, lake: Path, emulator: EmulatorServer, stranger: Stranger
) -> None:
    """Fault 1: a trigger fired the generation of the record, with any image in it."""
    task = Task({"prompt": "a fox", "output_path": f"{lake}/x.{{ext}}", **WAYS["deferred"]})
    _, deferred, _ = task.defer()
    (path,) = lake.glob("_flux/ledger/**/*.json")
    edit_json(path, foreign_image(uri, lake))
    event = asyncio.run(run_trigger(deferred.trigger))
    stranger.shown.append(json.dumps(event))
    assert event["status"] == "landed"
    assert event["generation"]["image"]["uri"] == f"{lake}/x.jpeg"


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("generation.request_id", f"r{ESCAPES}"),
        ("generation.polling_url", f"x{ESCAPES}"),
        ("generation.image", "file:///etc/passwd"),
        ("generation", None),
        ("owner", "root"),
        ("schema_version", 99),
    ],
    ids=["escapes in the id", "escapes in the URL", "image", "none", "owner", "version"],
)
def test_a_retry_with_an_impossible_record_submits_nothing(
    member: str, value: Any, lake: Path, emulator: EmulatorServer, stranger: Stranger
) -> None:
    """Fault 1: an unreadable record is an error of the ledger, and no code fails."""
    task = Task({"prompt": "a fox", "output_path": f"{lake}/x.{{ext}}"})
    task.retry()
    (path,) = lake.glob("_flux/ledger/**/*.json")
    edit_json(path, set_member(member, value))
    with pytest.raises((AirflowFailException, FluxError), match="record"):
        task.retry()
    assert emulator.stats()["submits"] == 1


def test_the_key_is_not_sent_to_a_polling_url_of_a_planted_record(
    lake: Path, emulator: EmulatorServer, die_at: Callable[[str], None], stranger: Stranger
) -> None:
    """Fault 1: a record may name any polling URL, and only trusted hosts get the key."""
    task = Task({"prompt": "a fox", "output_path": f"{lake}/x.{{ext}}"})
    die_at("before poll")
    with pytest.raises(Died):
        task.retry()
    (path,) = lake.glob("_flux/ledger/**/*.json")
    url = f"{stranger.url}/v1/get_result?id=x"
    edit_json(path, set_member("generation.polling_url", url))
    with pytest.raises((AirflowFailException, FluxError), match="polling URL"):
        task.retry()
    assert emulator.stats()["submits"] == 1


def test_a_planted_record_chooses_no_connection_for_a_retry(
    lake: Path, emulator: EmulatorServer, die_at: Callable[[str], None], stranger: Stranger
) -> None:
    """Fault 2: the task uses its own connection, whatever its record says."""
    task = Task({"prompt": "a fox", "output_path": f"{lake}/x.{{ext}}"})
    die_at("before poll")
    with pytest.raises(Died):
        task.retry()
    (path,) = lake.glob("_flux/ledger/**/*.json")
    edit_json(path, set_member("flux_conn_id", "slack_default"))
    edit_json(path, set_member("target.path", f"{lake.parent}/outside/x.py"))
    assert task.retry()["image"]["uri"] == f"{lake}/x.jpeg"


def test_an_enormous_record_is_an_error_and_is_not_read(
    lake: Path, emulator: EmulatorServer
) -> None:
    """Fault 1: a record of a gigabyte was read whole."""
    task = Task({"prompt": "a fox", "output_path": f"{lake}/x.{{ext}}"})
    task.retry()
    (path,) = lake.glob("_flux/ledger/**/*.json")
    with path.open("ab") as file:
        file.truncate(1 << 30)  # a file with a hole takes no room on the disk
    with pytest.raises((AirflowFailException, FluxError), match="more than 2097152 bytes"):
        task.retry()
    assert emulator.stats()["submits"] == 1


def test_bytes_that_follow_an_image_of_bfl_do_not_lose_it(
    lake: Path, emulator: EmulatorServer
) -> None:
    """Fault 1: an image that is where it belongs is returned, whatever follows its end."""
    task = Task({"prompt": "a fox", "output_path": f"{lake}/x.{{ext}}"})
    image = Path(task.retry()["image"]["uri"])
    image.write_bytes(data := jpeg_with_a_zip())
    digest = hashlib.sha256(data).hexdigest()
    (path,) = lake.glob("_flux/ledger/**/*.json")
    edit_json(path, set_member("generation.image.sha256", digest))
    assert task.retry()["image"]["sha256"] == digest
    moved = task.retry(output_path=f"{lake}/y.{{ext}}")
    assert b"__main__.py" not in Path(moved["image"]["uri"]).read_bytes()
    assert emulator.stats()["submits"] == 1
