"""Input images and videos of the operator: checked at parse time, read at run time, never shown."""

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

from airflow_provider_flux.bfl import errors
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.inputs import InlineMedia
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from tests.support.airflow_names import DagSerialization
from tests.support.run_operator import WAYS, new_context, run_operator
from tests.support.sample_media import encode_base64, make_image
from tests.support.scripted_host import ScriptedHost, status

pytestmark = [
    pytest.mark.usefixtures("hurry"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

JPEG, SMALL = encode_base64(make_image("jpeg")), encode_base64(make_image("jpeg", (64, 64)))
#: Parts of the inputs that show if the inputs do. Airflow does not cut texts this short.
MARKS = (JPEG[40:80], SMALL[40:80], make_image("jpeg")[40:60].hex())
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
    """Return the template fields of a task as Airflow shows and stores them."""
    values = {name: getattr(task, name) for name in task.template_fields}
    stored = {name: serialize_template_field(value, name) for name, value in values.items()}
    return json.dumps(stored) + str(values)


def check_hidden(text: str) -> None:
    for mark in MARKS:
        assert mark not in text.replace("\n", "").replace("\\n", "")


class Later:
    """An output of another task, which is known at run time."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def resolve(self, _: Any) -> Any:
        return self.value

    def iter_references(self) -> Iterator[Any]:
        return iter(())


@forms
def test_the_serialized_dag_holds_no_base64_of_an_input(form: str) -> None:
    encoded = written(JPEG, form)
    with DAG("d", schedule=None) as dag:
        tasks = [
            operator(task_id="one", parameters={"input_image": encoded}),
            operator(
                "flux-3-image",
                task_id="list",
                parameters={"images": [encoded, "s3://bucket/a.png"]},
            ),
            operator(
                "flux-3-video",
                task_id="pairs",
                parameters={"mode": "i2v", "keyframes": [[0, encoded], (2.5, encoded)]},
            ),
            operator(
                "flux-9-max",
                task_id="unknown",
                validate=False,
                parameters={"deep": {"picture": encoded}},
            ),
        ]
    check_hidden(json.dumps(DagSerialization.to_dict(dag)))
    for task in tasks:
        check_hidden(shown(task))
    assert "<base64 text of" in shown(tasks[0])
    assert tasks[1].parameters["images"][1] == "s3://bucket/a.png"


@forms
def test_the_stored_fields_of_a_task_hold_no_base64_of_a_rendered_template(form: str) -> None:
    with DAG("d", schedule=None):
        task = operator("flux-3-image", parameters={"images": ["{{ image }}", "{{ other }}"]})
    task.render_template_fields({"image": written(JPEG, form), "other": "s3://bucket/a.png"})
    check_hidden(shown(task))
    [first, second] = task.parameters["images"]
    assert isinstance(first, InlineMedia)
    assert second == "s3://bucket/a.png"


@pytest.mark.parametrize("native", [False, True])
def test_the_stored_fields_of_a_task_hold_no_base64_of_another_task(native: bool) -> None:
    with DAG("d", schedule=None, render_template_as_native_obj=native):
        whole = operator(
            task_id="whole", prompt=None, parameters=Later({"prompt": "a fox", "input_image": JPEG})
        )
        part = operator(
            task_id="part", parameters={"input_image": Later(f"data:image/jpeg;base64,{JPEG}")}
        )
        text = operator(task_id="text", prompt=None, parameters="{{ parameters }}")
    for task in (whole, part, *([text] if native else [])):
        task.render_template_fields({"parameters": {"prompt": "a fox", "input_image": JPEG}})
        check_hidden(shown(task))
        assert isinstance(task.parameters["input_image"], InlineMedia)


def test_a_template_within_a_data_url_is_rendered_and_hidden(emulator: EmulatorServer) -> None:
    with DAG("d", schedule=None):
        task = operator(parameters={"input_image": "data:image/jpeg;base64,{{ image }}"})
    assert task.parameters["input_image"] == "data:image/jpeg;base64,{{ image }}"
    task.render_template_fields({"image": JPEG})
    check_hidden(shown(task))
    assert run_operator(task)["cost"] == 4.5


@forms
@pytest.mark.parametrize("way", WAYS)
def test_a_base64_input_is_sent_and_not_logged(
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
        generation = run_operator(task)
    assert Path(generation["image"]["uri"]).exists()
    assert generation["cost"] == 4.5
    check_hidden(json.dumps(generation))
    check_hidden("".join(capfd.readouterr()) + caplog.text)


#: Arguments with a base64 input that fails, by the reason.
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
def test_no_error_holds_the_base64_of_an_input(
    emulator: EmulatorServer, capfd: pytest.CaptureFixture[str], wrong: str
) -> None:
    with pytest.raises(AirflowFailException) as caught:
        run_operator(operator(**WRONG[wrong]))
    check_hidden(str(caught.value) + repr(caught.value.__cause__) + repr(caught.value.__context__))
    check_hidden("".join(capfd.readouterr()))


#: Model, wrong literal parameters, and a part of the error.
MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("flux-2-pro", {"input_image": "a.png"}, "input_image is neither a URI"),
    ("flux-2-pro", {"input_image": "file://a.png"}, "input_image='file://a.png' is relative"),
    ("flux-2-pro", {"input_image": 7}, "input_image=<int>"),
    ("flux-2-pro", {"input_image": {"uri": "s3://b/k"}}, "input_image=<dict>"),
    (
        "flux-2-pro",
        {"input_image_8": encode_base64(b"no image" * 99)},
        "It is a text of 1056 characters",
    ),
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


@pytest.mark.parametrize(("model", "parameters", "message"), MISTAKES)
def test_a_wrong_input_fails_when_the_dag_is_parsed(
    model: str, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(FluxRequestError) as caught:
        operator(model, parameters=parameters)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 700


def test_parsing_a_dag_opens_no_input() -> None:
    operator(
        parameters={
            "input_image": "s3://no_such_conn@bucket/a.png",
            "input_image_2": "/no/such.png",
        }
    )


def test_a_templated_uri_of_an_input_is_read_when_the_task_runs(
    emulator: EmulatorServer, aws_lab: str
) -> None:
    ObjectStoragePath(f"s3://{aws_lab}@days/").mkdir(exist_ok=True)
    ObjectStoragePath(f"s3://{aws_lab}@days/2026-10-01/a.png").write_bytes(
        make_image(size=(1024, 1500))
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
    assert run_operator(task)["cost"] == 6


@pytest.mark.parametrize("value", [None, ""])
def test_an_edit_whose_input_renders_to_nothing_is_not_submitted(
    emulator: EmulatorServer, value: Any
) -> None:
    with DAG("d", schedule=None):
        task = operator(parameters={"input_image": "{{ image }}"})
    task.render_template_fields({"image": value})
    with pytest.raises(AirflowFailException, match="input_image is empty"):
        run_operator(task)
    assert emulator.stats()["submits"] == 0


def test_a_path_object_is_an_input(emulator: EmulatorServer, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(make_image())
    task = operator(
        parameters={
            "input_image": tmp_path / "a.png",
            "input_image_2": ObjectStoragePath(f"file://{tmp_path}/a.png"),
        }
    )
    assert run_operator(task)["cost"] == 6


@pytest.mark.parametrize("source", ["missing", "no connection", "host"])
def test_an_unreadable_input_fails_the_task_before_the_submit(
    emulator: EmulatorServer, connect: Any, source: str
) -> None:
    with ScriptedHost(answers={"*": status(503)}) as host:
        connect(emulator.url, private_input_hosts="127.0.0.1")
        value = {
            "missing": "/no/such.png",
            "no connection": "s3://no_such@b/k.png",
            "host": f"{host.url}/a.png",
        }[source]
        # Airflow may retry all but a missing connection.
        kind = AirflowFailException if source == "no connection" else errors.FluxInputError
        with pytest.raises(kind, match="input_image"):
            run_operator(operator(parameters={"input_image": value}))
    assert emulator.stats()["submits"] + emulator.stats()["refused"] == 0


def test_an_input_of_an_unknown_model_is_sent(emulator: EmulatorServer, aws_lab: str) -> None:
    ObjectStoragePath(f"s3://{aws_lab}@unknown/").mkdir(exist_ok=True)
    ObjectStoragePath(f"s3://{aws_lab}@unknown/a.png").write_bytes(make_image())
    parameters = {"input_image": "s3://aws_lab@unknown/a.png", "surprise": 1}
    task = operator("flux-9-max", parameters=parameters, validate=False)
    with (
        task.hook.prepare_inputs(task._build_request()) as request,
        request.parameters["input_image"].open() as file,
    ):
        assert file.read() == make_image()
        assert request.parameters["surprise"] == 1
    with pytest.raises(AirflowFailException, match="HTTP 404"):
        task.execute(new_context())


def test_a_temporary_folder_that_cannot_be_removed_causes_no_second_submit(
    emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(make_image())

    def refuse(*_: object, **__: object) -> None:
        # Unlike an OSError, this error is not ignored. Neither is a task timeout.
        raise TimeoutError("the clean-up hangs")

    monkeypatch.setattr(tempfile.TemporaryDirectory, "cleanup", refuse)
    task = FluxGenerateOperator(
        task_id="t",
        model="flux-2-pro",
        prompt="x",
        parameters={"input_image": str(image)},
        inline_wait=0,
    )
    with pytest.raises(AirflowFailException, match="request_id"):
        task.execute(new_context())
    assert emulator.stats()["submits"] == 1
