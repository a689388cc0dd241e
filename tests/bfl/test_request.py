"""Requests are checked, completed and fingerprinted before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.bfl.catalog import MODELS, route_of
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.request import build_request, estimate_cost
from airflow_provider_flux.bfl.validation import find_problems


def test_the_documented_defaults_of_flux_pro_1_1_are_sent_explicitly() -> None:
    request = build_request("flux-pro-1.1", {"prompt": "a fox"})
    assert dict(request.parameters) == {
        "prompt": "a fox",
        "width": 1024,
        "height": 1024,
        "prompt_upsampling": False,
        "safety_tolerance": 2,
        "output_format": "jpeg",
    }


@pytest.mark.parametrize("model", ["flux-pro-1.1-ultra", "flux-2-pro", "flux-kontext-pro"])
def test_models_without_documented_defaults_are_sent_only_the_supplied_parameters(
    model: str,
) -> None:
    assert dict(build_request(model, {"prompt": "a fox", "seed": None}).parameters) == {
        "prompt": "a fox"
    }


@pytest.mark.parametrize(
    ("model", "parameters", "message"),
    [
        ("flux-pro-1.1", {}, "prompt is missing"),
        ("flux-pro-1.1", {"prompt": "  "}, "prompt is missing"),
        ("flux-pro-1.1", {"prompt": 5}, "prompt=5"),
        ("flux-pro-1.1", {"prompt": ["a fox"]}, "prompt=<list>: Input should be a valid string"),
        ("flux-pro-1.1", {"prompt": {"a": "fox"}}, "prompt=<dict>: Input should be a valid"),
        (
            "flux-tools/video-edit-v1",
            {"prompt": "a fox " * 1_000, "video": "https://example.com/a.mp4"},
            "prompt=<str>: .* at most 4096",
        ),
        (
            "flux-pro-1.1",
            {"prompt": "x", "width": 1000},
            r"width=1000.*multiple of 32.*256 to 1440",
        ),
        ("flux-pro-1.1", {"prompt": "x", "width": 255}, r"width=255.*256 to 1440"),
        ("flux-pro-1.1", {"prompt": "x", "height": 1472}, r"height=1472.*256 to 1440"),
        ("flux-pro-1.1", {"prompt": "x", "width": "1024"}, r"width='1024'.*valid integer"),
        ("flux-pro-1.1", {"prompt": "x", "width": True}, "width=True"),
        ("flux-pro-1.1", {"prompt": "x", "seed": "abc"}, "seed='abc'"),
        ("flux-pro-1.1", {"prompt": "x", "safety_tolerance": 7}, r"safety_tolerance=7.*0 to 6"),
        (
            "flux-pro-1.1",
            {"prompt": "x", "output_format": "gif"},
            r"output_format='gif'.*'jpeg', 'png' or 'webp'",
        ),
        (
            "flux-pro-1.1",
            {"prompt": "x", "widht": 512},
            r"widht is not a parameter.*Did you mean 'width'",
        ),
        ("flux-pro-1.1", {"prompt": "x", "webhook_secret": "s3cret"}, "webhook_url is not"),
        (
            "flux-pro-1.1",
            {"prompt": "x", "webhook_url": "nowhere"},
            r"webhook_url='nowhere'.*valid URL",
        ),
        (
            "flux-pro-1.1-ultra",
            {"prompt": "x", "aspect_ratio": "30:9"},
            r"aspect_ratio='30:9': must be between",
        ),
        ("flux-pro-1.1-ultra", {"prompt": "x", "aspect_ratio": "wide"}, "width:height"),
        ("flux-pro-1.1-ultra", {"prompt": "x", "aspect_ratio": "0:1"}, "width:height"),
        (
            "flux-pro-1.1-ultra",
            {"prompt": "x", "image_prompt_strength": 2.0},
            "image_prompt_strength=2.0",
        ),
        ("flux-2-pro", {"prompt": "x", "width": 32}, r"width=32.*64 or more"),
        ("flux-2-pro", {"prompt": "x", "safety_tolerance": 6}, r"safety_tolerance=6.*0 to 5"),
        ("flux-2-pro", {"input_image": "https://example.com/a.png"}, "prompt is missing"),
        ("flux-kontext-pro", {"prompt": "x", "width": 512}, "width is not a parameter"),
        ("flux-pro-11", {"prompt": "x"}, r"not a known FLUX model.*Did you mean 'flux-pro-1.1'"),
        ("stable-diffusion", {"prompt": "x"}, "validate=False"),
    ],
)
def test_an_invalid_parameter_is_reported_with_field_value_and_range(
    model: str, parameters: dict, message: str
) -> None:
    with pytest.raises(FluxRequestError, match=message):
        build_request(model, parameters)


def test_all_invalid_parameters_are_reported_at_once() -> None:
    with pytest.raises(
        FluxRequestError, match=r"width=1000.*height=1.*seed='x'|seed='x'.*width=1000.*height=1"
    ):
        build_request("flux-pro-1.1", {"prompt": "p", "width": 1000, "height": 1, "seed": "x"})


def test_a_validation_error_shows_neither_image_bytes_nor_secrets() -> None:
    with pytest.raises(FluxRequestError) as caught:
        build_request(
            "flux-pro-1.1",
            {
                "prompt": "p",
                "image_prompt": b"QUJD" * 999,
                "webhook_secret": 77_123,
                "webhook_url": "https://a.b",
            },
        )
    assert "QUJD" not in str(caught.value)
    assert "77123" not in str(caught.value)
    request = build_request(
        "flux-pro-1.1", {"prompt": "p", "webhook_url": "https://a.b", "webhook_secret": "s3cret"}
    )
    assert "s3cret" not in repr(request)


def test_a_request_with_an_image_prompt_needs_no_prompt() -> None:
    assert (
        build_request("flux-pro-1.1", {"image_prompt": "QUJD"}).parameters["image_prompt"] == "QUJD"
    )


def test_rendered_text_is_converted_to_the_type_of_its_parameter() -> None:
    parameters = {
        "prompt": "512",
        "width": " 512 ",
        "seed": "None",
        "prompt_upsampling": "True",
        "webhook_url": "https://a.b/c",
        "output_format": "",
    }
    request = build_request("flux-pro-1.1", parameters, rendered=set(parameters))
    assert request.parameters["prompt"] == "512"
    assert request.parameters["width"] == 512
    assert request.parameters["prompt_upsampling"] is True
    assert request.parameters["webhook_url"] == "https://a.b/c"
    assert request.parameters["output_format"] == "jpeg"
    assert "seed" not in request.parameters


@pytest.mark.parametrize(
    ("value", "message"), [("abc", "width='abc'"), ("1000", "width=1000"), ("51.5", "width=51.5")]
)
def test_rendered_text_that_fits_no_type_is_refused(value: str, message: str) -> None:
    with pytest.raises(FluxRequestError, match=message):
        build_request("flux-pro-1.1", {"prompt": "x", "width": value}, rendered={"width"})


def test_a_prompt_that_rendered_to_none_is_reported_as_missing() -> None:
    with pytest.raises(FluxRequestError, match="prompt is missing"):
        build_request("flux-pro-1.1", {"prompt": "None"}, rendered={"prompt"})


def test_a_prompt_that_native_rendering_turned_into_a_number_is_sent_as_text() -> None:
    assert (
        build_request("flux-pro-1.1", {"prompt": 42}, rendered={"prompt"}).parameters["prompt"]
        == "42"
    )


def test_unresolved_parameters_are_not_checked() -> None:
    model = MODELS["flux-pro-1.1"]
    assert find_problems(model, {}, unresolved={"prompt"}) == []
    assert find_problems(model, {"webhook_secret": "x"}, unresolved={"prompt", "webhook_url"}) == []
    assert len(find_problems(model, {"width": 1000}, unresolved={"prompt"})) == 1


def test_an_unknown_model_can_be_sent_without_validation() -> None:
    request = build_request(
        "flux-9-max", {"prompt": "x", "strange": 1, "seed": None}, validate=False
    )
    assert request.path == "/v1/flux-9-max"
    assert dict(request.parameters) == {"prompt": "x", "strange": 1}
    assert estimate_cost(request).credits is None


@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize(
    ("name", "value"),
    [("prompt", "a\ud800b"), ("user", "\udfff"), ("images", [{"a": "\ud800"}])],
)
def test_a_text_with_a_lone_surrogate_is_refused_by_its_name(
    name: str, value: Any, validate: bool
) -> None:
    """Fault 28: no raw UnicodeEncodeError after the submit."""
    with pytest.raises(FluxRequestError, match=f"{name} contains a lone surrogate"):
        build_request("flux-pro-1.1", {"prompt": "x", name: value}, validate=validate)


@pytest.mark.parametrize("written", ["jpg", "JPEG", "jpeg "])
def test_a_format_is_suggested(written: str) -> None:
    """Fault 28: ``jpg`` is no format of BFL."""
    with pytest.raises(FluxRequestError, match=r"Did you mean 'jpeg'"):
        build_request("flux-pro-1.1", {"prompt": "x", "output_format": written})


@pytest.mark.parametrize("name", ["../credits", "a b", "", "flux?x=1", "FLUX", "/v1"])
def test_a_model_name_cannot_change_the_route(name: str) -> None:
    with pytest.raises(FluxRequestError):
        route_of(name)


@pytest.mark.parametrize(
    ("model", "parameters", "credits"),
    [
        ("flux-pro-1.1", {}, 4),
        ("flux-pro-1.1-ultra", {"raw": True}, 6),
        ("flux-kontext-pro", {}, 4),
        ("flux-2-pro", {}, 3),
        ("flux-2-pro", {"width": 1024, "height": 1024}, 3),
        ("flux-2-pro", {"width": 1440, "height": 1440}, 4.5),
        ("flux-2-pro", {"width": 2048, "height": 2048}, 7.5),
        ("flux-2-pro", {"input_image": "https://a.b/c", "input_image_2": "https://a.b/d"}, 6),
    ],
)
def test_the_estimate_of_a_request_follows_the_price_list(
    model: str, parameters: dict, credits: float
) -> None:
    assert estimate_cost(build_request(model, {"prompt": "x", **parameters})).credits == credits


sides = st.integers(8, 45).map(lambda n: n * 32)
valid_parameters = st.fixed_dictionaries(
    {"prompt": st.text(min_size=1).filter(str.strip), "width": sides, "height": sides},
    optional={
        "seed": st.integers(-(2**63), 2**63 - 1),
        "safety_tolerance": st.integers(0, 6),
        "output_format": st.sampled_from(["jpeg", "png", "webp"]),
        "prompt_upsampling": st.booleans(),
    },
)


@given(valid_parameters)
def test_every_valid_request_is_accepted_unchanged(parameters: dict) -> None:
    request = build_request("flux-pro-1.1", parameters)
    assert {name: request.parameters[name] for name in parameters} == parameters


@given(valid_parameters, st.randoms())
def test_the_fingerprint_depends_only_on_the_values(parameters: dict, random) -> None:
    names = list(parameters)
    random.shuffle(names)
    request = build_request("flux-pro-1.1", parameters)
    assert (
        build_request("flux-pro-1.1", {name: parameters[name] for name in names}).fingerprint
        == request.fingerprint
    )
    with_webhook = {**parameters, "webhook_url": "https://a.b/c", "webhook_secret": "s"}
    assert build_request("flux-pro-1.1", with_webhook).fingerprint == request.fingerprint
    other = {**parameters, "prompt": parameters["prompt"] + "!"}
    assert build_request("flux-pro-1.1", other).fingerprint != request.fingerprint


@given(st.integers())
def test_a_width_is_accepted_exactly_if_the_service_accepts_it(width: int) -> None:
    allowed = 256 <= width <= 1440 and width % 32 == 0
    assert (find_problems(MODELS["flux-pro-1.1"], {"prompt": "x", "width": width}) == []) is allowed


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("flux-kontext-pro", {"prompt": "x", "input_image": ""}),
        ("flux-kontext-pro", {"prompt": "x", "input_image": "None"}),
        ("flux-3-image", {"prompt": "x", "images": ""}),
        ("flux-3-video", {"mode": "t2v", "prompt": "x", "keyframes": ""}),
        ("flux-pro-1.0-fill", {"image": "https://x.example/a.png", "mask": "None"}),
    ],
)
def test_an_edit_without_its_only_input_or_its_mask_is_refused(
    model: str, parameters: dict
) -> None:
    with pytest.raises(FluxRequestError, match="is empty"):
        build_request(model, parameters, rendered=set(parameters))


def test_an_empty_reference_among_several_is_left_out_with_a_warning() -> None:
    parameters = {"prompt": "x", "input_image": "https://x.example/a.png", "input_image_2": ""}
    request = build_request("flux-2-pro", parameters, rendered={"input_image_2"})
    assert "input_image_2" not in request.parameters
    assert request.warnings[0] == "input_image_2 is empty: the request is sent without it"


def test_a_lazy_sequence_is_a_list_and_a_mode_is_trimmed() -> None:
    class Lazy(Sequence):
        def __getitem__(self, index: int) -> str:  # type: ignore[override]
            return ["https://x.example/a.png"][index]

        def __len__(self) -> int:
            return 1

    request = build_request("flux-3-image", {"prompt": "x", "images": Lazy()})
    assert request.parameters["images"] == ["https://x.example/a.png"]
    assert (
        build_request("flux-3-video", {"prompt": "x", "mode": " t2v "}).parameters["mode"] == "t2v"
    )


@pytest.mark.parametrize("value", [{}, []])
def test_an_input_of_a_wrong_type_is_refused_and_not_treated_as_empty(value: object) -> None:
    with pytest.raises(FluxRequestError, match="input_image_2=<"):
        build_request(
            "flux-2-pro",
            {"prompt": "x", "input_image": "https://x.example/a.png", "input_image_2": value},
        )


@pytest.mark.parametrize("model", ["flux-2-pro", "flux-3-image", "flux-tools/video-edit-v1"])
def test_an_empty_prompt_has_one_sentence(model: str) -> None:
    media = {"video": "https://a.b/c.mp4"} if "video" in MODELS[model].fields else {}
    with pytest.raises(FluxRequestError) as caught:
        build_request(model, {"prompt": "", **media})
    assert str(caught.value).count("prompt") == 1


@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (2**64 - 1, "seed=18446744073709551615 is out of range: records and manifests hold whole"),
        (2**63, "seed=9223372036854775808 is out of range"),
        (-(2**63) - 1, "seed=-9223372036854775809 is out of range"),
        pytest.param(10**5000, "seed has 16610 bits and is out of range", id="of 5000 digits"),
    ],
)
def test_a_seed_that_no_manifest_can_hold_is_refused_before_the_submit(
    value: int, message: str, validate: bool
) -> None:
    """Fault 16: a seed of 2**64-1 was billed, and its Parquet manifest could not be written."""
    parameters = {"prompt": "a fox", "seed": value}
    with pytest.raises(FluxRequestError) as caught:
        build_request("flux-2-pro", parameters, validate=validate)
    assert message in str(caught.value)


@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize("seed", [2**63 - 1, -(2**63), 0])
def test_a_seed_of_64_bits_is_sent(seed: int, validate: bool) -> None:
    """Fault 16: the limit is that of the column, not less."""
    request = build_request("flux-2-pro", {"prompt": "a", "seed": seed}, validate=validate)
    assert request.parameters["seed"] == seed


def _nest(levels: int) -> object:
    return [_nest(levels - 1)] if levels else 1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"list": [1, {"n": 2**80}]}, "extra=1208925819614629174706176 is out of range"),
        (float("nan"), "extra=nan is not a finite number"),
        ([float("-inf")], "extra=-inf is not a finite number"),
        (_nest(60), "extra has more than 50 levels of lists and dicts"),
    ],
)
def test_a_parameter_that_is_passed_through_fits_every_output(value: object, message: str) -> None:
    """Fault 16: values of parameters that this version does not know are checked, too."""
    with pytest.raises(FluxRequestError) as caught:
        build_request("flux-9", {"prompt": "a fox", "extra": value}, validate=False)
    assert message in str(caught.value)
