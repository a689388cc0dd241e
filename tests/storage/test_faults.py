"""Whatever strikes while an image lands: at its target is the whole image, or what was there before.

``make test`` tries each fault once in each store, ``make soak`` 500 times in all. FLUX_TRIALS says how often,
FLUX_TRIALS_SEED gives the same trials again, as far as clocks allow.
"""

from __future__ import annotations

import hashlib
import math
import os
import random
import re
import signal
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Literal

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_flux.bfl.generation import build_request
from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.storage import sidecar, writer
from airflow_provider_flux.storage.dialects import Manner
from airflow_provider_flux.storage.target import LandingOptions, Target
from airflow_provider_flux.stores import open_path, run
from airflow_provider_flux.xcom import Generation, submitted
from tests.cutting_proxy import Cut, CuttingProxy
from tests.object_stores import BucketStore, FileStore, Store
from tests.storage.lander import DIED, LANDED, Lander, Order
from tests.storage.striking import Delivery, Folder, Place, small_disk

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

BUCKETS = ("s3", "gs", "abfs")
ALL = ("file", *BUCKETS)
SEED = os.environ.get("FLUX_TRIALS_SEED") or str(random.SystemRandom().randrange(10**6))
OLD = b"old image " * 1000
OLD_SIDECAR = b'{"request_id": "old"}\n'
#: Sidecars are larger than that; what a client sends to look around is not.
SMALL = 256
KEY = "bfl_faults_0123456789"
IMAGES = [
    {"output_format": "jpeg"},
    {"output_format": "png"},
    {"output_format": "jpeg", "width": 2048, "height": 2048},
    {"output_format": "png", "width": 2048, "height": 2048},
]

Verdict = Literal["absent", "old", "complete", "partial"]


@dataclass(frozen=True)
class Image:
    """A generation that is ready, and the bytes that are delivered for it."""

    generation: Generation
    data: bytes
    sha256: str


@dataclass
class Trial:
    """One image on its way to a store, and what stands in its way.

    :param name: of the target in the store; in a folder of its own.
    :param old: whether there is an image of another time.
    :param proxy: before the server of the store; ``None`` for a local file.
    :param put: where the put can be struck: at the proxy, or in the folder of the file.
    """

    rng: random.Random
    store: Store
    name: str
    image: Image
    old: bool
    order: Order
    delivery: Delivery
    proxy: CuttingProxy | None
    put: Place
    cleanup: ExitStack
    struck: bool = False
    lander: Lander | None = None

    def strike(self, number: signal.Signals) -> Callable[[], None]:
        """Return what sends the lander a signal."""
        pause, cut = self.rng.choice([0.0, self.rng.uniform(0, 0.1)]), self.rng.random() < 0.5

        def act() -> None:
            self.struck = True
            assert self.lander is not None
            self.lander.signal(number)
            if number == signal.SIGALRM:
                time.sleep(pause)  # the image is still on its way when the lander gives up
            elif cut:  # or what a dead process has handed to its kernel is delivered
                raise Cut

        return act

    def reset(self) -> None:
        """Reset the connection."""
        self.struck = True
        raise Cut

    def judge(self) -> Verdict:
        """Look into the store: what is at the target, and beside it?"""
        uri = f"{self.store.root}/{self.name}"
        before = (OLD, OLD_SIDECAR) if self.old else (None, None)
        found, described = self.store.read(uri), self.store.read(sidecar.uri_of(uri))
        if (found, described) == before:
            return "old" if self.old else "absent"
        if found is None or hashlib.sha256(found).hexdigest() != self.image.sha256:
            return "partial"
        facts = sidecar.from_bytes(described) if described else None
        told = described == before[1] or (facts and facts.media.sha256 == self.image.sha256)
        return "complete" if told else "partial"

    def litter(self) -> list[str]:
        """Return what lies beside the target and should not."""
        folder = self.name.partition("/")[0]
        there = [name for name in self.store.names() if name.startswith(f"{folder}/")]
        return [name for name in there if name not in {self.name, sidecar.uri_of(self.name)}]


@dataclass(frozen=True)
class Fault:
    """What strikes.

    :param outcome: what the lander must say then.
    :param may_be: what may be at the target afterwards, beside what was there before.
    """

    name: str
    arm: Callable[[Trial], None]
    outcome: str
    may_be: frozenset[Verdict] = frozenset()
    stores: tuple[str, ...] = ALL
    way: Literal["worker", "triggerer"] | None = None
    quickly: bool = False


def signal_in_download(number: signal.Signals) -> Callable[[Trial], None]:
    def arm(trial: Trial) -> None:
        trial.delivery.at(trial.rng.randrange(len(trial.image.data)), trial.strike(number))

    return arm


def signal_in_put(number: signal.Signals) -> Callable[[Trial], None]:
    def arm(trial: Trial) -> None:
        passed = trial.rng.randrange(len(trial.image.data) + 1)
        if trial.proxy and trial.rng.random() < 0.25:  # in the put of the sidecar
            trial.proxy.at(None, lambda: None)
            passed = trial.rng.randrange(SMALL)
        trial.put.at(passed, trial.strike(number))

    return arm


def reset_in_download(trial: Trial) -> None:
    trial.delivery.at(trial.rng.randrange(11) * len(trial.image.data) // 10, trial.reset)


def reset_in_put(trial: Trial) -> None:
    assert trial.proxy is not None
    trial.proxy.at(trial.rng.randrange(11) * len(trial.image.data) // 10, trial.reset, trial.rng.choice([1, 1, 2]))


def lose_answer(trial: Trial) -> None:
    assert trial.proxy is not None
    trial.proxy.at(None, trial.reset, trial.rng.choice([1, 1, 2]))


def stop_store(trial: Trial) -> None:
    proxy, seconds = trial.proxy, trial.rng.uniform(0.5, 3)
    assert proxy is not None

    def act() -> None:
        trial.struck = True
        proxy.down_for(seconds)
        raise Cut

    proxy.at(trial.rng.randrange(len(trial.image.data) + 1), act)


def fill_disk(trial: Trial) -> None:
    """A disk, or a quota where disks may not be made, that the old image fits on and the new one does not."""
    assert isinstance(trial.store, FileStore)
    folder = trial.store._path(trial.uri).parent
    size = trial.rng.randrange(8 * 4096, len(trial.image.data) - 4096)
    folder.mkdir()
    if trial.rng.random() < 0.25 or not trial.cleanup.enter_context(small_disk(folder, size)):
        trial.order = replace(trial.order, largest_file=size)
    trial.struck = True


SIGNALS = [
    ("exception", signal.SIGALRM, "AirflowTaskTimeout: .*", "worker"),
    ("cancelled", signal.SIGALRM, "CancelledError: ", "triggerer"),
    ("SIGTERM", signal.SIGTERM, DIED, None),
    ("SIGKILL", signal.SIGKILL, DIED, None),
]
COMPLETE: frozenset[Verdict] = frozenset({"complete"})
FAULTS = [
    *(Fault(f"{name} in download", signal_in_download(number), out, way=way) for name, number, out, way in SIGNALS),
    Fault("reset in download", reset_in_download, LANDED, COMPLETE),
    *(Fault(f"{name} in put", signal_in_put(number), out, COMPLETE, way=way) for name, number, out, way in SIGNALS),
    Fault("reset in put", reset_in_put, LANDED, COMPLETE, BUCKETS),
    Fault("answer lost", lose_answer, LANDED, COMPLETE, BUCKETS),
    Fault("store down", stop_store, LANDED, COMPLETE, BUCKETS),
    Fault("disk full", fill_disk, "FluxStorageError: .*", stores=("file",), quickly=True),
]
CELLS = [pytest.param(store, fault, id=f"{store}-{fault.name}") for fault in FAULTS for store in fault.stores]
TRIALS = math.ceil(int(os.environ.get("FLUX_TRIALS", "1")) / len(CELLS))


@pytest.fixture(scope="module")
def delivery() -> Iterator[Delivery]:
    """An emulator, and what stands before it."""
    with EmulatorServer(EmulatorConfig(latency=0)) as emulator, Delivery(emulator.url) as delivery:
        yield delivery


@pytest.fixture(scope="module")
def images(delivery: Delivery) -> list[Image]:
    """Images that are ready, of several sizes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_FAULTS", flux_connection(delivery))
        hook, made = FluxHook("faults"), []
        for asked in IMAGES:
            request = build_request("flux-2-pro", {"prompt": "a lighthouse", **asked})
            submission = hook.submit(request)
            result = hook.wait(submission)
            assert result is not None
            assert result.sample is not None
            data = hook.download(result.sample)
            made.append(Image(submitted(request, submission), data, hashlib.sha256(data).hexdigest()))
    return made


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[Counter[tuple[str, ...]]]:
    """Counts what became of the trials; printed at the end."""
    counts: Counter[tuple[str, ...]] = Counter()
    yield counts
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    columns = ("trials", "absent", "old", "complete", "partial")
    reporter.write_line(f"\n\nFLUX_TRIALS_SEED={SEED}\n{'':28}" + "".join(f"{name:>10}" for name in columns))
    cells = dict.fromkeys((store, fault) for store, fault, _ in counts)
    for row in [*cells, ("all", "faults")]:
        found = [sum(n for key, n in counts.items() if row in (key[:2], ("all", "faults")) and key[2] == name) for name in columns]
        reporter.write_line(f"{' '.join(row):28}" + "".join(f"{number:>10}" for number in found))


@pytest.mark.parametrize(("store", "fault"), CELLS, indirect=["store"])
def test_what_is_there_is_whole(
    store: Store, fault: Fault, delivery: Delivery, images: list[Image], table: Counter[tuple[str, ...]]
) -> None:
    for number in range(TRIALS):
        rng = random.Random(f"{SEED} {store.scheme} {fault.name} {number}")
        with ExitStack() as cleanup:
            trial = prepared(rng, store, rng.choice(images), fault, delivery, cleanup)
            verdict = tried(trial, fault)
        table[store.scheme, fault.name, "trials"] += 1
        table[store.scheme, fault.name, verdict] += 1
