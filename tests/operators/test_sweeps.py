"""Batches over tables: prompts from columns, sweeps, stable seeds and columns in names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from tests.support.batch_tries import SMALL, batch, quick

__all__ = ["quick"]

pytestmark = pytest.mark.usefixtures("quick")

PRODUCTS = [
    {"sku": "A-7", "name": "door", "category": "Doors", "price": 19.5},
    {"sku": "B-1", "name": "{key} gate", "category": "Gates & more", "price": None},
]


def operator(**arguments: Any) -> FluxGenerateBatchOperator:
    given = {"requests": [], "output_path": "/x/{key}.{ext}", **arguments}
    return FluxGenerateBatchOperator(task_id="hero", **given)


def test_products_become_pictures_in_folders_of_their_category_once(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    task = batch(
        tmp_path,
        PRODUCTS,
        columns={"key": "sku"},
        prompt="Photo of {name}, {style}",
        keep_columns=["category"],
        matrix={"style": ["oil", "in ink"]},
        seed="stable",
        defaults=SMALL,
        reuse="always",
        output_path=f"{tmp_path}/out/{{category}}/{{key}}.{{ext}}",
    )
    assert task.retry()["landed"] == 4
    landed = {row["key"]: row for row in task.manifest()}
    assert list(landed) == ["A-7-oil", "A-7-in_ink", "B-1-oil", "B-1-in_ink"]
    gate = landed["B-1-in_ink"]
    assert gate["uri"] == f"{tmp_path}/out/Gates___more/B-1-in_ink.jpeg"
    sidecar = json.loads(Path(gate["sidecar"]).read_text())
    assert sidecar["request"]["prompt"] == "Photo of {key} gate, in ink"
    assert len({row["seed"] for row in landed.values()}) == 4

    another_run = task.cleared()
    again = another_run.retry(
        requests=PRODUCTS[::-1], matrix={"style": ["in ink", "oil"]}, on_clear="new"
    )
    assert (again["reused"], again["landed"]) == (4, 0)
    assert {row["key"]: row["seed"] for row in another_run.manifest()} == {
        key: row["seed"] for key, row in landed.items()
    }
    assert emulator.stats()["submits"] == 4


def test_rows_that_get_one_name_by_their_columns_are_refused_before_anything_is_paid(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    rows = [{"prompt": "a", "category": "x/y"}, {"prompt": "b", "category": "x y"}]
    message = batch(
        tmp_path,
        rows,
        keep_columns=["category"],
        output_path=f"{tmp_path}/out/{{category}}.{{ext}}",
    ).fail(AirflowFailException)
    assert "would get the same name as index 0. Add {key} to output_path" in message
    assert emulator.stats()["submits"] == 0


def test_a_row_whose_column_names_the_ledger_is_refused(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    message = batch(
        tmp_path,
        [{"prompt": "a", "category": "_flux"}],
        keep_columns="all",
        output_path=f"{tmp_path}/out/{{category}}/{{key}}.{{ext}}",
    ).fail(AirflowFailException)
    assert "_flux is the folder of the ledger" in message
    assert emulator.stats()["submits"] == 0


def test_a_retry_lands_a_row_where_its_columns_say(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    task = batch(
        tmp_path,
        [{"prompt": "fox [[fault:slow=1.5]]", "category": "Doors"}],
        keep_columns=["category"],
        output_path=f"{tmp_path}/out/{{category}}/{{key}}.{{ext}}",
    )
    assert task.retry(timeout=1, max_failed=1)["submitted"] == 1
    assert task.retry(timeout=60)["landed"] == 1
    assert (tmp_path / "out/Doors/0.jpeg").is_file()
    assert emulator.stats()["submits"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output_path": "/x/{category}.{ext}"}, "unknown placeholder {category}"),
        ({"prompt": "{name.x}"}, "no plain name"),
        ({"matrix": {"style": ["oil"]}}, "BFL would bill the same image"),
        ({"keep_columns": "category"}, "must be 'all', or a list of names"),
        ({"seed": "fixed"}, "'stable'"),
    ],
)
def test_a_literal_argument_that_is_wrong_is_refused_when_the_dag_is_parsed(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(FluxRequestError) as caught:
        operator(**arguments)
    assert message in caught.value.message


def test_arguments_with_templates_are_checked_at_run_time() -> None:
    operator(prompt="{{ params.style }} of {name}")
    operator(matrix={"style": "{{ params.styles }}"}, output_path="/x/{style}/{key}.{ext}")
    operator(seed="{{ params.seed }}")
    operator(keep_columns="all", output_path="/x/{category}.{ext}")


class TestStableSeedOfOneImage:
    def test_the_same_request_gives_the_same_seed(self) -> None:
        def seed(**arguments: Any) -> Any:
            hero = FluxGenerateOperator(task_id="hero", seed="stable", **arguments)
            return hero._build_request().parameters["seed"]

        assert seed(prompt="a fox") == seed(prompt="a fox", output_format="png")
        assert seed(prompt="a fox") != seed(prompt="a hare")

    def test_a_model_without_a_seed_is_refused_when_the_dag_is_parsed(self) -> None:
        with pytest.raises(FluxRequestError, match="needs a model with the parameter seed"):
            FluxGenerateOperator(
                task_id="hero", model="flux-3-image", seed="stable", prompt="a fox"
            )
