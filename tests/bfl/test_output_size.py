"""Sizes of FLUX.2 images that are refused, sent with a warning, or sent."""

from __future__ import annotations

import pytest

from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.request import build_request

FLUX_2 = [name for name in MODELS if name.startswith("flux-2-")]


@pytest.mark.parametrize("model", FLUX_2)
@pytest.mark.parametrize(
    ("width", "height", "message"),
    [
        (16000, 16, "height=16: Input should be greater than or equal to 64"),
        (16000, 64, "width=16000 is more than 8192 pixels"),
        (64, 16000, "height=16000 is more than 8192 pixels"),
        (16000, 16000, "BFL documents at most 4 megapixels"),
        (8192, 8192, "width=8192, height=8192: 64 megapixels"),
    ],
)
def test_a_size_far_above_the_documentation_is_refused(
    model: str, width: int, height: int, message: str
) -> None:
    """Fault 32: the price grows with the megapixels, so 16000 is a mistake."""
    with pytest.raises(FluxRequestError) as caught:
        build_request(model, {"prompt": "x", "width": width, "height": height})
    assert message in str(caught.value)


@pytest.mark.parametrize("model", FLUX_2)
def test_a_size_a_little_above_the_documentation_is_sent_with_a_warning(model: str) -> None:
    """Fault 32: the service may accept it, so it is not refused."""
    request = build_request(model, {"prompt": "x", "width": 4096, "height": 2048})
    assert request.warnings == (
        "4096x2048 is more than 4 megapixels: the service may reduce it or refuse it",
    )


@pytest.mark.parametrize(("width", "height"), [(64, 64), (2048, 2048), (3072, 1312), (64, 8192)])
def test_a_documented_size_is_sent_without_a_warning(width: int, height: int) -> None:
    assert not build_request(
        "flux-2-pro", {"prompt": "x", "width": width, "height": height}
    ).warnings


def test_a_size_is_sent_as_it_is_if_the_request_is_not_checked() -> None:
    request = build_request("flux-2-pro", {"prompt": "x", "width": 16000}, validate=False)
    assert request.parameters["width"] == 16000
