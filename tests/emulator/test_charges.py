"""The emulator charges what the price list estimates, for each model and each price that it has."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.bfl.request import build_request, estimate_cost
from tests.emulator.conftest import Client

RESOLUTIONS = ("768sq", "1k", "1.5k", "2k", "4k")
SQUARE = {"width": 1024, "height": 1024}
#: Requests whose sizes are known before the submit.
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    *(
        (model, {"resolution": name})
        for model in ("flux-3-image", "flux-3-image-klein")
        for name in RESOLUTIONS
    ),
    ("flux-3-image", {}),
    ("flux-3-image-klein", {}),
    *((name, SQUARE) for name in MODELS if name.startswith("flux-2-")),
    *((name, {"width": 2048, "height": 1536}) for name in MODELS if name.startswith("flux-2-")),
    *((name, {}) for name in ("flux-pro-1.1", "flux-pro-1.1-ultra", "flux-dev")),
    *((name, {}) for name in ("flux-kontext-pro", "flux-kontext-max")),
    ("flux-pro-1.1-ultra-finetuned", {"finetune_id": "demo-style"}),
    *(
        ("flux-3-video", {"mode": "t2v", "duration": 5, "resolution": name})
        for name in ("hd", "fhd", "qhd", "uhd")
    ),
    ("flux-3-video", {"mode": "t2v", "duration": 5, "draft": True}),
]


@pytest.mark.parametrize(("model", "parameters"), REQUESTS)
def test_the_charge_is_the_estimate(client: Client, model: str, parameters: dict[str, Any]) -> None:
    request = build_request(model, {"prompt": "a fox", **parameters})
    estimate = estimate_cost(request).credits
    assert estimate is not None
    client.submit(model=model, **parameters)
    assert client.credits() == pytest.approx(1000 - estimate)
