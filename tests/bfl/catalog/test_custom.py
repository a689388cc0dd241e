"""Models of the option ``[flux] models``: every setting, every mistake, and one request."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.bfl.catalog.custom import read_models
from airflow_provider_flux.bfl.catalog.model import Model
from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxRequestError
from airflow_provider_flux.bfl.request import build_request, estimate_cost
from airflow_provider_flux.bfl.validation import find_problems
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from tests.support.run_operator import WAYS, run_operator
from tests.support.submit_by_client import submit_by_hook

PRO = MODELS["flux-2-pro"]


def read_one(name: str = "flux-2-next", **described: Any) -> Model:
    """Return a model like flux-2-pro, with the given differences."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_models(json.dumps({name: {"like": "flux-2-pro", **described}}))[name]


def problems(model: Model, **parameters: Any) -> str:
    return "; ".join(find_problems(model, {"prompt": "x", **parameters}))


def test_a_configured_model_copies_its_base_model_under_its_own_name() -> None:
    model = read_one()
    assert (model.name, model.path) == ("flux-2-next", "/v1/flux-2-next")
    assert (model.schema, model.media, model.price) == (PRO.schema, PRO.media, PRO.price)
    assert (model.max_active, model.url_lifetime, model.typical_seconds) == (24, 600, 10)


def test_a_configured_model_may_have_a_folder_in_its_name() -> None:
    assert read_one("flux-tools/sharpen-v1").path == "/v1/flux-tools/sharpen-v1"


def test_a_configured_model_replaces_the_listed_settings() -> None:
    model = read_one(path="/v2/next", price=9, max_active=3, typical_seconds=70, url_lifetime=60)
    assert model.path == "/v2/next"
    assert (model.max_active, model.typical_seconds, model.url_lifetime) == (3, 70, 60)
    request = build_request(
        "flux-2-next", {"prompt": "x", "width": 2048, "height": 2048}, models={model.name: model}
    )
    assert request.path == "/v2/next"
    assert estimate_cost(request).credits == 9


def test_a_configured_price_of_zero_is_a_price() -> None:
    model = read_one(price=0)
    assert (
        estimate_cost(
            build_request(model.name, {"prompt": "x"}, models={model.name: model})
        ).credits
        == 0
    )


@pytest.mark.parametrize(
    ("parameter", "taken", "refused"),
    [
        ({"type": "string"}, ["", "x"], [1, True]),
        ({"type": "integer"}, [0, -3], [1.5, "1", True]),
        ({"type": "number"}, [1, 1.5], ["1", True]),
        ({"type": "boolean"}, [True, False], [1, "true"]),
        ({"type": "string", "enum": ["a", "b"]}, ["a", "b"], ["c", ""]),
        ({"type": "integer", "enum": [1, 2]}, [1, 2], [3]),
        ({"type": "number", "minimum": 0.5, "maximum": 2}, [0.5, 2], [0.4, 2.1]),
        ({"type": "integer", "multipleOf": 8, "minimum": 8}, [8, 64], [0, 9]),
    ],
)
def test_a_configured_parameter_is_checked_by_its_json_schema(
    parameter: dict[str, Any], taken: list[Any], refused: list[Any]
) -> None:
    model = read_one(parameters={"detail": parameter})
    for value in taken:
        assert problems(model, detail=value) == ""
    for value in refused:
        assert f"detail={value!r}: " in problems(model, detail=value)


def test_a_configured_parameter_out_of_range_is_reported_with_the_whole_range() -> None:
    model = read_one(
        parameters={"detail": {"type": "integer", "minimum": 8, "maximum": 64, "multipleOf": 8}}
    )
    assert "(allowed: 8 to 64, multiples of 8)" in problems(model, detail=9)


def test_a_missing_configured_parameter_is_reported_with_its_description() -> None:
    model = read_one(
        parameters={
            "detail": {"type": "number", "required": True, "description": "How much of it."}
        }
    )
    assert problems(model) == "detail is missing: How much of it."


def test_a_configured_parameter_may_replace_one_of_the_base_model() -> None:
    model = read_one(parameters={"width": {"type": "integer", "maximum": 4096}})
    assert "width=4097" in problems(model, width=4097)
    assert problems(model, width=8) == ""


def test_the_default_of_a_configured_parameter_is_not_sent() -> None:
    model = read_one(parameters={"detail": {"type": "integer", "default": 3}})
    assert model.schema.model_fields["detail"].default == 3
    assert dict(
        build_request(model.name, {"prompt": "x"}, models={model.name: model}).parameters
    ) == {"prompt": "x"}


def test_the_parameters_in_without_are_removed() -> None:
    model = read_one(without=["seed", "input_image_8"])
    assert "seed is not a parameter of flux-2-next" in problems(model, seed=1)
    assert "input_image_8" not in model.media_fields
    assert "input_image_7" in model.media_fields


def test_removing_a_parameter_also_removes_its_sent_default() -> None:
    model = read_one(like="flux-pro-1.1", without=["width", "height"])
    sent = build_request(model.name, {"prompt": "x"}, models={model.name: model}).parameters
    assert sorted(sent) == ["output_format", "prompt", "prompt_upsampling", "safety_tolerance"]


def test_a_configured_model_keeps_the_strictness_and_rules_of_its_base_model() -> None:
    model = read_one(like="flux-tools/outpainting-v1", parameters={"detail": {"type": "number"}})
    request = {"input_image": "https://a.b/c.png", "width": 64, "height": 64}
    assert "surprise is not a parameter" in "; ".join(
        find_problems(model, {**request, "surprise": 1})
    )
    ultra = read_one(like="flux-pro-1.1-ultra", parameters={"detail": {"type": "number"}})
    assert "must be between 21:9 and 9:21" in problems(ultra, aspect_ratio="30:9")


def test_a_model_with_modes_can_be_configured_under_another_name() -> None:
    model = read_one("flux-4-video", like="flux-3-video", max_active=2)
    assert model.schema_for({"mode": "i2v"}) is MODELS["flux-3-video"].modes["i2v"]
    assert model.output == "video"


#: Text of the option, and a part of its error message.
MISTAKES: list[tuple[Any, str]] = [
    ("{", "cannot be read: Expecting property name"),
    ("null", "models: Input should be a valid dictionary"),
    ([], "models: Input should be a valid dictionary"),
    ({"m": "flux-2-pro"}, "models: m: Input should be"),
    ({"m": {}}, "models: m.like: Field required"),
    ({"m": {"like": "flux-2-prp"}}, "Did you mean 'flux-2-pro'"),
    ({"m": {"like": "flux-2-pro", "cost": 3}}, "models: m.cost: Extra inputs are not permitted"),
    ({"M x": {"like": "flux-2-pro"}}, "model='M x' cannot be a route"),
    ({"m": {"like": "flux-2-pro", "path": "v1/x"}}, "models: m.path: "),
    ({"m": {"like": "flux-2-pro", "path": "/v1/x?y=1"}}, "models: m.path: "),
    ({"m": {"like": "flux-2-pro", "path": "/v1/x\n"}}, "models: m.path: "),
    ({"m": {"like": "flux-2-pro", "path": "/v1/Delete_Finetune"}}, "generates nothing"),
    ({"m": {"like": "flux-2-pro", "path": "/v1/a/../delete_finetune"}}, "not a path of the API"),
    ({"m": {"like": "flux-2-pro", "path": "//evil.example/x"}}, "not a path of the API"),
    ({"m": {"like": "flux-2-pro", "path": "/v1/"}}, "not a path of the API"),
    ({"credits": {"like": "flux-2-pro"}}, "generates nothing"),
    ({"m": {"like": "flux-2-pro", "price": -1}}, "models: m.price: "),
    ({"m": {"like": "flux-2-pro", "price": "3 credits"}}, "models: m.price: "),
    ({"m": {"like": "flux-2-pro", "max_active": 0}}, "models: m.max_active: "),
    ({"m": {"like": "flux-2-pro", "typical_seconds": 0}}, "models: m.typical_seconds: "),
    ({"m": {"like": "flux-2-pro", "url_lifetime": -1}}, "models: m.url_lifetime: "),
    ({"m": {"like": "flux-2-pro", "without": "seed"}}, "models: m.without: "),
    (
        {"m": {"like": "flux-2-pro", "without": ["sead"]}},
        "m.without: 'sead' is not a parameter of flux-2-pro. Did you",
    ),
    (
        {"m": {"like": "flux-3-video", "without": ["draft"]}},
        "has modes, so its parameters cannot be changed",
    ),
    ({"m": {"like": "flux-3-video", "parameters": {"x": {"type": "string"}}}}, "has modes"),
    (
        {"m": {"like": "flux-2-pro", "parameters": {"x": {}}}},
        "models: m.parameters.x.type: Field required",
    ),
    (
        {"m": {"like": "flux-2-pro", "parameters": {"x": {"type": "picture"}}}},
        "models: m.parameters.x.type: ",
    ),
    (
        {"m": {"like": "flux-2-pro", "parameters": {"json": {"type": "string"}}}},
        "'json' is a reserved name",
    ),
    (
        {"m": {"like": "flux-2-pro", "parameters": {"x": {"type": "string", "min": 1}}}},
        "models: m.parameters.x.min: ",
    ),
    (
        {"m": {"like": "flux-2-pro", "parameters": {"x": {"type": "string", "enum": []}}}},
        "parameters.x.enum: ",
    ),
    (
        {"m": {"like": "flux-2-pro", "parameters": {"x": {"type": "string", "enum": [[1]]}}}},
        "parameters.x.enum.0",
    ),
    (
        {"m": {"like": "flux-2-pro", "parameters": {"x": {"type": "string", "minimum": 1}}}},
        "apply only to numbers",
    ),
    (
        {"m": {"like": "flux-2-pro", "parameters": {"x": {"type": "integer", "minimum": 0.5}}}},
        "must be whole numbers",
    ),
    (
        {"m": {"like": "flux-2-pro", "parameters": {"x": {"type": "number", "multipleOf": 0}}}},
        "x.multipleOf: ",
    ),
    ({"m": {"like": "flux-2-pro", "parameters": {"_x": {"type": "number"}}}}, "parameters._x"),
    ({"m": {"like": "flux-2-pro", "parameters": {"x y": {"type": "number"}}}}, "parameters.x y"),
]


@pytest.mark.parametrize(("option", "message"), MISTAKES)
def test_a_faulty_configuration_names_the_model_and_the_fault(option: Any, message: str) -> None:
    with pytest.raises(FluxConfigurationError) as caught:
        read_models(option if isinstance(option, str) else json.dumps(option))
    assert str(caught.value).startswith("[flux] models")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configure a model on a route that the emulator has."""
    model = {
        "like": "flux-2-pro",
        "path": "/v1/flux-2-pro",
        "price": 9,
        "parameters": {"detail": {"type": "number", "maximum": 1, "required": True}},
    }
    monkeypatch.setenv("AIRFLOW__FLUX__MODELS", json.dumps({"flux-2-next": model}))


@pytest.mark.usefixtures("configured", "hurry")
@pytest.mark.parametrize("way", WAYS)
def test_a_configured_model_is_used_like_any_other(
    emulator: EmulatorServer, tmp_path: Path, way: str
) -> None:
    task = FluxGenerateOperator(
        task_id="hero",
        prompt="a fox",
        model="flux-2-next",
        parameters={"detail": 0.5, "width": 256, "height": 128},
        output_path=f"{tmp_path}/x.{{ext}}",
        poll_interval=0.1,
        **WAYS[way],
    )
    generation = run_operator(task)
    assert (generation["model"], generation["cost"], generation["cost_source"]) == (
        "flux-2-next",
        3,
        "reported",
    )
    assert (generation["image"]["width"], generation["image"]["height"]) == (256, 128)
    assert emulator.stats()["submits"] == 1


@pytest.mark.usefixtures("configured")
def test_a_configured_model_is_checked_when_the_dag_is_parsed() -> None:
    with pytest.raises(FluxRequestError, match="detail=2: "):
        FluxGenerateOperator(
            task_id="x", prompt="a fox", model="flux-2-next", parameters={"detail": 2}
        )
    with pytest.raises(FluxRequestError, match="Did you mean 'flux-2-next'"):
        FluxGenerateOperator(task_id="x", prompt="a fox", model="flux-2-nxt")


@pytest.mark.usefixtures("configured")
def test_the_hook_knows_configured_models(emulator: EmulatorServer) -> None:
    assert submit_by_hook("flux-2-next", {"prompt": "a fox", "detail": 1}).cost == 3


def test_a_configured_model_replaces_a_built_in_model_of_the_same_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert known_models() is MODELS
    monkeypatch.setenv(
        "AIRFLOW__FLUX__MODELS",
        json.dumps({"flux-2-pro": {"like": "flux-2-pro", "max_active": 50}}),
    )
    assert known_models()["flux-2-pro"].max_active == 50
    assert MODELS["flux-2-pro"].max_active == 24


def test_a_configuration_that_cannot_be_read_fails_when_the_dag_is_parsed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW__FLUX__MODELS", "{'flux-2-next': {}}")
    with pytest.raises(FluxConfigurationError, match=r"\[flux\] models cannot be read"):
        FluxGenerateOperator(task_id="x", prompt="a fox")


def test_a_configured_input_is_read_like_any_other() -> None:
    models = read_models(
        '{"m": {"like": "flux-2-pro", "parameters": {"style_image": {"type": "image"}}}}'
    )
    request = build_request("m", {"prompt": "x", "style_image": "s3://a@b/c.png"}, models=models)
    assert request.media_fields["style_image"].takes_url
