"""Input images and videos of the operator: checked when the DAG is parsed, read when it runs, shown nowhere."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, ObjectStoragePath
from airflow.serialization.helpers import serialize_template_field
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_flux.bfl import errors
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.inputs import InlineMedia
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from tests.support.run_operator import WAYS, context, run
from tests.support.sample_media import picture, text_of
from tests.support.scripted_host import Host, status

pytestmark = [
    pytest.mark.usefixtures("hurry"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

JPEG, SMALL = text_of(picture("jpeg")), text_of(picture("jpeg", (64, 64)))
#: What would be seen of them, were they shown. Both are shorter than what Airflow cuts off.
MARKS = (JPEG[40:80], SMALL[40:80], picture("jpeg")[40:60].hex())
FORMS = {
    "plain": "{}",
    "data": "data:image/jpeg;base64,{}",
    "spaced": "\n  data:image/jpeg;base64,{}\n",
    "lines": "",
}
forms = pytest.mark.parametrize("form", FORMS)


def written(data: str, form: str) -> str:
    return (
        base64.encodebytes(base64.b64decode(data)).decode()
        if form == "lines"
        else FORMS[form].format(data)
    )


def operator(
    model: str = "flux-2-pro", way: str = "sync", **arguments: Any
) -> FluxGenerateOperator:
    arguments = {
        "task_id": "hero",
        "prompt": "a fox",
        "poll_interval": 0.1,
        **WAYS[way],
        **arguments,
    }
    return FluxGenerateOperator(model=model, **arguments)


def shown(task: FluxGenerateOperator) -> str:
    """Return all that Airflow shows and stores of a task's template fields."""
    values = {name: getattr(task, name) for name in task.template_fields}
    stored = {name: serialize_template_field(value, name) for name, value in values.items()}
    return json.dumps(stored) + str(values)


def check_hidden(text: str) -> None:
    for mark in MARKS:
        assert mark not in text.replace("\n", "").replace("\\n", "")


class Later:
    """A value of another task, which is known when the task runs."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def resolve(self, _: Any) -> Any:
        return self.value

    def iter_references(self) -> Iterator[Any]:
        return iter(())


@forms
def test_base64_in_a_dag_is_not_in_what_airflow_stores_of_it(form: str) -> None:
    given = written(JPEG, form)
    with DAG("d", schedule=None) as dag:
        tasks = [
            operator(task_id="one", parameters={"input_image": given}),
            operator(
                "flux-3-image", task_id="list", parameters={"images": [given, "s3://bucket/a.png"]}
            ),
            operator(
                "flux-3-video",
                task_id="pairs",
                parameters={"mode": "i2v", "keyframes": [[0, given], (2.5, given)]},
            ),
            operator(
                "flux-9-max",
                task_id="unknown",
                validate=False,
                parameters={"deep": {"picture": given}},
            ),
        ]
    check_hidden(json.dumps(DagSerialization.to_dict(dag)))
    for task in tasks:
        check_hidden(shown(task))
    assert "<base64 text of" in shown(tasks[0])
    assert tasks[1].parameters["images"][1] == "s3://bucket/a.png"


@forms
def test_base64_out_of_a_template_is_not_in_what_airflow_stores_of_the_task(form: str) -> None:
    with DAG("d", schedule=None):
        task = operator("flux-3-image", parameters={"images": ["{{ image }}", "{{ other }}"]})
    task.render_template_fields({"image": written(JPEG, form), "other": "s3://bucket/a.png"})
    check_hidden(shown(task))
    [first, second] = task.parameters["images"]
    assert isinstance(first, InlineMedia)
    assert second == "s3://bucket/a.png"


@pytest.mark.parametrize("native", [False, True])
def test_base64_of_another_task_is_not_in_what_airflow_stores_of_the_task(native: bool) -> None:
    with DAG("d", schedule=None, render_template_as_native_obj=native):
        whole = operator(
            task_id="whole", prompt=None, parameters=Later({"prompt": "a fox", "input_image": JPEG})
        )
        part = operator(
            task_id="part", parameters={"input_image": Later(f"data:image/jpeg;base64,{JPEG}")}
        )
        text = operator(task_id="text", prompt=None, parameters="{{ given }}")
    for task in (whole, part, *([text] if native else [])):
        task.render_template_fields({"given": {"prompt": "a fox", "input_image": JPEG}})
        check_hidden(shown(task))
        assert isinstance(task.parameters["input_image"], InlineMedia)


def test_a_template_within_a_data_url_is_rendered(emulator: EmulatorServer) -> None:
    with DAG("d", schedule=None):
        task = operator(parameters={"input_image": "data:image/jpeg;base64,{{ image }}"})
    assert task.parameters["input_image"] == "data:image/jpeg;base64,{{ image }}"
    task.render_template_fields({"image": JPEG})
    check_hidden(shown(task))
    assert run(task)["cost"] == 4.5


@forms
@pytest.mark.parametrize("way", WAYS)
def test_base64_is_sent_and_is_in_no_log(
    emulator: EmulatorServer,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    form: str,
    way: str,
) -> None:
    with caplog.at_level("DEBUG"):
        task = operator(
            way=way,
            parameters={"input_image": written(JPEG, form)},
            output_path=f"{tmp_path}/x.{{ext}}",
        )
        generation = run(task)
    assert Path(generation["image"]["uri"]).exists()
    assert generation["cost"] == 4.5
    check_hidden(json.dumps(generation))
    check_hidden("".join(capfd.readouterr()) + caplog.text)


#: What goes wrong with an image that is given in base64.
WRONG: dict[str, dict[str, Any]] = {
    "too small": {"model": "flux-pro-1.1", "parameters": {"image_prompt": SMALL}},
    "refused by the service": {
        "model": "flux-pro-1.1",
        "parameters": {"image_prompt": SMALL},
        "validate": False,
    },
    "damaged": {"parameters": {"input_image": InlineMedia(f"{JPEG[:-5]}%%%%%")}},
    "another kind": {"model": "flux-tools/video-edit-v1", "parameters": {"video": JPEG}},
    "echoed": {"prompt": "x [[fault:echo-secrets]]", "parameters": {"input_image": JPEG}},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_base64_is_in_no_error(
    emulator: EmulatorServer, capfd: pytest.CaptureFixture[str], wrong: str
) -> None:
    with pytest.raises(AirflowFailException) as caught:
        run(operator(**WRONG[wrong]))
    check_hidden(str(caught.value) + repr(caught.value.__cause__) + repr(caught.value.__context__))
    check_hidden("".join(capfd.readouterr()))


#: Model, parameters, and what is said. All of it is literal, so the DAG does not parse.
MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("flux-2-pro", {"input_image": "a.png"}, "input_image is neither a URI"),
    ("flux-2-pro", {"input_image": "file://a.png"}, "input_image='file://a.png' is relative"),
    ("flux-2-pro", {"input_image": 7}, "input_image=<int>"),
    ("flux-2-pro", {"input_image": {"uri": "s3://b/k"}}, "input_image=<dict>"),
    ("flux-2-pro", {"input_image_8": text_of(b"no image" * 99)}, "It is a text of 1056 characters"),
    ("flux-2-klein-4b", {"input_image_5": "/a.png"}, "input_image_5 is not a parameter"),
    ("flux-pro-1.0-fill", {"mask": "/a.png"}, "image is missing"),
    ("flux-pro-1.0-fill", {"image": "/a.png", "mask": "b.png"}, "mask is neither a URI"),
    ("flux-3-image", {"images": ["/a.png", "b.png"]}, "images is neither a URI"),
    ("flux-3-image", {"images": ["/a.png"] * 11}, "images=<"),
    (
        "flux-3-video",
        {"mode": "i2v", "keyframes": [[0, "/a.png"], [1, "b.png"]]},
        "keyframes is neither a URI",
    ),
    ("flux-3-video", {"mode": "i2v", "keyframes": ["/a.png"] * 3}, "need a duration"),
    ("flux-3-video", {"mode": "t2v", "keyframes": "/a.png"}, "keyframes is not a parameter"),
    ("flux-tools/video-edit-v1", {}, "video is missing"),
]


@pytest.mark.parametrize(("model", "parameters", "said"), MISTAKES)
def test_a_mistake_in_an_input_fails_when_the_dag_is_parsed(
    model: str, parameters: dict[str, Any], said: str
) -> None:
    with pytest.raises(FluxRequestError) as caught:
        operator(model, parameters=parameters)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 700


def test_nothing_is_opened_when_the_dag_is_parsed() -> None:
    operator(
        parameters={
            "input_image": "s3://no_such_conn@bucket/a.png",
            "input_image_2": "/no/such.png",
        }
    )


def test_a_templated_uri_is_read_when_the_task_runs(emulator: EmulatorServer, aws_lab: str) -> None:
    ObjectStoragePath(f"s3://{aws_lab}@days/").mkdir(exist_ok=True)
    ObjectStoragePath(f"s3://{aws_lab}@days/2026-10-01/a.png").write_bytes(
        picture(size=(1024, 1500))
    )
    with DAG("d", schedule=None):
        task = operator(
            parameters={
                "input_image": "s3://aws_lab@days/{{ ds }}/a.png",
                "width": 1024,
                "height": "{{ side }}",
            }
        )
    task.render_template_fields({"ds": "2026-10-01", "side": 1024})
    assert task.parameters["input_image"] == "s3://aws_lab@days/2026-10-01/a.png"
    assert run(task)["cost"] == 6


@pytest.mark.parametrize("value", [None, ""])
def test_an_edit_whose_input_renders_to_nothing_is_not_paid_for(
    emulator: EmulatorServer, value: Any
) -> None:
    with DAG("d", schedule=None):
        task = operator(parameters={"input_image": "{{ image }}"})
    task.render_template_fields({"image": value})
    with pytest.raises(AirflowFailException, match="input_image is empty"):
        run(task)
    assert emulator.stats()["submits"] == 0


def test_path_objects_are_inputs(emulator: EmulatorServer, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    task = operator(
        parameters={
            "input_image": tmp_path / "a.png",
            "input_image_2": ObjectStoragePath(f"file://{tmp_path}/a.png"),
        }
    )
    assert run(task)["cost"] == 6


@pytest.mark.parametrize("source", ["missing", "no connection", "host"])
def test_an_input_that_cannot_be_read_is_told_before_anything_is_paid(
    emulator: EmulatorServer, connect: Any, source: str
) -> None:
    with Host(answers={"*": status(503)}) as host:
        connect(emulator.url, private_input_hosts="127.0.0.1")
        value = {
            "missing": "/no/such.png",
            "no connection": "s3://no_such@b/k.png",
            "host": f"{host.url}/a.png",
        }[source]
        kind = (
            AirflowFailException if source == "no connection" else errors.FluxInputError
        )  # left to Airflow's retries
        with pytest.raises(kind, match="input_image"):
            run(operator(parameters={"input_image": value}))
    assert emulator.stats()["submits"] + emulator.stats()["refused"] == 0


def test_an_input_of_a_model_that_is_not_known_is_sent_along(
    emulator: EmulatorServer, aws_lab: str
) -> None:
    ObjectStoragePath(f"s3://{aws_lab}@unknown/").mkdir(exist_ok=True)
    ObjectStoragePath(f"s3://{aws_lab}@unknown/a.png").write_bytes(picture())
    parameters = {"input_image": "s3://aws_lab@unknown/a.png", "surprise": 1}
    task = operator("flux-9-max", parameters=parameters, validate=False)
    with (
        task.hook.prepare_inputs(task._build_request()) as request,
        request.parameters["input_image"].open() as file,
    ):
        assert file.read() == picture()
        assert request.parameters["surprise"] == 1
    with pytest.raises(AirflowFailException, match="HTTP 404"):
        task.execute(context())


def test_a_folder_that_cannot_be_removed_does_not_pay_twice(
    emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(picture())

    def refuse(*_: object, **__: object) -> None:
        raise TimeoutError(
            "the clean-up hangs"
        )  # not an OSError that would be ignored, as a task timeout is not

    monkeypatch.setattr(tempfile.TemporaryDirectory, "cleanup", refuse)
    task = FluxGenerateOperator(
        task_id="t",
        model="flux-2-pro",
        prompt="x",
        parameters={"input_image": str(image)},
        inline_wait=0,
    )
    with pytest.raises(AirflowFailException, match="request_id"):
        task.execute(context())
    assert emulator.stats()["submits"] == 1
