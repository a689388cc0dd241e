"""Landings with a fault: the object is the whole new image, or the old one.

``make test`` tries each fault once in each store, ``make soak`` 500 times in all. The variable
``FLUX_TRIALS`` sets the number.
FLUX_TRIALS_SEED gives the same trials again, as far as the clocks allow.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import random
import sys
import time
import uuid
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from airflow_provider_flux.bfl.request import build_request
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.generation import new_generation, poller_for
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.object_store import objects
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import open_path, run_sync
from tests.support.cutting_proxy import CuttingProxy
from tests.support.landing_trials import FAULTS, Fault, Image, Trial
from tests.support.object_stores import BucketStore, Store
from tests.support.strikes import DeliveryProxy

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SEED = os.environ.get("FLUX_TRIALS_SEED") or str(random.SystemRandom().randrange(10**6))
CELLS = [
    pytest.param(store, fault, id=f"{store}-{fault.name}")
    for fault in FAULTS
    for store in fault.stores
]
TRIALS = math.ceil(int(os.environ.get("FLUX_TRIALS", "1")) / len(CELLS))
IMAGES = [
    {"output_format": kind, "width": size, "height": size}
    for kind in ("jpeg", "png")
    for size in (1024, 2048)
]


@pytest.fixture(scope="module")
def delivery() -> Iterator[DeliveryProxy]:
    """Run an emulator with a proxy before it."""
    with (
        EmulatorServer(EmulatorConfig(latency=0)) as emulator,
        DeliveryProxy(emulator.url) as delivery,
    ):
        yield delivery


@pytest.fixture(scope="module")
def images(delivery: DeliveryProxy) -> list[Image]:
    """Generate images of 0.3 to 6 MB."""
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_STRUCK", delivery.connection)
        hook = FluxHook("struck")
        for asked in IMAGES:
            request = build_request("flux-2-pro", {"prompt": "a lighthouse", "seed": 7, **asked})
            generation = new_generation(request, hook.submit(request))
            poller = poller_for(generation, deadline=time.time() + 60)
            result = hook.get_conn().wait(poller, generation["polling_url"])
            made.append(Image(generation, hook.get_conn().download(result.sample or "")))
    return made


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[Counter[tuple[str, str, str]]]:
    """Count the trials by store, fault and verdict, and print the counts at the end."""
    counts: Counter[tuple[str, str, str]] = Counter()
    yield counts
    verdicts = ("absent", "old", "complete", "partial")
    lines = [
        "",
        f"{f'FLUX_TRIALS_SEED={SEED}':28}"
        + "".join(f"{name:>10}" for name in ("trials", *verdicts)),
    ]
    for row in [*dict.fromkeys((store, fault) for store, fault, _ in counts), ("all", "")]:
        found = [
            sum(n for key, n in counts.items() if row in (key[:2], ("all", "")) and key[2] == v)
            for v in verdicts
        ]
        lines.append(
            f"{row[0]:6}{row[1]:22}" + "".join(f"{number:10}" for number in (sum(found), *found))
        )
    capture = request.config.pluginmanager.get_plugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        sys.stdout.write("\n".join([*lines, ""]))


@pytest.mark.parametrize(("store", "fault"), CELLS, indirect=["store"])
def test_whatever_fails_the_object_is_the_whole_new_image_or_the_old_one(
    store: Store,
    fault: Fault,
    delivery: DeliveryProxy,
    images: list[Image],
    table: Counter[tuple[str, str, str]],
) -> None:
    wrong = []
    for number in range(TRIALS):
        rng = random.Random(f"{SEED} {store.scheme} {fault.name} {number}")
        trial = Trial(rng, store, rng.choice(images), delivery, rng.choice(fault.ways))
        verdict, complaints = trial.run(fault)
        table[store.scheme, fault.name, verdict] += 1
        if complaints:
            size = len(trial.image.data)
            wrong.append(f"FLUX_TRIALS_SEED={SEED}, trial {number} of {size} bytes: {complaints}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("store", ["s3", "gs", "abfs"], indirect=True)
def test_a_put_that_is_reset_at_any_tenth_of_its_body_is_retried(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the answer was lost, the retry must accept its own object."""
    assert isinstance(store, BucketStore)
    data = random.Random(SEED).randbytes(500_000)
    cases = list(
        itertools.product([*(tenth * len(data) // 10 for tenth in range(11)), None], [False, True])
    )
    with ExitStack() as stack:
        puts = []
        for number, (passed, exclusive) in enumerate(cases):
            proxy = stack.enter_context(CuttingProxy(store.url))
            proxy.cut(passed)
            conn_id = f"cut_{uuid.uuid4().hex[:12]}"
            monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", store.connection(proxy.url))
            uri = f"{store.root_by(conn_id)}/{number:02}.png"
            open_path(uri)
            puts.append(
                (proxy, objects.put(uri, data, WriteOptions("image/png"), exclusive=exclusive))
            )
        run_sync(_together([put for _, put in puts]))
        assert [proxy.cuts for proxy, _ in puts] == [1] * len(cases)
    names = [f"{number:02}.png" for number in range(len(cases))]
    assert store.names() == names
    assert all(store.read(f"{store.root}/{name}") == data for name in names)


async def _together(puts: list[Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*puts)
