"""Simulations that several test files share."""

from __future__ import annotations

import pytest

from tests.support.account_simulation import Client, race


@pytest.fixture(scope="package")
def small_batches() -> list[Client]:
    """Clients that each work alone, with several seeds."""
    return [race(seed, [240], [0])[0] for seed in range(8)]
