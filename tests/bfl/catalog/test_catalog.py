"""The facts of the catalog, and the search for a model by its name."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_flux.bfl.catalog import MODELS, MediaKind, did_you_mean, get_model, route_of
from airflow_provider_flux.bfl.errors import FluxRequestError

MIB = 1024 * 1024
IMAGES = [name for name, model in MODELS.items() if model.output == "image"]
VIDEOS = [name for name, model in MODELS.items() if model.output == "video"]
every_model = pytest.mark.parametrize("name", MODELS)

#: Names that people write, each with the suggestion.
MEANT = {
    "flux-kontext": "Did you mean 'flux-kontext-pro' or 'flux-kontext-max'?",
    "flux-pro-1.1-raw": "Did you mean 'flux-pro-1.1-ultra' with parameters={'raw': True}?",
    "flux-fill": "Did you mean 'flux-pro-1.0-fill'?",
    "flux-expand": "Did you mean 'flux-pro-1.0-expand'?",
    "flux-pro": "Did you mean 'flux-pro-1.1' (flux-pro is retired)?",
    "flux-2": "Did you mean 'flux-2-pro'?",
    "flux-2-klein": "Did you mean 'flux-2-klein-4b' or 'flux-2-klein-9b'?",
    "FLUX.3": "Did you mean 'flux-3-image' or 'flux-3-video'?",
    "FLUX.3 Image [klein]": "Did you mean 'flux-3-image-klein'?",
    "flux-3-klein": "Did you mean 'flux-3-image-klein'?",
    "FLUX.2 [pro]": "Did you mean 'flux-2-pro'?",
    "FLUX.2 [klein] 4B": "Did you mean 'flux-2-klein-4b'?",
    "FLUX1.1 [pro] Ultra": "Did you mean 'flux-pro-1.1-ultra'?",
    "FLUX1.1 [pro]": "Did you mean 'flux-pro-1.1'?",
    "FLUX.1 [dev]": "Did you mean 'flux-dev'?",
    "FLUX.1 Kontext [max]": "Did you mean 'flux-kontext-max'?",
    "Flux-Pro-1.1": "Did you mean 'flux-pro-1.1'?",
    "flux_2_max": "Did you mean 'flux-2-max'?",
    "kontext-pro": "Did you mean 'flux-kontext-pro'?",
    "erase-v1": "Did you mean 'flux-tools/erase-v1'?",
    "flux-erase": "Did you mean 'flux-tools/erase-v1'?",
    "flux-tools/vto": "Did you mean 'flux-tools/vto-v",
    "video-edit-v1": "Did you mean 'flux-tools/video-edit-v1'?",
    "flux-pro-11": "Did you mean 'flux-pro-1.1'",
    "flux-kontext-prp": "Did you mean 'flux-kontext-pro'",
    "flux-tools/eraze-v1": "Did you mean 'flux-tools/erase-v1'",
    "fulx-2-pro": "Did you mean 'flux-2-pro'",
}


@pytest.mark.parametrize(("written", "suggestion"), MEANT.items())
def test_an_unknown_model_name_suggests_the_intended_model(written: str, suggestion: str) -> None:
    with pytest.raises(FluxRequestError) as caught:
        get_model(written)
    assert suggestion in str(caught.value)


@pytest.mark.parametrize("name", ["stable-diffusion-xl", "", None, 7, []])
def test_a_name_unlike_any_model_lists_the_models_and_the_remedy(name: Any) -> None:
    with pytest.raises(FluxRequestError) as caught:
        get_model(name)
    assert "Did you mean" not in str(caught.value)
    assert "Known: flux-pro-1.1, " in str(caught.value)
    assert "validate=False" in str(caught.value)


@every_model
def test_every_model_is_found_by_its_own_name(name: str) -> None:
    assert get_model(name).name == name
    assert route_of(name) == f"/v1/{name}"


def test_the_route_of_an_unknown_model_is_built_from_its_name() -> None:
    assert route_of("flux-9-max") == "/v1/flux-9-max"
    assert route_of("flux-tools/sharpen-v1") == "/v1/flux-tools/sharpen-v1"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "FLUX",
        "../credits",
        "a//x",
        "/flux",
        "flux/",
        "x?y=1",
        "x#y",
        "a b",
        "a\nb",
        "flux-2-pro\n",
        "é",
        None,
        [],
    ],
)
def test_no_model_name_changes_the_route(name: Any) -> None:
    with pytest.raises(FluxRequestError, match="cannot be a route"):
        route_of(name)


@pytest.mark.parametrize(
    "name",
    [
        *("delete_finetune", "my_finetunes", "finetune_details", "finetune", "credits"),
        *("get_result", "licenses/models/flux-1-dev/usage", "delete-finetune", "credits."),
        *("v1/delete_finetune", "v1/flux-2-pro", "v1", "x/delete_finetune"),
    ],
)
def test_a_route_that_generates_nothing_is_no_model(name: str) -> None:
    """Fault 5: ``delete_finetune`` as a model would delete a finetune."""
    with pytest.raises(FluxRequestError, match=r"generates nothing|the API twice"):
        route_of(name)


@pytest.mark.parametrize(
    "name",
    ["a/../delete_finetune", "..", "%2e%2e/credits", "//evil.example/x", "a\\b", "Delete_finetune"],
)
def test_a_model_name_cannot_climb_to_another_route(name: str) -> None:
    """Fault 5: path tricks do not lead to a route of the account."""
    with pytest.raises(FluxRequestError, match="cannot be a route"):
        route_of(name)


def test_a_finetuned_model_is_a_model() -> None:
    assert route_of("flux-2-klein-9b-finetuned") == "/v1/flux-2-klein-9b-finetuned"


def test_a_name_unlike_any_other_has_no_suggestion() -> None:
    assert did_you_mean("qqqqqq", ["width", "height"]) == ""
    assert did_you_mean("heigth", ["width", "height"]) == " Did you mean 'height' or 'width'?"


@every_model
def test_the_limit_of_active_generations_is_that_of_the_service(name: str) -> None:
    expected = {"flux-kontext-max": 6, **dict.fromkeys(VIDEOS, 5)}
    assert MODELS[name].max_active == expected.get(name, 24)


@every_model
def test_a_media_field_is_a_field_of_its_model_and_unique(name: str) -> None:
    model = MODELS[name]
    assert set(model.media_fields) <= set(model.fields)
    assert len(model.media_fields) == len(model.media)
    for field in model.media:
        assert field.same_size_as is None or field.same_size_as in model.media_fields


@every_model
def test_a_field_that_is_named_like_an_image_or_video_is_a_media_field(name: str) -> None:
    words = ("image", "images", "mask", "video", "person", "garment", "keyframes", "draft_cache")
    model = MODELS[name]
    sounding = {
        field
        for field in model.fields
        if field in words or field.startswith(("input_", "image_prompt"))
    }
    others = {"image_prompt_strength", "input_image_blob_path"}
    assert sounding - others <= set(model.media_fields)


def test_the_flux_1_routes_accept_only_base64_and_newer_routes_accept_urls() -> None:
    base64_only = {
        name for name, model in MODELS.items() if any(not field.takes_url for field in model.media)
    }
    assert base64_only == {name for name in MODELS if name.startswith(("flux-pro-1.", "flux-dev"))}


def test_each_mask_must_have_the_size_of_its_image() -> None:
    masks = {
        (name, field.same_size_as)
        for name, model in MODELS.items()
        for field in model.media
        if field.kind is MediaKind.MASK
    }
    with_masks = ("flux-pro-1.0-fill", "flux-pro-1.0-fill-finetuned", "flux-tools/erase-v1")
    assert masks == {(name, "image") for name in with_masks}


def test_the_limits_of_inputs_are_those_of_the_service() -> None:
    limits = {
        (model.name, field.name): (
            field.max_bytes // MIB,
            field.max_pixels,
            field.min_side,
            field.max_seconds,
        )
        for model in MODELS.values()
        for field in model.media
    }
    video = {
        ("flux-3-image", "images"): (20, 16 * 1024 * 1024, 256, None),
        ("flux-3-image-klein", "images"): (20, 16 * 1024 * 1024, 256, None),
        ("flux-3-video", "start_video"): (50, None, None, None),
        ("flux-3-video", "draft_cache"): (128, None, None, None),
        ("flux-tools/video-upscale-v1", "input_video"): (50, 2560 * 1440, None, None),
        ("flux-tools/video-edit-v1", "video"): (50, None, 160, 15.0),
    }
    for field, limit in limits.items():
        usual = (20, 20_000_000, 256 if field[1] == "image_prompt" else None, None)
        assert limit == video.get(field, usual), field


def test_each_model_has_as_many_references_as_the_service_accepts() -> None:
    count = {
        name: len(model.media) for name, model in MODELS.items() if "input_image_2" in model.fields
    }
    assert {name for name, many in count.items() if many == 8} == {
        *("flux-2-max", "flux-2-pro", "flux-2-pro-preview", "flux-2-flex")
    }
    assert {many for name, many in count.items() if "klein" in name or "kontext" in name} == {4}


def test_flux_3_image_klein_has_the_parameters_of_its_clients() -> None:
    model = MODELS["flux-3-image-klein"]
    assert set(model.fields) == {
        *("prompt", "images", "aspect_ratio", "resolution", "steps", "seed"),
        *("safety_tolerance", "output_format"),
    }


def test_the_default_format_is_that_of_the_service() -> None:
    png = {name for name, model in MODELS.items() if model.default_format == "png"}
    assert png == {
        *("flux-kontext-pro", "flux-kontext-max", "flux-3-image", "flux-3-image-klein"),
        *("flux-tools/erase-v1", "flux-tools/deblur-v1", "flux-tools/outpainting-v1"),
    }
    assert {MODELS[name].default_format for name in VIDEOS} == {"mp4"}
    assert {MODELS[name].default_format for name in set(IMAGES) - png} == {"jpeg"}


def test_the_lifetime_of_a_result_url_is_that_of_the_service() -> None:
    lifetimes = {name: model.url_lifetime for name, model in MODELS.items()}
    an_hour = {name for name in IMAGES if lifetimes[name] == 3600}
    assert an_hour == {"flux-3-image", "flux-3-image-klein"}
    assert {lifetimes[name] for name in set(IMAGES) - an_hour} == {600}
    assert [lifetimes[name] for name in VIDEOS] == [7200, 3600, 3600]


def test_the_catalog_knows_when_the_service_reports_the_cost() -> None:
    at_submit = {name for name, model in MODELS.items() if model.cost_reported == "at submit"}
    assert at_submit == {name for name in IMAGES if name.startswith(("flux-2-", "flux-tools/"))}
    when_ready = {name for name, model in MODELS.items() if model.cost_reported == "when ready"}
    assert when_ready == {"flux-3-image", "flux-3-image-klein", *VIDEOS}


def test_the_catalog_knows_the_routes_without_webhooks() -> None:
    without = {name for name, model in MODELS.items() if not model.has_webhooks}
    assert without == {
        *("flux-3-image", "flux-3-image-klein", "flux-3-video"),
        *("flux-tools/outpainting-v1", "flux-tools/video-edit-v1"),
    }


def test_402_is_ambiguous_only_for_videos() -> None:
    assert [name for name, model in MODELS.items() if model.is_402_ambiguous] == VIDEOS


def test_the_mode_of_a_request_decides_on_its_schema() -> None:
    model = MODELS["flux-3-video"]
    assert "keyframes" in model.schema_for({"mode": "i2v"}).model_fields
    assert "keyframes" not in model.schema_for({"mode": "t2v"}).model_fields
    for mode in (None, "x2v", 7, ["i2v"]):
        assert model.schema_for({"mode": mode}) is model.schema
    assert set(model.mode_aliases.values()) == set(model.modes)
