"""Trials: land one image, inject one fault, and judge the object that is there afterwards."""

from __future__ import annotations

import hashlib
import random
import re
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from airflow.sdk import ObjectStoragePath

from airflow_provider_flux.generation import Generation
from airflow_provider_flux.landing.companion_names import sidecar_uri
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.sidecar import parse_sidecar
from airflow_provider_flux.landing.target import LandingOptions, Target
from tests.support.cutting_proxy import Cut, CuttingProxy
from tests.support.landing_process import DIED, LANDED, Lander, Order, Way
from tests.support.object_stores import BucketStore, Store
from tests.support.strikes import DeliveryProxy, StrikePoint, WatchedFolder, mount_small_disk

Verdict = Literal["absent", "old", "complete", "partial"]

_OLD, _OLD_SIDECAR = b"old image " * 1000, b'{"request_id": "old"}\n'
#: Bytes of a body: larger than those of other requests, smaller than any sidecar.
_SMALL = 256
_BUCKETS = ("s3", "gs", "abfs")
_STORES = ("file", *_BUCKETS)
#: Longest time of a landing, and of one that its fault prevents.
_LANDING_SECONDS, _FAILING_SECONDS = 150.0, 10.0


@dataclass(frozen=True)
class Image:
    """A Ready generation, and the bytes that BFL delivers for it."""

    generation: Generation
    data: bytes

    @property
    def sha256(self) -> str:
        """Hash of the bytes."""
        return hashlib.sha256(self.data).hexdigest()


class Trial:
    """The landing of one image with one fault; ``rng`` draws what is random.

    :ivar old: whether there is an old image at the target.
    :ivar put: the place to strike a put: a proxy before the server, or the local folder.
    :ivar struck: whether the fault happened.
    :ivar puts: number of puts when a fatal fault happened.
    """

    def __init__(
        self, rng: random.Random, store: Store, image: Image, delivery: DeliveryProxy, way: Way
    ) -> None:
        self.rng, self.store, self.image, self.delivery = rng, store, image, delivery
        self.cleanup = ExitStack()
        self.name = f"{uuid.uuid4().hex[:12]}/hero.img"
        self.old, self.struck = rng.random() < 0.5, False
        self.puts: int | None = None
        self.proxy: CuttingProxy | None = None
        self.put: StrikePoint
        root, environment = store.root, {"AIRFLOW_CONN_FLUX_DEFAULT": delivery.connection}
        if isinstance(store, BucketStore):
            self.put = self.proxy = self.cleanup.enter_context(
                CuttingProxy(store.url, larger_than=_SMALL)
            )
            root, environment["AIRFLOW_CONN_STRUCK"] = (
                store.root_by("struck"),
                store.connection(self.proxy.url),
            )
        else:
            before = len(_OLD) + len(_OLD_SIDECAR) if self.old else 0
            self.put = self.cleanup.enter_context(WatchedFolder(self.folder, before))
        exclusive = not self.old and rng.random() < 0.5
        # Only the puts of image and sidecar are struck and counted.
        options = LandingOptions(if_exists="error" if exclusive else "overwrite", renditions={})
        plan = LandingPlan(target=Target(path=f"{root}/{self.name}", options=options))
        linger = rng.choice([0.0, rng.uniform(0.2, 0.5)])
        self.order = Order(environment, image.generation, plan, way, linger)
        self.lander: Lander | None = None

    @property
    def uri(self) -> str:
        """URI of the image by the connection without a proxy."""
        return f"{self.store.root}/{self.name}"

    @property
    def folder(self) -> Path:
        """The folder of the image in a local store."""
        return Path(self.uri.removeprefix("file://")).parent

    def run(self, fault: Fault) -> tuple[Verdict, str]:
        """Land the image; return the verdict on the object, and the complaints about the trial."""
        with self.cleanup:
            fault.arm(self)
            if self.old:
                path = ObjectStoragePath(self.uri)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(_OLD)
                ObjectStoragePath(sidecar_uri(self.uri)).write_bytes(_OLD_SIDECAR)
            self.lander = self.cleanup.enter_context(Lander(self.order))
            begin = time.monotonic()
            outcome = self.lander.outcome(_LANDING_SECONDS)
            seconds = time.monotonic() - begin
            early = self._judge()
            if self.proxy:
                self.proxy.stop()
                time.sleep(0.1)  # the server finishes what it has received
            verdict = self._judge() if early != "partial" else early
            return verdict, "; ".join(self._complaints(fault, verdict, outcome, seconds))

    def strike(self, number: signal.Signals) -> Callable[[], None]:
        """Return an action that sends the lander a signal."""
        pause, cut = self.rng.uniform(0.1, 0.2), self.rng.random() < 0.5

        def act() -> None:
            assert self.lander is not None
            self.struck = True
            self.puts = self.proxy.large if self.proxy else 0
            self.lander.signal(number)
            if number == signal.SIGALRM:
                time.sleep(pause)  # the lander gives up during the put
            if cut:  # otherwise the kernel delivers what the dead lander has handed to it
                raise Cut

        return act

    def reset(self) -> None:
        """Reset the connection."""
        self.struck = True
        raise Cut

    def _judge(self) -> Verdict:
        before = (_OLD, _OLD_SIDECAR) if self.old else (None, None)
        found, described = self.store.read(self.uri), self.store.read(sidecar_uri(self.uri))
        if (found, described) == before:
            return "old" if self.old else "absent"
        if found is None or hashlib.sha256(found).hexdigest() != self.image.sha256:
            return "partial"
        return "complete" if described == before[1] or self._is_described(described) else "partial"

    def _is_described(self, described: bytes | None) -> bool:
        facts = parse_sidecar(described or b"")
        return facts is not None and facts.media.sha256 == self.image.sha256

    def _complaints(
        self, fault: Fault, verdict: Verdict, outcome: str, seconds: float
    ) -> Iterator[str]:
        if verdict == "partial":
            yield "a partial image or sidecar"
        # A local file can be written before the fault happens.
        late = not self.struck and self.proxy is None and outcome == LANDED
        if not late and not (self.struck and re.fullmatch(fault.outcome, outcome, re.DOTALL)):
            yield f"struck: {self.struck}, and the outcome is {outcome!r}"
        if outcome == LANDED and verdict != "complete":
            yield f"landed, and what is there is {verdict}"
        if outcome == LANDED and not self._is_described(self.store.read(sidecar_uri(self.uri))):
            yield "landed without its sidecar"
        if fault.prevents and verdict == "complete":
            yield "landed in spite of the fault"
        if fault.prevents and outcome != DIED and seconds > _FAILING_SECONDS:
            yield f"took {seconds:.0f} s"
        if self.proxy and self.puts is not None and self.proxy.large > self.puts:
            yield f"went on after its end, and put {self.proxy.large - self.puts} more"
        if litter := self._litter(allow_hidden=outcome == DIED):
            yield f"left {litter}"

    def _litter(self, *, allow_hidden: bool) -> list[str]:
        folder, _, name = self.name.partition("/")
        there = [
            one.partition("/")[2] for one in self.store.names() if one.startswith(f"{folder}/")
        ]
        hidden = (
            re.compile(r"\..*\.tmp") if allow_hidden and self.proxy is None else re.compile("$")
        )
        return [
            one
            for one in there
            if one not in {name, sidecar_uri(name)} and not hidden.fullmatch(one)
        ]


@dataclass(frozen=True)
class Fault:
    """A fault of a trial.

    :param arm: plans the fault.
    :param outcome: the outcome of the lander, as a regular expression.
    :param prevents: whether the image cannot land.
    :param ways: who may land the image.
    """

    name: str
    arm: Callable[[Trial], None]
    outcome: str = LANDED
    prevents: bool = False
    stores: tuple[str, ...] = _STORES
    ways: tuple[Way, ...] = ("worker", "triggerer")


def _signal_in_download(number: signal.Signals) -> Callable[[Trial], None]:
    def arm(trial: Trial) -> None:
        trial.delivery.at(trial.rng.randrange(len(trial.image.data)), trial.strike(number))

    return arm


def _signal_in_put(number: signal.Signals) -> Callable[[Trial], None]:
    def arm(trial: Trial) -> None:
        size = len(trial.image.data)
        passed = trial.rng.randrange(size + 1)
        if trial.rng.random() < 0.25:  # in the put of the sidecar
            passed = trial.rng.randrange(_SMALL)
            if trial.proxy:
                trial.proxy.at(None, lambda: None)
            else:
                passed += size
        trial.put.at(passed, trial.strike(number))

    return arm


def _tenth(trial: Trial) -> int:
    return trial.rng.randrange(11) * len(trial.image.data) // 10


def _reset_download(trial: Trial) -> None:
    trial.delivery.at(_tenth(trial), trial.reset)


def _reset_put(trial: Trial) -> None:
    assert trial.proxy is not None
    trial.proxy.at(_tenth(trial), trial.reset)


def _lose_answer(trial: Trial) -> None:
    assert trial.proxy is not None
    trial.proxy.at(None, trial.reset)


def _stop_store(trial: Trial) -> None:
    proxy, seconds = trial.proxy, trial.rng.uniform(0.5, 3)
    assert proxy is not None

    def act() -> None:
        # In a thread: down_for waits for the thread that calls this.
        threading.Thread(target=proxy.down_for, args=(seconds,)).start()
        trial.reset()

    proxy.at(trial.rng.randrange(len(trial.image.data) + 1), act)


def _fill_disk(trial: Trial) -> None:
    """Mount a disk that holds the old image and not the new one, or set a quota."""
    size = trial.rng.randrange(8 * 4096, len(trial.image.data) - 4096)
    trial.folder.mkdir()
    if trial.rng.random() < 0.25 or not trial.cleanup.enter_context(
        mount_small_disk(trial.folder, size)
    ):
        trial.order = replace(trial.order, largest_file=size)
    trial.struck = True


def _kill_in_write(trial: Trial) -> None:
    """Let the kernel kill the lander at a byte of the file, since a signal may come too late."""
    trial.order = replace(
        trial.order, largest_file=trial.rng.randrange(len(trial.image.data)), dies_there=True
    )
    trial.struck = True


def _faults() -> Iterator[Fault]:
    both: tuple[Way, ...] = ("worker", "triggerer")
    signals: list[tuple[str, signal.Signals, str, tuple[Way, ...]]] = [
        ("exception", signal.SIGALRM, "AirflowTaskTimeout: .*", ("worker",)),
        ("cancelled", signal.SIGALRM, "CancelledError: ", ("triggerer",)),
        ("SIGTERM", signal.SIGTERM, DIED, both),
        ("SIGKILL", signal.SIGKILL, DIED, both),
    ]
    for name, number, outcome, ways in signals:
        yield Fault(
            f"{name} in download", _signal_in_download(number), outcome, prevents=True, ways=ways
        )
        yield Fault(f"{name} in put", _signal_in_put(number), outcome, ways=ways)
    yield Fault("reset in download", _reset_download)
    yield Fault("reset in put", _reset_put, stores=_BUCKETS)
    yield Fault("answer lost", _lose_answer, stores=_BUCKETS)
    yield Fault("store down", _stop_store, stores=_BUCKETS)
    yield Fault("killed in write", _kill_in_write, DIED, prevents=True, stores=("file",))
    yield Fault("disk full", _fill_disk, "FluxStorageError: .*", prevents=True, stores=("file",))


FAULTS = tuple(_faults())
