"""The example DAGs of the decorators, and the typed one of their page, land their images."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.sdk import DAG
from airflow.utils.db import initdb
from PIL import Image

from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.testing.dag_run import run_dag
from tests.support.airflow_names import DagBag

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def database() -> None:
    """The metadata database, which a DAG run needs."""
    initdb()


def load(file: Path, dag_id: str) -> DAG:
    bag = DagBag(str(file))
    assert bag.import_errors == {}
    return bag.dags[dag_id]


def test_the_example_of_one_image_lands_it_by_its_function(
    emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hurry: None
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_FLUX_OUTPUT", f"file://{tmp_path}")
    run = run_dag(load(ROOT / "example_dags/flux_decorators.py", "flux_decorator"))
    assert run.state == "success"
    with Image.open(tmp_path / "decorators" / run.run_id / "hero.jpeg") as image:
        assert image.size == (1024, 768)
    prompts = emulator.stats()["submits_per_prompt"]
    assert set(prompts) == {"studio photo of a red door, on white"}


def test_the_example_of_a_batch_lands_each_row_that_its_function_yields(
    emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_FLUX_OUTPUT", f"file://{tmp_path}")
    run = run_dag(load(ROOT / "example_dags/flux_decorators.py", "flux_batch_decorator"))
    assert run.state == "success"
    folder = tmp_path / "decorators" / run.run_id
    assert sorted(path.stem for path in folder.glob("*.jpeg")) == ["P-0001", "P-0002", "P-0003"]


def test_the_typed_example_lands_its_image(emulator: EmulatorServer, tmp_path: Path) -> None:
    source = (ROOT / "docs/snippets/typed_decorator.py").read_text()
    file = tmp_path / "typed_decorator.py"
    file.write_text(source.replace("file:///tmp/flux", f"file://{tmp_path}"))
    assert run_dag(load(file, "flux_typed_decorator")).state == "success"
    assert (tmp_path / "decorator" / "typed.jpeg").exists()
