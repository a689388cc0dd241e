"""The price of a submit whose own price is not known."""

from __future__ import annotations

from airflow_provider_flux.account.prices import expected_price, find_dearest, price_of
from airflow_provider_flux.bfl.catalog import MODELS
from airflow_provider_flux.bfl.request import build_request


def test_a_known_price_counts_as_it_is() -> None:
    assert price_of(build_request("flux-pro-1.1", {"prompt": "fox"})) == 4
    assert expected_price("flux-pro-1.1", 0.0) == 0


def test_an_unknown_model_counts_as_the_dearest_of_its_family() -> None:
    family = [name for name in MODELS if name.startswith("flux-2-")]
    dearest = max(find_dearest(name, MODELS) for name in family)
    assert find_dearest("flux-2-next", MODELS) == dearest
    assert dearest < find_dearest("nothing-like-it", MODELS)


def test_no_price_of_the_list_is_above_the_dearest_of_its_model() -> None:
    largest = {"prompt": "fox", "width": 2048, "height": 2048}
    for name in ("flux-2-pro", "flux-2-max", "flux-2-flex"):
        request = build_request(name, largest)
        assert price_of(request) <= find_dearest(name, MODELS)
