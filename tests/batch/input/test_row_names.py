"""The names of all rows of a batch, checked before the first submit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.emulator import EmulatorServer
from tests.support.batch_tries import batch, quick

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")


def rows_of(*keys: str, **values: Any) -> list[dict[str, Any]]:
    return [{"prompt": f"a fox {n}", "key": key, **values} for n, key in enumerate(keys)]


@pytest.mark.parametrize(
    ("rows", "name", "problem"),
    [
        (rows_of("a", "a.json"), "{key}", "its image would replace the sidecar of index 0"),
        (rows_of("a.json", "a"), "{key}", "its sidecar would replace the image of index 0"),
        (rows_of("b", "1a", *"cdefghijk", "a"), "{index}{key}.{ext}", "would replace the image of"),
        (rows_of("manifest-hero.jsonl"), "{key}", "which the manifest or the ledger needs"),
        (rows_of("_flux"), "{key}", "_flux is the folder of the ledger"),
        (rows_of("_FLUX"), "{key}/hero.{ext}", "_flux is the folder of the ledger"),
        (rows_of("é" * 64), "{key}{key}.{ext}", "of 261 bytes. The limit of a local disk is 255"),
        (
            [{"prompt": f"a fox {n}", "fallback_prompt": "a hare"} for n in range(2)],
            "{fingerprint}.{ext}",
            "is the same request as index 0",
        ),
    ],
)
def test_rows_whose_names_collide_are_refused_before_anything_is_paid(
    emulator: EmulatorServer, tmp_path: Path, rows: list[Any], name: str, problem: str
) -> None:
    """Fault 14: 4 images were paid, and 2 files were left."""
    message = batch(tmp_path, rows, output_path=f"{tmp_path}/out/{name}").fail(AirflowFailException)
    assert problem in message
    assert emulator.stats()["submits"] == 0


def test_long_keys_in_any_script_land_under_names_of_their_own(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    """Fault 15: 128 Chinese characters are 384 bytes, more than a file name may have."""
    keys = ["漢" * 200 + end for end in "ab"] + ["ที่" * 90, "x" * 300, "😀" * 90]
    task = batch(tmp_path, rows_of(*keys), output_path=f"{tmp_path}/out/{{key}}.{{ext}}")
    assert task.retry()["landed"] == 5
    uris = {row["uri"] for row in task.manifest()}
    assert len(uris) == 5
    assert all(Path(uri).is_file() and Path(f"{uri}.json").is_file() for uri in uris)


def test_keys_without_collisions_land_also_without_a_suffix(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    """Fault 14: the check refuses no names that differ."""
    task = batch(tmp_path, rows_of("a", "b.v2", "c"), output_path=f"{tmp_path}/out/{{key}}")
    assert task.retry()["landed"] == 3
