"""``@task.flux`` in DAG runs of Airflow: what its function returns is submitted, as data."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException
from airflow.sdk import DAG, get_current_context, task
from airflow.utils.db import initdb

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.decorators import flux_task
from airflow_provider_flux.decorators.flux import FluxDecoratedOperator
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.operators.base import FluxLandingOperator
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.testing.dag_run import run_dag
from tests.conftest import KEY
from tests.support.airflow_names import AIRFLOW
from tests.support.image_task import task_context

SMALL = {"width": 256, "height": 256}
#: A template in data. Rendered, it gives the API key.
CANARY = "fox {{ conn.flux_default.password }}"


@pytest.fixture(scope="module", autouse=True)
def database() -> None:
    """The metadata database, which a DAG run needs."""
    initdb()


def run(build: Callable[[], Any], **arguments: Any) -> Any:
    """Run a DAG of the tasks that ``build`` makes."""
    with DAG("decorated", schedule=None, **arguments) as dag:
        build()
    return run_dag(dag)


def xcom(dag_run: Any, task_id: str = "hero", **arguments: Any) -> Any:
    """Return what a task of a run returned."""
    return dag_run.get_task_instance(task_id).xcom_pull(task_ids=task_id, **arguments)


def prompts(emulator: EmulatorServer) -> set[str]:
    return set(emulator.stats()["submits_per_prompt"])


def new_operator(function: Callable[..., Any], **arguments: Any) -> FluxDecoratedOperator:
    """Return the operator of a decorated function, outside of a DAG."""
    output = flux_task(**arguments)(function)()
    operator: FluxDecoratedOperator = output.operator
    return operator


class TestReturnedValue:
    def test_a_returned_prompt_is_submitted_and_its_image_lands(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        def build() -> None:
            @task.flux(output_path=f"file://{tmp_path}/{{key}}.{{ext}}", **SMALL)
            def hero() -> str:
                return "a red fox"

            hero()

        generation = xcom(run(build))
        assert generation["image"]["uri"] == f"file://{tmp_path}/hero.jpeg"
        assert (tmp_path / "hero.jpeg").stat().st_size == generation["image"]["bytes"]
        assert prompts(emulator) == {"a red fox"}

    def test_a_returned_dict_sets_the_model_and_its_parameters(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        def build() -> None:
            @task.flux(output_path=f"file://{tmp_path}/x.png", safety_tolerance=1, seed=3)
            def hero() -> dict[str, Any]:
                return {
                    "model": "flux-2-pro",
                    "prompt": "a fox",
                    "width": 512,
                    "height": 256,
                    "seed": 9,
                    "output_format": None,
                }

            hero()

        generation = xcom(run(build))
        sidecar = json.loads((tmp_path / "x.png.json").read_text())
        assert (generation["model"], generation["seed"]) == ("flux-2-pro", 9)
        # Of the defaults of flux-pro-1.1 none is sent, and the path chooses the format.
        assert sidecar["request"]["parameters"] == {
            "width": 512,
            "height": 256,
            "seed": 9,
            "safety_tolerance": 1,
            "output_format": "png",
        }

    def test_no_template_in_a_returned_value_is_rendered(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        def build() -> None:
            @task.flux(output_path=f"file://{tmp_path}/{{key}}.jpeg")
            def hero() -> str:
                return CANARY

            @task.flux(model="flux-2-pro", output_path=f"file://{tmp_path}/{{key}}.jpeg")
            def other() -> dict[str, Any]:
                return {"prompt": CANARY, "seed": 1}

            hero() >> other()

        assert run(build, render_template_as_native_obj=True).state == "success"
        assert prompts(emulator) == {CANARY}
        assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*.js*"))

    @pytest.mark.parametrize(
        ("returned", "message"),
        [
            (None, "The function 'hero' of @task.flux returned nothing"),
            (["a fox"], "returned a value of type list. Return a prompt, or a dict"),
            (" \n", "returned an empty prompt"),
            ({1: "a fox"}, "returned a dict with the key 1, which is no text"),
            ({"model": 2, "prompt": "a fox"}, "returned model=2"),
            ({"prompt": "a fox", "widht": 256}, "widht"),
            ({"prompt": "a fox", "width": 100}, "width=100"),
            ({}, "prompt"),
        ],
    )
    def test_a_wrong_value_fails_the_task_without_retry_and_names_the_fault(
        self, emulator: EmulatorServer, returned: Any, message: str
    ) -> None:
        def hero() -> Any:
            return returned

        operator = new_operator(hero)
        with pytest.raises(AirflowFailException) as caught:
            operator.execute(task_context(operator))
        assert message in str(caught.value)
        assert emulator.stats()["submits"] == 0

    def test_an_exception_of_the_function_is_the_exception_of_the_task(
        self, emulator: EmulatorServer
    ) -> None:
        def hero() -> str:
            raise AirflowSkipException("no campaign today")

        operator = new_operator(hero)
        with pytest.raises(AirflowSkipException, match="no campaign today"):
            operator.execute(task_context(operator))
        assert emulator.stats()["submits"] == 0

    def test_a_returned_webhook_does_not_get_the_secret_of_the_connection(
        self, emulator: EmulatorServer, connect: Callable[..., None]
    ) -> None:
        connect(emulator.url, webhook_secret="quiet")

        def hero() -> dict[str, Any]:
            return {"prompt": "a fox", "webhook_url": "https://attacker.example/hook"}

        operator = new_operator(hero)
        with pytest.raises(AirflowFailException, match="webhook_hosts"):
            operator.execute(task_context(operator))
        assert emulator.stats()["submits"] == 0


class TestFunctionCall:
    def test_the_function_gets_rendered_arguments_outputs_of_tasks_and_the_context(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        def build() -> None:
            @task
            def topic() -> str:
                return "{{ conn.flux_default.password }} fox"

            @task.flux(**SMALL)
            def hero(day: str, what: str, *, run_id: Any = None, size: str = "small") -> str:
                assert get_current_context()["run_id"] == run_id
                return f"{day} {what} {size} {bool(run_id)}"

            hero("{{ 1 + 1 }}", topic(), size="{{ 'large' }}")

        assert run(build).state == "success"
        assert prompts(emulator) == {"2 {{ conn.flux_default.password }} fox large True"}

    def test_the_function_gets_base64_as_text(self, emulator: EmulatorServer) -> None:
        picture = "iVBORw0KGgo" + "A" * 600
        seen: list[Any] = []

        def build() -> None:
            @task.flux(**SMALL)
            def hero(first: str, second: list[str]) -> str:
                seen.extend([first, *second])
                return "a fox"

            hero(picture, second=[picture])

        run(build)
        assert [type(value) for value in seen] == [str, str]

    def test_arguments_of_the_decorator_are_templates(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        def build() -> None:
            @task
            def pick_model() -> str:
                return "flux-2-pro"

            @task.flux(
                model=pick_model(),
                seed="{{ 40 + 2 }}",
                output_path=f"file://{tmp_path}/{{{{ 'a' ~ 'b' }}}}.{{ext}}",
            )
            def hero() -> str:
                return "a fox"

            hero()

        generation = xcom(run(build))
        assert (generation["model"], generation["seed"]) == ("flux-2-pro", 42)
        assert (tmp_path / "ab.jpeg").exists()

    def test_default_args_of_the_dag_apply(self, emulator: EmulatorServer, tmp_path: Path) -> None:
        def build() -> None:
            @task.flux
            def hero() -> str:
                return "a fox"

            hero()

        path = f"file://{tmp_path}/{{key}}.{{ext}}"
        run(build, default_args={"output_path": path, "width": 256})
        assert (tmp_path / "hero.jpeg").exists()

    def test_an_asynchronous_function_is_awaited(self, emulator: EmulatorServer) -> None:
        def build() -> None:
            @task.flux(**SMALL)
            async def hero() -> str:
                return "an awaited fox"

            hero()

        run(build)
        assert prompts(emulator) == {"an awaited fox"}

    def test_override_changes_arguments_of_the_decorator(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        def build() -> None:
            @task.flux(output_path=f"file://{tmp_path}/{{key}}.{{ext}}", **SMALL)
            def hero() -> str:
                return "a fox"

            hero.override(task_id="poster", width=512)()

        image = xcom(run(build), "poster")["image"]
        assert (image["uri"], image["width"]) == (f"file://{tmp_path}/poster.jpeg", 512)

    @pytest.mark.skipif(AIRFLOW < (3, 1), reason="Airflow 3.0 stores no XCom that is null")
    def test_a_member_of_the_generation_is_an_output_on_request(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        def build() -> None:
            @task.flux(output_path=f"file://{tmp_path}/x.jpeg", multiple_outputs=True, **SMALL)
            def hero() -> str:
                return "a fox"

            @task
            def size(image: Any) -> int:
                return int(image["width"])

            size(hero()["image"])

        assert xcom(run(build), "size") == 256


class TestMapping:
    @pytest.mark.parametrize("way", ["expand", "expand_kwargs"])
    def test_each_map_index_calls_the_function_with_data_that_is_not_rendered(
        self, emulator: EmulatorServer, tmp_path: Path, way: str
    ) -> None:
        def build() -> None:
            @task
            def animals() -> list[Any]:
                values = [CANARY, "hare {{ 1 }}"]
                return values if way == "expand" else [{"animal": value} for value in values]

            @task.flux(output_path=f"file://{tmp_path}/{{index}}.jpeg", **SMALL)
            def hero(style: str, animal: str) -> str:
                return f"{style} {animal}"

            mapped = hero.partial(style="{{ 'blue' }}")
            if way == "expand":
                mapped.expand(animal=animals())
            else:
                mapped.expand_kwargs(animals())

        assert run(build).state == "success"
        assert prompts(emulator) == {f"blue {CANARY}", "blue hare {{ 1 }}"}
        assert sorted(path.name for path in tmp_path.glob("*.jpeg")) == ["0.jpeg", "1.jpeg"]

    def test_templates_of_a_literal_expand_are_rendered(self, emulator: EmulatorServer) -> None:
        def build() -> None:
            @task.flux(**SMALL)
            def hero(animal: str) -> str:
                return animal

            hero.expand(animal=["{{ 'fox' }}", "hare"])

        run(build)
        assert prompts(emulator) == {"fox", "hare"}


class TestResume:
    def test_a_retry_resumes_the_generation_of_the_value_that_the_function_returns(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        calls: list[str] = []

        def hero() -> str:
            calls.append("call")
            return "a fox"

        operator = new_operator(hero, output_path=f"file://{tmp_path}/x.jpeg", **SMALL)
        context = task_context(operator)
        first = operator.execute(context)
        context["ti"].try_number = 2
        operator = new_operator(hero, output_path=f"file://{tmp_path}/x.jpeg", **SMALL)
        second = operator.execute(context)
        assert calls == ["call", "call"]
        assert first["request_id"] == second["request_id"]
        assert emulator.stats()["submits"] == 1

    def test_a_retry_with_another_value_submits_it_and_warns(
        self,
        emulator: EmulatorServer,
        tmp_path: Path,
        capfd: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        values = iter(["a fox", "a hare"])

        def hero() -> str:
            return next(values)

        first = new_operator(hero, output_path=f"file://{tmp_path}/x.jpeg", **SMALL)
        context = task_context(first)
        first.execute(context)
        context["ti"].try_number = 2
        again = new_operator(hero, output_path=f"file://{tmp_path}/x.jpeg", **SMALL)
        again.execute(context)
        assert prompts(emulator) == {"a fox", "a hare"}
        log = "".join(capfd.readouterr()) + caplog.text
        assert "This try submits a new request" in log

    def test_the_function_does_not_run_again_after_a_deferral(
        self, emulator: EmulatorServer, tmp_path: Path, hurry: None
    ) -> None:
        calls = tmp_path / "calls"

        def build() -> None:
            @task.flux(
                output_path=f"file://{tmp_path}/x.jpeg", deferrable=True, inline_wait=0, **SMALL
            )
            def hero() -> dict[str, Any]:
                with calls.open("a") as file:
                    file.write("call\n")
                return {"prompt": "a fox", "model": "flux-2-pro"}

            hero()

        dag_run = run(build)
        assert xcom(dag_run)["model"] == "flux-2-pro"
        assert xcom(dag_run, key="submitted")["request_id"] == xcom(dag_run)["request_id"]
        assert (tmp_path / "x.jpeg").exists()
        assert calls.read_text() == "call\n"


class TestParsing:
    def test_a_wrong_literal_argument_is_an_error_when_the_dag_is_parsed(self) -> None:
        def hero() -> str:
            return "a fox"

        with pytest.raises(FluxRequestError, match="width=100"):
            new_operator(hero, width=100)
        with pytest.raises(FluxRequestError, match="output_path"):
            new_operator(hero, output_path="relative/x.jpeg")

    def test_a_required_parameter_may_come_from_the_function(self) -> None:
        def hero() -> dict[str, Any]:
            return {"input_image": "/tmp/x.png", "prompt": "a fox"}

        operator = new_operator(hero, model="flux-kontext-pro")
        assert operator.custom_operator_name == "@task.flux"

    def test_the_typed_decorator_names_each_argument_of_the_operator(self) -> None:
        operator = {
            **inspect.signature(FluxLandingOperator.__init__).parameters,
            **inspect.signature(FluxGenerateOperator.__init__).parameters,
        }
        assert set(operator) - {"self", "kwargs"} == keywords(flux_task) - {
            "task_id",
            "multiple_outputs",
        }


def keywords(decorator: Callable[..., Any]) -> set[str]:
    """Return the keyword arguments of the typed form of a decorator."""
    import ast

    tree = ast.parse(inspect.getsource(inspect.getmodule(decorator)))  # type: ignore[arg-type]
    forms = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name == decorator.__name__
    ]
    return {argument.arg for argument in forms[1].args.kwonlyargs}
