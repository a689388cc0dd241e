"""Template fields: values of other tasks are never rendered, and text stays text."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, ObjectStoragePath, task, task_group
from airflow.utils.db import initdb

from airflow_provider_flux.configured_models import text_parameters
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.testing.dag_run import run_dag
from airflow_provider_flux.transfers.flux_to_object_storage import FluxToObjectStorageOperator
from tests.conftest import KEY

#: A template in data. Rendered, it gives the API key.
CANARY = "fox {{ conn.flux_default.password }}"


@pytest.fixture(scope="module")
def database() -> None:
    """The metadata database, which a DAG run needs."""
    initdb()


@task
def data(value: Any) -> Any:
    """Return data with a template, as a table or a form may hold it."""
    return json.loads(json.dumps(value).replace("CANARY", CANARY))


def expand(operator: type, argument: str, values: Any, **arguments: Any) -> Any:
    """Return a mapped task over the values that another task returns."""
    return operator.partial(task_id="made", **arguments).expand(**{argument: data(values)})


def generate(**arguments: Any) -> FluxGenerateOperator:
    return FluxGenerateOperator(task_id="made", **arguments)


def batch(root: str, **arguments: Any) -> FluxGenerateBatchOperator:
    return FluxGenerateBatchOperator(
        task_id="made", output_path=f"{root}/{{key}}.jpeg", **arguments
    )


def in_group(prompts: Any) -> Any:
    @task_group
    def images(prompt: Any) -> Any:
        generate(prompt=prompt)

    return images.expand(prompt=prompts)


ROWS = {"prompt": "CANARY", "key": "{{ 1 }}", "fallback_prompt": "CANARY"}
#: Tasks that get the data of another task, by the way that it takes.
WAYS_OF_DATA: dict[str, Callable[[str], Any]] = {
    "prompt": lambda _: generate(prompt=data("CANARY")),
    "parameters": lambda _: generate(parameters=data({"prompt": "CANARY"})),
    "member of parameters": lambda _: generate(parameters={"prompt": data("CANARY")}),
    "mapped prompt": lambda _: expand(FluxGenerateOperator, "prompt", ["CANARY"]),
    "mapped parameters": lambda _: expand(
        FluxGenerateOperator, "parameters", [{"prompt": "CANARY"}], seed="{{ 7 }}"
    ),
    "mapped parameters with a secret": lambda _: expand(
        FluxGenerateOperator,
        "parameters",
        [{"prompt": "CANARY", "webhook_url": "http://127.0.0.1:9/", "webhook_secret": "quiet"}],
    ),
    "mapped parameters, without checks": lambda _: expand(
        FluxGenerateOperator, "parameters", [{"prompt": "CANARY", "new": "{{ 1 }}"}], validate=False
    ),
    "prompts of expand_kwargs": lambda _: FluxGenerateOperator.partial(
        task_id="made"
    ).expand_kwargs(data([{"prompt": "CANARY"}])),
    "parameters of expand_kwargs": lambda _: FluxGenerateOperator.partial(
        task_id="made", seed="{{ 7 }}"
    ).expand_kwargs(data([{"parameters": {"prompt": "CANARY"}}])),
    "one of expand_kwargs": lambda _: FluxGenerateOperator.partial(task_id="made").expand_kwargs(
        [data({"prompt": "CANARY"})]
    ),
    "rows of expand_kwargs": lambda root: FluxGenerateBatchOperator.partial(
        task_id="made", output_path=f"{root}/{{{{ ti.map_index }}}}/{{key}}.jpeg"
    ).expand_kwargs(data([{"requests": [ROWS]}])),
    "zipped prompts": lambda _: FluxGenerateOperator.partial(task_id="made").expand(
        parameters=data(["CANARY"]).map(lambda prompt: {"prompt": prompt})
    ),
    "mapped task group": lambda _: in_group(data(["CANARY"])),
    "rows": lambda root: batch(root, requests=data([ROWS])),
    "prompts of rows": lambda root: batch(root, requests=data(["CANARY"])),
    "a row": lambda root: batch(root, requests=[{"prompt": data("CANARY")}]),
    "defaults": lambda root: batch(
        root, requests=[{"key": "a"}], defaults=data({"prompt": "CANARY"})
    ),
    "mapped rows": lambda root: expand(
        FluxGenerateBatchOperator,
        "requests",
        [[ROWS]],
        output_path=f"{root}/{{{{ ti.map_index }}}}/{{key}}.jpeg",
    ),
    "mapped defaults": lambda root: expand(
        FluxGenerateBatchOperator,
        "defaults",
        [{"prompt": "CANARY"}],
        requests=[{"key": "a"}],
        output_path=f"{root}/{{{{ ti.map_index }}}}/{{key}}.jpeg",
    ),
    "a file of rows": lambda root: batch(root, requests=f"{root}/rows.jsonl"),
}


@pytest.mark.parametrize(
    ("way", "native"), [(way, bool(number % 2)) for number, way in enumerate(WAYS_OF_DATA)]
)
@pytest.mark.usefixtures("database")
def test_no_template_in_data_of_another_task_is_rendered(
    emulator: EmulatorServer, tmp_path: Path, way: str, native: bool
) -> None:
    """Fault 3: the emulator receives the data as it is, on a DAG run of Airflow."""
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": CANARY}))
    with DAG(f"data_{native}", schedule=None, render_template_as_native_obj=native) as dag:
        WAYS_OF_DATA[way](str(tmp_path))
    run = run_dag(dag)
    assert set(emulator.stats()["submits_per_prompt"]) == {CANARY}, run.state
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*.js*"))


#: Mapped arguments that name a place, and the error that refuses a template in their data.
PLACES: dict[str, Callable[[str], Any]] = {
    "output_path": lambda root: expand(
        FluxGenerateOperator, "output_path", [f"{root}/CANARY/x.jpeg"], prompt="a fox"
    ),
    "ledger_path": lambda root: expand(
        FluxGenerateOperator, "ledger_path", [f"{root}/CANARY"], prompt="a fox"
    ),
    "path object": lambda root: FluxGenerateOperator.partial(task_id="made", prompt="a fox").expand(
        output_path=data([f"{root}/CANARY/x.jpeg"]).map(lambda path: ObjectStoragePath(path))
    ),
    "manifest_path": lambda root: expand(
        FluxGenerateBatchOperator,
        "manifest_path",
        [f"{root}/CANARY/manifest.jsonl"],
        requests=["a fox"],
        output_path=f"{root}/x/{{key}}.jpeg",
    ),
    "batch of one folder": lambda root: expand(
        FluxGenerateBatchOperator,
        "output_path",
        [f"{root}/CANARY/{{key}}.jpeg"],
        requests=["a fox"],
    ),
    "output_path of the transfer": lambda root: expand(
        FluxToObjectStorageOperator,
        "output_path",
        [f"{root}/CANARY/x.jpeg"],
        generation={"request_id": "{{ 1 }}"},
    ),
    "output_path of a task": lambda root: generate(
        prompt="a fox", output_path=data(f"{root}/CANARY/x.jpeg")
    ),
    "flux_conn_id": lambda root: expand(
        FluxGenerateOperator, "flux_conn_id", ["CANARY"], prompt="a fox"
    ),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.usefixtures("database")
def test_a_place_with_a_template_in_data_is_refused_before_the_submit(
    emulator: EmulatorServer, tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Fault 3: neither the place nor the log gets the rendered key."""
    with DAG("places", schedule=None) as dag:
        PLACES[place](str(tmp_path))
    assert run_dag(dag).state == "failed"
    assert emulator.stats()["submits"] == 0
    assert KEY not in caplog.text
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.usefixtures("database")
def test_templates_of_the_dag_file_are_rendered_beside_data(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    """Fault 3: the arguments of ``partial()`` and literals of ``expand()`` stay templates."""
    with DAG("beside", schedule=None, params={"what": "fox"}) as dag:
        FluxGenerateOperator.partial(
            task_id="made",
            prompt="{{ params.what }} {{ ti.map_index }}",
            parameters={"user": "{{ params.what }}"},
            output_path=f"{tmp_path}/{{{{ params.what }}}}-{{index}}.{{ext}}",
        ).expand_kwargs(data([{"seed": 7}]))
        FluxGenerateOperator.partial(task_id="literal").expand(
            parameters=[{"prompt": "{{ params.what }}"}]
        )
    assert run_dag(dag).state == "success"
    assert set(emulator.stats()["submits_per_prompt"]) == {"fox 0", "fox"}
    assert (tmp_path / "fox-0.jpeg").exists()


#: Texts that Python reads as another type.
TEXTS = ["1984", '{"scene": 1}', "True", "[1]", "1e5", "007", "('a', 'b')", "None of them"]


def rendered(operator: Any, **context: Any) -> Any:
    operator.render_template_fields({"params": context, "ti": SimpleNamespace(map_index=-1)})
    return operator


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    ("form", "text"),
    # A template that gives None counts as not set.
    [("literal", "None"), *itertools.product(["literal", "template"], TEXTS)],
)
def test_a_text_stays_text_whatever_python_reads_in_it(native: bool, form: str, text: str) -> None:
    """Fault 29: text arguments of all operators, with native rendering and without."""
    value = text if form == "literal" else "{{ params.text }}"
    path = f"/tmp/flux/{value}.jpeg" if form == "literal" else "/tmp/flux/{{ params.name }}.jpeg"
    if set(text) & set("{}") and form == "literal":
        path = "/tmp/flux/x.jpeg"
    with DAG("d", schedule=None, render_template_as_native_obj=native):
        single = FluxGenerateOperator(
            task_id="a", prompt=value, flux_conn_id=value, parameters={"user": value}
        )
        inside = FluxGenerateOperator(task_id="b", parameters={"prompt": value})
        rows = FluxGenerateBatchOperator(
            task_id="c",
            requests=[value, {"prompt": value, "key": value, "fallback_prompt": value}],
            defaults={"prompt": value},
            columns={"prompt": value},
            output_path="/tmp/flux/{key}.jpeg",
        )
        transfer = FluxToObjectStorageOperator(
            task_id="d",
            generation=[{"request_id": value, "polling_url": value}],
            cache_control=value,
            output_path=path,
        )
    for operator in (single, inside, rows, transfer):
        rendered(operator, text=text, name="1984")
    assert (single.prompt, single.flux_conn_id) == (text, text)
    assert single._build_request().parameters["prompt"] == text
    assert single.parameters == {"user": text}
    assert inside._build_request().parameters["prompt"] == text
    assert rows.requests == [text, {"prompt": text, "key": text, "fallback_prompt": text}]
    assert (rows.defaults, rows.columns) == ({"prompt": text}, {"prompt": text})
    assert transfer.generation == [{"request_id": text, "polling_url": text}]
    assert transfer.cache_control == text


def test_a_template_of_a_number_or_a_list_keeps_its_type_with_native_rendering() -> None:
    """Fault 29: only text parameters are text."""
    with DAG("d", schedule=None, render_template_as_native_obj=True):
        single = FluxGenerateOperator(
            task_id="a",
            model="flux-2-pro",
            prompt="{{ params.number }} foxes",
            seed="{{ params.number }}",
            width="{{ params.none }}",
            webhook_url="{{ params.none }}",
            parameters="{{ params.dict }}",
        )
        rows = FluxGenerateBatchOperator(
            task_id="b",
            requests="{{ params.rows }}",
            defaults={"seed": "{{ params.number }}"},
            output_path="/tmp/flux/{key}.jpeg",
        )
        transfer = FluxToObjectStorageOperator(
            task_id="c", generation="{{ params.dict }}", output_path="/tmp/flux/x.jpeg"
        )
        video = FluxGenerateOperator(
            task_id="d",
            model="flux-3-image",
            prompt="a fox",
            parameters={"images": "{{ params.images }}", "grounding": "{{ params.flag }}"},
        )
    values = {
        "number": 7,
        "none": None,
        "dict": {"user": "x"},
        "rows": ["a"],
        "images": ["https://a.example/1.png"],
        "flag": False,
    }
    for operator in (single, rows, transfer, video):
        rendered(operator, **values)
    assert (single.prompt, single.seed, single.width) == ("7 foxes", 7, None)
    assert (single.webhook_url, single.parameters) == (None, {"user": "x"})
    assert (rows.requests, rows.defaults) == (["a"], {"seed": 7})
    assert transfer.generation == {"user": "x"}
    assert video.parameters == {"images": ["https://a.example/1.png"], "grounding": False}


def test_the_text_parameters_are_those_of_all_models() -> None:
    kinds = text_parameters()
    assert {"prompt", "output_format", "webhook_url", "aspect_ratio", "mode"} <= {
        name for name, kind in kinds.items() if kind == "text"
    }
    assert kinds["images"] == "texts"
    assert not {"width", "seed", "raw", "safety_tolerance"} & set(kinds)
