"""Reuse of images whose sidecar, index entry or bytes are missing, damaged or replaced."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from tests.support.answering_proxy import AnsweringProxy
from tests.support.image_task import copy_task, image_task, run_task, task_context
from tests.support.object_stores import S3Store
from tests.support.sample_media import make_image

pytestmark = [
    pytest.mark.usefixtures("hurry"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def dated(folder: Path, day: int, **arguments: Any) -> Any:
    task = image_task(f"{folder}/{day}/hero.{{ext}}", **{"reuse": "always", **arguments})
    task._root = f"{folder}/"
    return task


def files(folder: Path) -> tuple[Path, Path, Path]:
    """Return the image, the sidecar and the index entry that landed on day 1."""
    (entry,) = (folder / "_flux" / "images").iterdir()
    return folder / "1" / "hero.jpeg", folder / "1" / "hero.jpeg.json", entry


def rewrite(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def doing(path: Path) -> None:
        found = json.loads(path.read_text())
        change(found)
        path.write_text(json.dumps(found))

    return doing


def write(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGES: dict[str, tuple[int, Callable[[Path], Any]]] = {
    "image deleted": (0, Path.unlink),
    "image cut": (0, cut),
    "image empty": (0, write(b"")),
    "another image": (0, write(make_image("jpeg"))),
    "no image": (0, write(b"<html>")),
    "sidecar missing": (1, Path.unlink),
    "sidecar corrupt": (1, lambda path: path.write_bytes(path.read_bytes()[:-9])),
    "sidecar empty": (1, write(b"")),
    "sidecar deep": (1, write(b"[" * 100_000)),
    "sidecar newer": (1, rewrite(lambda one: one.update(schema_version=2))),
    "sidecar of another request": (
        1,
        rewrite(lambda one: one["request"].update(fingerprint="0" * 64)),
    ),
    "sidecar without fingerprint": (
        1,
        rewrite(lambda one: one["request"].update(fingerprint=None)),
    ),
    "sidecar of other bytes": (1, rewrite(lambda one: one["media"].update(sha256="0" * 64))),
    "index entry missing": (2, Path.unlink),
    "index entry corrupt": (2, cut),
    "index entry empty": (2, write(b"")),
    "index entry binary": (2, write(b"\xff\xfe\x00")),
    "index entry deep": (2, write(b"[" * 100_000)),
    "index entry list": (2, write(b'["uri"]')),
    "index entry number": (2, write(b'{"uri": 5}')),
    "index entry strange": (
        2,
        lambda path: path.write_text(json.dumps({"uri": f"{path.parents[2]}/\0\n{{x"})),
    ),
    "index entry to another store": (2, write(b'{"uri": "s3://no_such_conn@bucket/x.png"}')),
    "index entry to itself": (2, lambda path: path.write_text(json.dumps({"uri": str(path)}))),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_image_that_differs_from_its_index_entry_or_sidecar_is_not_reused(
    emulator: EmulatorServer, tmp_path: Path, damage: str
) -> None:
    first = run_task(dated(tmp_path, 1))
    which, spoil = DAMAGES[damage]
    spoil(files(tmp_path)[which])
    second = run_task(dated(tmp_path, 2))
    assert (emulator.stats()["submits"], second["reused"]) == (2, False)
    assert second["image"]["sha256"] != first["image"]["sha256"]
    third = run_task(dated(tmp_path, 3))  # and it is found again from then on
    assert (emulator.stats()["submits"], third["image"]["sha256"]) == (2, second["image"]["sha256"])


@pytest.mark.parametrize("way_out", ["{outside}", "{root}/../outside/1/hero.jpeg"])
def test_an_index_entry_that_names_an_image_outside_of_its_folder_is_ignored(
    emulator: EmulatorServer, tmp_path: Path, way_out: str
) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    run_task(dated(outside, 1))
    run_task(dated(inside, 1))
    image, _, entry = files(inside)
    image.unlink()
    there = way_out.format(outside=outside / "1" / "hero.jpeg", root=inside)
    entry.write_text(json.dumps({"uri": there}))
    assert not run_task(dated(inside, 2))["reused"]
    assert emulator.stats()["submits"] == 3


@pytest.fixture
def proxy(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[AnsweringProxy]:
    """Run a proxy before the S3 server, with an Airflow connection; ``proxy.root`` is a folder."""
    store = S3Store(s3)
    store.make_bucket()
    with AnsweringProxy(s3) as made:
        conn_id = f"s3_{uuid4().hex}"
        connection = json.loads(store.connection(made.url))
        connection["extra"]["config_kwargs"] = {"retries": {"max_attempts": 0}}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        made.root = store.root_by(conn_id)
        yield made


@pytest.mark.parametrize("part", ["/hero.jpeg", "/hero.jpeg.json", "/_flux/images/"])
def test_a_store_that_fails_does_not_cause_a_submit(
    emulator: EmulatorServer, proxy: AnsweringProxy, part: str
) -> None:
    """A failure that counted as "no image" would cost a submit each time the store fails."""
    wanted = {"reuse": "always"}
    run_task(image_task(f"{proxy.root}/hero.{{ext}}", **wanted))
    proxy.refuse("GET", 503, "SlowDown", part=part, times=1000)
    with contextlib.suppress(FluxStorageError, AirflowFailException):
        assert run_task(image_task(f"{proxy.root}/hero.{{ext}}", **wanted))["reused"]
    assert emulator.stats()["submits"] == 1


def test_a_store_that_fails_for_a_moment_does_not_fail_the_claim_of_an_image(
    emulator: EmulatorServer, proxy: AnsweringProxy
) -> None:
    proxy.refuse("GET", 500, "InternalError", part=".claim", times=2)
    assert not run_task(image_task(f"{proxy.root}/hero.{{ext}}", reuse="always"))["reused"]
    assert emulator.stats()["submits"] == 1


def test_an_image_that_the_store_forbids_to_read_counts_as_missing(
    emulator: EmulatorServer, proxy: AnsweringProxy
) -> None:
    """S3 answers 403 for a missing object if the role may not list the bucket."""
    proxy.refuse("GET", 403, "AccessDenied", times=1000)
    proxy.refuse("HEAD", 403, "403", times=1000)
    generation = run_task(image_task(f"{proxy.root}/hero.{{ext}}", reuse="always"))
    assert (generation["reused"], generation["image"]["uri"]) == (False, f"{proxy.root}/hero.jpeg")


@pytest.mark.parametrize("if_exists", ["skip", "error"])
def test_if_exists_applies_to_the_target_of_a_reused_image(
    emulator: EmulatorServer, tmp_path: Path, if_exists: Any
) -> None:
    run_task(dated(tmp_path, 1))
    there = run_task(dated(tmp_path, 2, prompt="a hare", reuse="never"))
    task = dated(tmp_path, 2, if_exists=if_exists)
    if if_exists == "skip":
        assert run_task(task)["image"]["uri"] == there["image"]["uri"]
    else:
        with pytest.raises(AirflowFailException, match="FluxExistsError"):
            run_task(task)
    assert Path(there["image"]["uri"]).stat().st_size == there["image"]["bytes"]
    assert emulator.stats()["submits"] == 2


@pytest.mark.parametrize("where", ["same store", "elsewhere"])
@pytest.mark.parametrize("kind", ["landed", "reused", "skipped", "skipped without sidecar"])
def test_a_landing_task_downstream_copies_the_image_without_bfl(
    tmp_path: Path, connect: Any, kind: str, where: str
) -> None:
    """BFL keeps a result for hours; the landed image stays."""
    path = f"{tmp_path}/a/hero.{{ext}}"
    arguments = (
        {"reuse": "always"} if kind == "reused" else {"if_exists": "skip"} if "skip" in kind else {}
    )
    with EmulatorServer(EmulatorConfig(latency=0.05)) as server:
        connect(server.url)
        generation = run_task(image_task(path, sidecar="without" not in kind))
        if kind != "landed":
            generation = run_task(image_task(path, **arguments), "tuesday")
            assert generation["reused"]
    with EmulatorServer(EmulatorConfig(latency=0.05)) as server:
        connect(server.url)
        to = f"{tmp_path}/b/hero.{{ext}}" if where == "elsewhere" else path
        landed = run_task(copy_task(generation, to))
        listed = run_task(copy_task([generation, generation], f"{tmp_path}/c/{{index}}.{{ext}}"))
        assert server.stats()["submits"] == 0
    data = (tmp_path / "a" / "hero.jpeg").read_bytes()
    for one in (landed, *listed):
        assert Path(one["image"]["uri"]).read_bytes() == data


def test_an_image_is_reused_without_a_request_to_bfl(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    run_task(dated(tmp_path, 1))
    before = dict(emulator.stats())
    task = dated(tmp_path, 1)
    task.execute(task_context(task))
    assert dict(emulator.stats()) == before
