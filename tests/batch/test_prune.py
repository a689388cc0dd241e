"""Images of rows that are gone: what is deleted, and what never is."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.batch.prune import max_prune_share
from airflow_provider_flux.bfl.errors import (
    FluxBatchError,
    FluxConfigurationError,
    FluxRequestError,
)
from airflow_provider_flux.emulator import EmulatorServer
from tests.support.batch_tries import batch, quick
from tests.support.nightly import NightlyBatch, files_in, nightly, products

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")
REST = products("b", "c", "d")


@pytest.fixture
def task(emulator: EmulatorServer, tmp_path: Path) -> NightlyBatch:
    """A batch whose first night has made four images, and that deletes those of gone rows."""
    made = nightly(tmp_path, products("a", "b", "c", "d"), prune="delete")
    made.next_night()
    return made


def test_the_image_of_a_gone_row_is_deleted_with_all_files_beside_it(
    task: NightlyBatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = files_in(task.folder)
    with caplog.at_level(logging.INFO):
        summary = task.next_night(requests=REST)
    assert (summary["gone"], summary["pruned"], summary["reused"]) == (1, 1, 3)
    deleted = before - files_in(task.folder)
    assert {name for name in deleted if "_flux" not in name} == {
        name for name in before if name.startswith(("a.", "a/")) or "/a." in name
    }
    assert any(name.startswith("_flux/images/") for name in deleted)
    assert f"Deleted {task.folder}/a.jpeg with the files beside it: the row 'a' is gone" in (
        caplog.text
    )
    # The writer of a table learns from the manifest of this run that the image is gone.
    assert task.outcomes() == ["reused"] * 3 + ["gone"]
    row = task.manifest()[-1]
    assert (row["key"], row["uri"], row["sidecar"], row["thumb"]) == ("a", None, None, None)
    assert row["reason"].endswith("Its image was deleted.")
    assert task.next_night()["gone"] == 0
    assert task.outcomes() == ["reused"] * 3


def test_a_gone_image_is_only_reported_by_default(task: NightlyBatch) -> None:
    before = files_in(task.folder)
    summary = task.next_night(requests=REST, prune="report")
    assert (summary["gone"], summary["pruned"]) == (1, 0)
    assert files_in(task.folder) == before


def test_an_input_without_rows_deletes_nothing(
    task: NightlyBatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = files_in(task.folder)
    assert task.next_night(requests=[])["pruned"] == 0
    assert files_in(task.folder) == before
    assert "a query that returned nothing must not delete a catalogue" in caplog.text.lower()
    assert task.outcomes() == ["gone"] * 4


def test_most_of_the_images_are_deleted_only_if_the_option_allows_it(
    task: NightlyBatch, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert task.next_night(requests=products("d"))["pruned"] == 0
    assert "3 of 4 images (75%) belong to rows that are gone" in caplog.text
    assert "AIRFLOW__FLUX__MAX_PRUNE_SHARE=1" in caplog.text
    monkeypatch.setenv("AIRFLOW__FLUX__MAX_PRUNE_SHARE", "1")
    assert task.next_night()["pruned"] == 3


def test_a_night_in_which_rows_fail_deletes_nothing(task: NightlyBatch) -> None:
    rows = [*REST, {"key": "e", "prompt": "owl [[fault:error]]"}]
    with pytest.raises(FluxBatchError):
        task.next_night(requests=rows)
    assert (task.folder / "a.jpeg").exists()


def test_a_night_that_is_trimmed_deletes_nothing(
    task: NightlyBatch, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [*REST, *products("e")]
    assert task.next_night(requests=rows, max_cost=1, on_budget="trim")["pruned"] == 0
    assert "not all rows were tried" in caplog.text


def test_a_batch_without_reuse_deletes_gone_images_as_well(task: NightlyBatch) -> None:
    summary = task.next_night(requests=REST, reuse="never")
    assert (summary["landed"], summary["pruned"]) == (3, 1)


def _sidecar(task: NightlyBatch, change: Callable[[dict[str, Any]], object]) -> None:
    file = task.folder / "a.jpeg.json"
    sidecar = json.loads(file.read_text())
    change(sidecar)
    file.write_text(json.dumps(sidecar))


def _manifest(task: NightlyBatch, **changes: Any) -> None:
    file = task.folder / "manifest-hero.jsonl"
    rows = task.manifest()
    rows[0] |= changes
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


CASES: dict[str, tuple[Callable[[NightlyBatch], object], str]] = {
    "another task": (
        lambda task: _sidecar(task, lambda sidecar: sidecar["run"].update(task_id="other")),
        "names another task, ads.other",
    ),
    "another dag": (
        lambda task: _sidecar(task, lambda sidecar: sidecar["run"].update(dag_id="other")),
        "names another task, other.hero",
    ),
    "no sidecar": (lambda task: (task.folder / "a.jpeg.json").unlink(), "no sidecar"),
    "other bytes": (
        lambda task: (task.folder / "a.jpeg").write_bytes((task.folder / "b.jpeg").read_bytes()),
        "its bytes differ",
    ),
    "no image": (lambda task: (task.folder / "a.jpeg").write_text("notes"), "not a whole image"),
    "other hash": (lambda task: _manifest(task, sha256="0" * 64), "its bytes differ"),
    "of a row": (
        lambda task: _manifest(task, uri=f"{task.folder}/b.jpeg"),
        "a row of the input has the same image",
    ),
    "alias": (
        lambda task: _manifest(task, uri=f"{task.folder}//b.jpeg"),
        "may be another name of an image that is in use",
    ),
    "a planted line": (
        lambda task: _sidecar(
            task, lambda sidecar: sidecar["run"].update(task_id="x\nINFO - all is paid")
        ),
        "names another task, ads.x INFO - all is paid",
    ),
    "rejected": (
        lambda task: _sidecar(
            task, lambda sidecar: sidecar.update(rejection={"check": "x", "reason": "x"})
        ),
        "a check rejected it, and such images are kept",
    ),
    "other key": (
        lambda task: _manifest(task, key="z"),
        "gives the image of its key another name",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_image_that_is_not_proven_to_be_that_of_the_row_is_kept(
    task: NightlyBatch, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    spoil, reason = CASES[case]
    spoil(task)
    images = {file.name for file in task.folder.glob("*.jpeg")}
    summary = task.next_night(requests=REST)
    assert (summary["gone"], summary["pruned"]) == (1, 0)
    assert {file.name for file in task.folder.glob("*.jpeg")} == images
    assert "is not deleted" in caplog.text
    assert reason in caplog.text
    assert task.outcomes()[-1] == "gone"


def test_a_link_to_an_image_that_is_in_use_is_kept(
    task: NightlyBatch, caplog: pytest.LogCaptureFixture
) -> None:
    (task.folder / "link").symlink_to(task.folder)
    _manifest(task, uri=f"{task.folder}/link/b.jpeg", key="b2")
    assert task.next_night(requests=REST)["pruned"] == 0
    assert (task.folder / "b.jpeg").exists()


def test_a_rendition_that_the_sidecar_does_not_describe_is_kept(task: NightlyBatch) -> None:
    def claim_another(sidecar: dict[str, Any]) -> None:
        for rendition in sidecar["media"]["renditions"].values():
            rendition["uri"] = f"{task.folder}/b.jpeg"

    _sidecar(task, claim_another)
    assert task.next_night(requests=REST)["pruned"] == 1
    assert (task.folder / "b.jpeg").exists()


def test_a_rendition_that_is_an_image_of_its_own_is_kept(
    task: NightlyBatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = task.folder / "other\nINFO - paid.jpeg"
    for suffix in ("", ".json"):
        data = (task.folder / f"b.jpeg{suffix}").read_bytes()
        other.with_name(f"other.jpeg{suffix}").write_bytes(data)
    digest = hashlib.sha256((task.folder / "b.jpeg").read_bytes()).hexdigest()

    def claim_others(sidecar: dict[str, Any]) -> None:
        facts = {"sha256": digest, "bytes": 1, "width": 1, "height": 1}
        facts["content_type"] = "image/jpeg"
        sidecar["media"]["renditions"] = {
            "x": {**facts, "uri": f"{task.folder}/other.jpeg"},
            "y": {**facts, "uri": str(other)},
        }

    _sidecar(task, claim_others)
    assert task.next_night(requests=REST)["pruned"] == 1
    assert (task.folder / "other.jpeg").exists()
    assert "\nINFO - paid" not in caplog.text


def test_an_interrupted_deletion_is_repeated(task: NightlyBatch) -> None:
    (task.folder / "a.jpeg").unlink()
    assert task.next_night(requests=REST)["pruned"] == 1
    assert not (task.folder / "a.jpeg.json").exists()


def test_a_deletion_without_sidecars_is_refused_when_the_dag_is_parsed(tmp_path: Path) -> None:
    with pytest.raises(FluxRequestError, match="prune='delete' needs sidecar=True"):
        batch(tmp_path, [], prune="delete", sidecar=False).new_operator()


@pytest.mark.parametrize("share", ["2", "most", "nan"])
def test_a_wrong_share_is_named(share: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__FLUX__MAX_PRUNE_SHARE", share)
    with pytest.raises(FluxConfigurationError, match=r"\[flux\] max_prune_share"):
        max_prune_share()
