"""Seeds that follow from a key and a request."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.request import build_request
from airflow_provider_flux.bfl.stable_seed import (
    is_stable,
    reroll_seed,
    stable_seed,
    with_stable_seed,
)

_VALUES = st.integers() | st.text(max_size=8) | st.booleans() | st.floats(allow_nan=False)
_PARAMETERS = st.dictionaries(st.text(max_size=6), _VALUES, max_size=5)
_REPORTING: dict[str, Any] = {
    "seed": 7,
    "webhook_url": "https://hooks.example.com/a",
    "webhook_secret": "s",
    "user": "nightly",
    "safety_tolerance": 5,
    "output_format": "png",
}


class TestStableSeed:
    def test_a_stable_seed_stays_the_same_in_every_version(self) -> None:
        assert stable_seed("A-7", "flux-2-pro", {"prompt": "a fox", "width": 512}) == 1312507027

    @given(st.text(max_size=8), _PARAMETERS)
    def test_a_stable_seed_depends_on_no_order_and_has_31_bits(
        self, key: str, parameters: dict[str, Any]
    ) -> None:
        seed = stable_seed(key, "flux-2-pro", parameters)
        assert 0 <= seed < 2**31
        assert seed == stable_seed(key, "flux-2-pro", dict(reversed(parameters.items())))

    @pytest.mark.parametrize("width", [512, 512.0, "512", Decimal(512), Decimal("512.00")])
    def test_the_type_of_a_column_does_not_change_a_stable_seed(self, width: Any) -> None:
        assert stable_seed("k", "m", {"width": width}) == stable_seed("k", "m", {"width": 512})

    @pytest.mark.parametrize("name", _REPORTING)
    def test_a_parameter_that_does_not_change_the_picture_does_not_change_its_seed(
        self, name: str
    ) -> None:
        plain = {"prompt": "a fox"}
        assert stable_seed("k", "m", plain | {name: _REPORTING[name]}) == stable_seed(
            "k", "m", plain
        )

    def test_another_key_model_or_parameter_gives_another_seed(self) -> None:
        seeds = {
            stable_seed("a", "m", {"prompt": "a fox"}),
            stable_seed("b", "m", {"prompt": "a fox"}),
            stable_seed("a", "n", {"prompt": "a fox"}),
            stable_seed("a", "m", {"prompt": "a hare"}),
            stable_seed("a", "m", {"prompt": "a fox", "width": 512}),
        }
        assert len(seeds) == 5


class TestRerollSeed:
    @given(st.none() | st.integers(0, 2**31 - 1), st.integers(1, 9), st.text(max_size=8))
    def test_another_attempt_has_another_seed_which_is_always_the_same(
        self, seed: int | None, number: int, fingerprint: str
    ) -> None:
        rerolled = reroll_seed(seed, number, fingerprint)
        assert 0 <= rerolled < 2**31
        assert rerolled != seed
        assert rerolled == reroll_seed(seed, number, fingerprint)

    def test_the_attempts_at_one_picture_have_different_seeds(self) -> None:
        assert len({reroll_seed(7, number, "f") for number in range(1, 100)}) == 99


class TestWithStableSeed:
    def test_a_request_gets_the_seed_of_its_own_parameters(self) -> None:
        request = build_request("flux-2-pro", {"prompt": "a fox"})
        seeded = with_stable_seed(request, "k")
        assert seeded.parameters["seed"] == stable_seed("k", "flux-2-pro", request.parameters)
        assert with_stable_seed(seeded, "k") == seeded

    def test_a_model_without_a_seed_is_refused(self) -> None:
        request = build_request("flux-3-image", {"prompt": "a fox"})
        with pytest.raises(FluxRequestError, match="needs a model with the parameter seed"):
            with_stable_seed(request)


@pytest.mark.parametrize(
    ("seed", "expected"), [("stable", True), (" Stable ", True), ("7", False), (7, False)]
)
def test_only_the_word_stable_asks_for_a_stable_seed(seed: Any, expected: bool) -> None:
    assert is_stable(seed) is expected
