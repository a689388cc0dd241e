"""``@task.flux_batch`` in DAG runs of Airflow: each row that its function returns is tried."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, task
from airflow.utils.db import initdb

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.decorators import flux_batch_task
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.operators.base import FluxLandingOperator
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from tests.decorators.test_flux import CANARY, keywords, prompts, run, xcom
from tests.support.image_task import task_context

SMALL = {"width": 256, "height": 256}
ROWS = [{"key": "fox", "prompt": "a fox"}, {"key": "hare", "prompt": "a hare"}]


@pytest.fixture(scope="module", autouse=True)
def database() -> None:
    """The metadata database, which a DAG run needs."""
    initdb()


def return_list(root: Path) -> Callable[..., Any]:
    def rows() -> list[dict[str, str]]:
        return ROWS

    return rows


def return_generator(root: Path) -> Callable[..., Any]:
    def rows() -> Iterator[dict[str, str]]:
        yield from ROWS

    return rows


def return_coroutine(root: Path) -> Callable[..., Any]:
    async def rows() -> list[dict[str, str]]:
        return ROWS

    return rows


def return_async_generator(root: Path) -> Callable[..., Any]:
    async def rows() -> AsyncIterator[dict[str, str]]:
        for row in ROWS:
            yield row

    return rows


def return_path(root: Path) -> Callable[..., Any]:
    def rows() -> Path:
        file = root / "rows.jsonl"
        file.write_text("\n".join(map(json.dumps, ROWS)))
        return file

    return rows


@pytest.mark.parametrize(
    "function",
    [return_list, return_generator, return_coroutine, return_async_generator, return_path],
)
def test_each_row_of_the_function_lands_its_image(
    emulator: EmulatorServer, tmp_path: Path, function: Callable[[Path], Callable[..., Any]]
) -> None:
    def build() -> None:
        task.flux_batch(output_path=f"file://{tmp_path}/{{key}}.{{ext}}", defaults=SMALL)(
            function(tmp_path)
        )()

    summary = xcom(run(build), "rows")
    assert (summary["rows"], summary["landed"]) == (2, 2)
    assert sorted(path.name for path in tmp_path.glob("*.jpeg")) == ["fox.jpeg", "hare.jpeg"]
    assert prompts(emulator) == {"a fox", "a hare"}


def test_no_template_in_a_returned_row_is_rendered(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    def build() -> None:
        @task.flux_batch(
            output_path=f"file://{tmp_path}/{{{{ 'out' }}}}/{{key}}.jpeg", defaults=SMALL
        )
        def rows(prefix: str) -> list[dict[str, str]]:
            return [{"key": "{{ 1 }}", "prompt": f"{prefix} {CANARY}"}]

        rows("{{ 'blue' }}")

    assert run(build, render_template_as_native_obj=True).state == "success"
    assert prompts(emulator) == {f"blue {CANARY}"}
    assert (tmp_path / "out").is_dir()


def test_rows_are_read_one_at_a_time_and_all_before_the_first_submit(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    submits_at_the_end: list[int] = []

    def rows() -> Iterator[str]:
        yield from ("a", "b", "c")
        submits_at_the_end.append(emulator.stats()["submits"])

    operator = new_operator(rows, tmp_path)
    operator.execute(task_context(operator))
    assert submits_at_the_end == [0]
    assert emulator.stats()["submits"] == 3


def test_a_generator_that_fails_submits_nothing(emulator: EmulatorServer, tmp_path: Path) -> None:
    def rows() -> Iterator[str]:
        yield "a"
        raise ConnectionError("the table is gone")

    operator = new_operator(rows, tmp_path)
    with pytest.raises(ConnectionError, match="the table is gone"):
        operator.execute(task_context(operator))
    assert emulator.stats()["submits"] == 0


def test_a_retry_submits_only_the_rows_that_have_no_image(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    def rows() -> list[dict[str, str]]:
        broken = {"key": "wolf", "prompt": "x [[fault:failed]]"}
        return [*ROWS, broken if context["ti"].try_number == 1 else ROWS[0] | {"key": "wolf"}]

    operator = new_operator(rows, tmp_path)
    context = task_context(operator)
    with pytest.raises(Exception, match="1 of 3 rows have no image"):
        operator.execute(context)
    context["ti"].try_number = 2
    operator = new_operator(rows, tmp_path)
    summary = operator.execute(context)
    assert summary["landed"] == 3
    assert emulator.stats()["submits_per_prompt"]["a hare"] == 1
    assert emulator.stats()["submits_per_prompt"]["a fox"] == 2  # the fox and the new wolf


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "The value that the function 'rows' returned is a NoneType"),
        (3, "The value that the function 'rows' returned is an int"),
        ({"prompt": "a fox"}, "The value that the function 'rows' returned is a dict"),
    ],
)
def test_a_wrong_value_fails_the_task_and_names_the_function(
    emulator: EmulatorServer, tmp_path: Path, returned: Any, message: str
) -> None:
    def rows() -> Any:
        return returned

    operator = new_operator(rows, tmp_path)
    with pytest.raises(AirflowFailException, match=message):
        operator.execute(task_context(operator))
    assert emulator.stats()["submits"] == 0


def test_a_mapped_function_makes_a_batch_for_each_map_index(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    def build() -> None:
        @task.flux_batch(
            output_path=f"file://{tmp_path}/{{{{ ti.map_index }}}}/{{key}}.jpeg", defaults=SMALL
        )
        def rows(animal: str) -> list[str]:
            return [f"a {animal}", f"two {animal}s"]

        rows.expand(animal=["fox", "hare"])

    assert run(build).state == "success"
    assert prompts(emulator) == {"a fox", "two foxs", "a hare", "two hares"}


def test_requests_are_no_argument_of_the_decorator() -> None:
    with DAG("d", schedule=None), pytest.raises(FluxRequestError, match="Return the rows"):
        task.flux_batch(output_path="/tmp/flux/{key}.jpeg", requests=["a"])(return_list(Path()))()


def test_the_typed_decorator_names_each_argument_of_the_operator() -> None:
    operator = {
        **inspect.signature(FluxLandingOperator.__init__).parameters,
        **inspect.signature(FluxGenerateBatchOperator.__init__).parameters,
    }
    rows_of_function = {"requests", "sql", "sql_conn_id", "sql_parameters"}
    assert set(operator) - {"self", "kwargs"} - rows_of_function == keywords(flux_batch_task) - {
        "task_id",
        "multiple_outputs",
    }


def new_operator(function: Callable[..., Any], root: Path) -> Any:
    """Return the operator of a decorated function, outside of a DAG."""
    decorator = flux_batch_task(output_path=f"file://{root}/{{key}}.jpeg", defaults=SMALL)
    return decorator(function)().operator
