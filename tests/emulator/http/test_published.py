"""The emulator, our own check and the published schema agree on every request, over real HTTP."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from airflow_provider_flux.bfl.catalog import MODELS, MediaField, MediaKind
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.request import build_request
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from tests.support.emulator_media import encode_base64, encode_video, plain_image
from tests.support.published.routes import Route, as_json_schema, routes
from tests.support.published.strategies import Overrides, mutated_request, valid_request

KEY = "bfl_published_0123456789"
UNREACHABLE = "http://127.0.0.1:9/picture.jpeg"
EACH = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def picture(side: int) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), "teal").save(buffer, "jpeg")
    return base64.b64encode(buffer.getvalue()).decode()


PICTURE, SMALL_PICTURE = picture(256), picture(64)
VIDEO = encode_base64(encode_video(plain_image(size=(320, 240))))
DRAFT = base64.b64encode(bytes(range(256)) * 4).decode()


@pytest.fixture(scope="module")
def never_ready() -> Iterator[EmulatorServer]:
    """An emulator whose tasks outlast the tests: nothing is drawn, and no webhook is sent."""
    with EmulatorServer(EmulatorConfig(latency=3600, credits=1e9, max_active=1_000_000)) as server:
        yield server


def inputs_of(route: Route) -> Overrides:
    """Return strategies for the media of a route: real files, and URLs if the field takes them."""
    strategies: dict[str, st.SearchStrategy[Any]] = {}
    for spec in MODELS[route.model].media:
        if spec.name in route.fields:
            urls = [UNREACHABLE] if spec.takes_url else []
            values = st.sampled_from([*_real_files(spec, route), *urls])
            strategies[spec.name] = _arrange(spec.name, values)
    if route.model == "flux-tools/outpainting-v1":  # the picture must be inside the canvas
        strategies |= {
            name: st.sampled_from([None, 0])
            for name in ("reference_offset_x", "reference_offset_y")
        }
    if "finetune_id" in route.fields:
        strategies["finetune_id"] = st.just("demo-style")
    return strategies


def _real_files(spec: MediaField, route: Route) -> list[str]:
    if spec.kind is MediaKind.VIDEO:
        return [VIDEO]
    if spec.kind is MediaKind.DRAFT:
        return [DRAFT]
    return [SMALL_PICTURE if route.model == "flux-tools/outpainting-v1" else PICTURE]


def _arrange(name: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    if name == "images":
        return values | st.lists(values, min_size=1, max_size=10)
    if name == "keyframes":
        timed = st.lists(st.tuples(st.integers(0, 5), values).map(list), min_size=1, max_size=3)
        return values | st.lists(values, min_size=1, max_size=2) | timed
    return values


def submit(server: EmulatorServer, route: Route, body: dict[str, Any]) -> requests.Response:
    return requests.post(f"{server.url}{route.path}", json=body, headers={"x-key": KEY}, timeout=30)


@pytest.mark.parametrize("route", routes(), ids=str)
def test_a_request_that_our_check_accepts_is_accepted_by_schema_and_emulator(
    route: Route, never_ready: EmulatorServer
) -> None:
    schema = as_json_schema(route)
    accepted = 0

    @EACH
    @given(valid_request(route, inputs_of(route)))
    def judge(body: dict[str, Any]) -> None:
        nonlocal accepted
        never_ready.reset()
        try:
            request = build_request(route.model, body)
        except FluxRequestError:
            # Our check is stricter: it refuses an empty prompt, and a secret without a URL.
            return
        sent = dict(request.parameters)
        jsonschema.validate(sent, schema)
        answer = submit(never_ready, route, sent)
        assert answer.status_code == 200, answer.text[:500]
        assert never_ready.stats()["submits"] == 1
        accepted += 1

    judge()
    assert accepted >= 3


@pytest.mark.parametrize("route", routes(), ids=str)
def test_a_request_out_of_range_is_refused_by_all_before_any_cost(
    route: Route, never_ready: EmulatorServer
) -> None:
    schema = as_json_schema(route)

    @EACH
    @given(mutated_request(route, inputs_of(route)))
    def judge(body: dict[str, Any]) -> None:
        never_ready.reset()
        if None not in body.values():  # an operator omits None, so that it is not sent
            with pytest.raises(FluxRequestError):
                build_request(route.model, body)
        with pytest.raises(ValidationError):
            MODELS[route.model].schema_for(body).model_validate(body)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(body, schema)
        answer = submit(never_ready, route, body)
        assert answer.status_code == 422, answer.text[:500]
        assert isinstance(answer.json()["detail"], list)
        stats = never_ready.stats()
        assert (stats["submits"], stats["credits_spent"]) == (0, 0)

    judge()
