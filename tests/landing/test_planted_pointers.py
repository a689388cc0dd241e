"""Index entries, sidecars and images that a stranger planted: ``reuse`` and copies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.landing.below_root import is_below
from tests.support.planted import (
    Stranger,
    edit_json,
    jpeg_with_a_zip,
    set_member,
    stranger,
)
from tests.support.task_tries import Task

__all__ = ["stranger"]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

#: URIs of an index entry. ``{lake}`` is the folder of the images; ``outside`` lies beside it.
POINTERS = {
    "another folder": "{lake}/../outside/secret.jpeg",
    "another folder by its absolute path": "{outside}/secret.jpeg",
    "a file:// URI": "file://{outside}/secret.jpeg",
    "percent-encoded dots": "{lake}/%2e%2e/outside/secret.jpeg",
    "a link out of the folder": "{lake}/link/secret.jpeg",
    "another connection": "s3://aws_prod@bucket/secret.jpeg",
    "a web server": "{stranger}/secret.jpeg",
    "a version": "{lake}/old.jpeg?versionId=1",
    "an escape sequence": "{lake}/\x1b[2J.jpeg",
    "the folder itself": "{lake}/",
}


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """The folder of the images, beside another folder, to which a link in it leads."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "link").symlink_to(tmp_path / "outside")
    return tmp_path / "lake"


@pytest.fixture
def reuse(lake: Path) -> Callable[[str], Any]:
    """Return a function that generates an image, or reuses it, under a name."""

    def run(name: str) -> Any:
        path = f"{lake}/{name}.{{ext}}"
        return Task({"prompt": "a fox", "output_path": path, "reuse": "always"}).retry()

    return run


@pytest.mark.parametrize("kind", POINTERS)
def test_an_index_entry_that_leads_out_of_the_folder_is_not_followed(
    kind: str,
    lake: Path,
    reuse: Callable[[str], Any],
    emulator: EmulatorServer,
    stranger: Stranger,
) -> None:
    """Fault 1: a pointer that passed as text led to another folder through a link."""
    image = Path(reuse("old")["image"]["uri"])
    outside = lake.parent / "outside"
    for suffix in ("", ".json"):
        Path(f"{image}{suffix}").rename(outside / f"secret.jpeg{suffix}")
    uri = POINTERS[kind].replace("{lake}", str(lake)).replace("{outside}", str(outside))
    uri = uri.replace("{stranger}", stranger.url)
    (entry,) = lake.glob("_flux/images/*.json")
    entry.write_text(json.dumps({"uri": uri}))
    result = reuse("new")
    assert not result["reused"]
    assert emulator.stats()["submits"] == 2


def test_an_image_with_an_archive_behind_it_is_not_reused(
    lake: Path, reuse: Callable[[str], Any], emulator: EmulatorServer, stranger: Stranger
) -> None:
    """Fault 1: bytes behind the end of an image were copied with it."""
    image = Path(reuse("old")["image"]["uri"])
    image.write_bytes(planted := jpeg_with_a_zip())
    facts = {"sha256": hashlib.sha256(planted).hexdigest(), "bytes": len(planted)}
    for name, value in facts.items():
        edit_json(Path(f"{image}.json"), set_member(f"media.{name}", value))
    result = reuse("new")
    assert not result["reused"]
    assert Path(result["image"]["uri"]).read_bytes() != planted


@pytest.mark.parametrize(
    "cache", ["/etc/passwd", "s3://aws_prod@bucket/x.draft.bin", "file:///etc/../etc/x.draft.bin"]
)
def test_a_draft_cache_in_a_sidecar_is_no_way_to_another_file(
    cache: str,
    lake: Path,
    reuse: Callable[[str], Any],
    emulator: EmulatorServer,
    stranger: Stranger,
) -> None:
    """Fault 1: BFL gets a draft cache unchecked, so a sidecar must not name any other file."""
    image = Path(reuse("old")["image"]["uri"])
    edit_json(Path(f"{image}.json"), set_member("media.draft_cache", cache))
    result = reuse("new")
    assert result["reused"]
    assert cache not in json.dumps(result)
    assert cache not in Path(f"{lake}/new.jpeg.json").read_text()


@pytest.mark.parametrize("where", ["_flux/images/*.json", "old.jpeg.json"])
def test_an_enormous_file_beside_an_image_is_not_read(
    where: str, lake: Path, reuse: Callable[[str], Any], emulator: EmulatorServer
) -> None:
    """Fault 1: a sidecar or an index entry of a gigabyte was read whole."""
    reuse("old")
    (path,) = lake.glob(where)
    with path.open("ab") as file:
        file.truncate(1 << 30)  # a file with a hole takes no room on the disk
    assert not reuse("new")["reused"]
    assert emulator.stats()["submits"] == 2


@pytest.mark.parametrize(
    ("uri", "root", "expected"),
    [
        ("s3://c@b/x/y.jpeg", "s3://c@b/x/", True),
        ("s3://d@b/x/y.jpeg", "s3://c@b/x/", False),
        ("s3://b/x/y.jpeg", "s3://c@b/x/", False),
        ("s3://c@b/xy.jpeg", "s3://c@b/x/", False),
        ("s3://c@b/x//y.jpeg", "s3://c@b/x/", True),
        ("s3://c@b/x/../y.jpeg", "s3://c@b/x/", False),
        ("s3://c@b/x/%2E%2e/y.jpeg", "s3://c@b/x/", False),
        ("s3://c@b/x/%252e%252e/y.jpeg", "s3://c@b/x/", False),
        ("s3://c@b/x/..%2Fy.jpeg", "s3://c@b/x/", False),
        ("s3://c@b/x/a%2Fb%20c.jpeg", "s3://c@b/x/", True),
        ("S3://c@b/x/y.jpeg", "s3://c@b/x/", False),
        ("file:///x/y.jpeg", "/x/", True),
        ("/x/y.jpeg", "file:///x/", True),
        ("file:///x/y.jpeg", "s3://c@b/x/", False),
        ("file://host/x/y.jpeg", "/x/", False),
        ("/x/y.jpeg", "", False),
        ("/x", "/x/", False),
    ],
)
def test_a_uri_is_below_a_folder_only_in_the_same_store_by_the_same_connection(
    uri: str, root: str, expected: bool
) -> None:
    """Fault 1: the text of a URI decides, and in a local folder the links, too."""
    assert is_below(uri, root) is expected
