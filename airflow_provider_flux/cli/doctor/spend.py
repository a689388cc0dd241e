"""The check that pays: one image of the cheapest model, from the submit to the landed file."""

from __future__ import annotations

import tempfile
import time
from typing import Any

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.request import GenerationRequest, build_request, estimate_cost
from airflow_provider_flux.cli.doctor.check import Finding
from airflow_provider_flux.cli.task_ids import CommandTaskInstance
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.observability.command_metrics import start_metrics
from airflow_provider_flux.operators.generate import FluxGenerateOperator

_PROMPT = "A plain grey square"
_SIDE = 256
#: Seconds that the image has in all.
SPEND_SECONDS = 180.0


def cheapest_request() -> GenerationRequest:
    """Return the request of an image with the lowest price that needs only a prompt."""
    candidates = []
    for model in known_models().values():
        if model.output != "image":
            continue
        try:
            request = build_request(
                model.name,
                {"prompt": _PROMPT, "width": _SIDE, "height": _SIDE},
                models=known_models(),
            )
        except FluxRequestError:
            continue
        price = estimate_cost(request).credits
        if price is not None:
            candidates.append((price, model.name, request))
    return min(candidates, key=lambda candidate: candidate[:2])[2]


def generate_one(flux_conn_id: str) -> Finding:
    """Generate and land one image in a temporary folder. **BFL bills it.**

    :param flux_conn_id: id of the connection.
    """
    start_metrics()
    request = cheapest_request()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="flux-doctor-") as folder:
        operator = FluxGenerateOperator(
            task_id="doctor",
            prompt=_PROMPT,
            model=request.model,
            width=_SIDE,
            height=_SIDE,
            output_path=f"{folder}/doctor.{{ext}}",
            flux_conn_id=flux_conn_id,
            deferrable=False,
            timeout=SPEND_SECONDS - 10,
        )
        context: Any = {"ti": CommandTaskInstance("flux_doctor", "doctor", "doctor")}
        generation = operator.execute(context)
    image: Any = generation["image"]
    cost = generation["cost"] if generation["cost"] is not None else generation["estimated_cost"]
    return Finding(
        "ok",
        f"{request.model} made an image of {image['width']} x {image['height']} pixels in "
        f"{time.monotonic() - began:.1f} s for {cost:g} credits.",
    )
