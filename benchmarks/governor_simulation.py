"""Several clients of one account in simulated time, with seeds.

``python -m benchmarks.governor_simulation [SEEDS]`` prints the mean over the seeds (8 by default)
for clients of three kinds:

- ``account_path``: batches that share the quota by one object,
- ``alone``: batches without it, each of which finds its part by the submits that BFL refuses,
- ``thread pools``: 24 threads per client, with growing random pauses after a 429.

Two clients start together, a third comes after a minute, and is killed two minutes later. An
image takes 4 s, give or take a quarter, and a POST 20 to 60 ms. ``worst`` is the worst seed.

- ``use``: time in which generations were active, as a share of 24, while three clients worked.
- ``Jain``: Jain's fairness of the three, from 30 to 60 s after the third came.
- ``429``: refused submits as a share of all submits.
- ``takeover``: seconds from the kill until the two others have 23 slots.
- ``urgent``: seconds that a single urgent task waits for its slot, a minute after the third came.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from airflow_provider_flux.batch.schedule.concurrency import ConcurrencyLimiter
from benchmarks.contenders.polite_pool import next_pause
from benchmarks.quota import Span, fairness, quota_use, seconds_to_reach
from tests.support.account_simulation import Client, Clock, Service
from tests.support.governed_simulation import GovernedClient, SimulatedStore

LIMIT = 24
NEWCOMER, URGENT, KILL, END = 60.0, 120.0, 180.0, 240.0
_ROWS = 2500
_POST_SECONDS = (0.02, 0.06)
_LATENCY = (3.0, 5.0)
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Trial:
    """The figures of one trial."""

    use: float
    fairness: float
    refused: float
    takeover: float
    urgent: float


@dataclass(frozen=True)
class Work:
    """What a client did: its generations, and its refused submits."""

    spans: Sequence[Span]
    refusals: Sequence[float]


def judge(works: Sequence[Work], urgent: Work) -> Trial:
    """Return the figures of a trial.

    :param works: what each of the three clients did.
    :param urgent: what the urgent task did.
    """
    together = Span(NEWCOMER + 5, KILL)
    settled = Span(NEWCOMER + 30, NEWCOMER + 60)
    everyone = [*works, urgent]
    submits = sum(len(work.spans) for work in everyone)
    refused = sum(len(work.refusals) for work in everyone)
    rest = [span for work in works[:2] for span in work.spans]
    return Trial(
        quota_use([span for work in everyone for span in work.spans], together, LIMIT),
        fairness([quota_use(work.spans, settled, LIMIT) for work in works]),
        refused / (refused + submits),
        seconds_to_reach(rest, KILL, LIMIT - 1),
        urgent.spans[0].start - URGENT,
    )


def run_batches(seed: int, *, has_account_path: bool) -> Trial:
    """Let three batches, and an urgent task, share an account.

    :param seed: seed of all random numbers.
    :param has_account_path: whether they share the quota by one object.
    """
    clock = Clock()
    service = Service(clock, LIMIT)
    store = SimulatedStore(clock, random.Random(f"{seed}/store"))
    clients: list[Client] = []
    for number, start in enumerate((0.0, 0.1, NEWCOMER)):
        rng = random.Random(f"{seed}/{number}")
        clients.append(
            GovernedClient(
                clock,
                service,
                ["image"] * _ROWS,
                ConcurrencyLimiter(LIMIT, {}, jitter=rng.random),
                rng,
                starts_at=start,
                post_seconds=_POST_SECONDS,
                store=store if has_account_path else None,
                stops_at=KILL if number == 2 else END,
            )
        )
    urgent = UrgentTask(clock, service, random.Random(f"{seed}/urgent"))
    if has_account_path:
        urgent.store = store
    clock.call_later(URGENT, urgent.start)
    clock.run()
    works = [
        Work([Span(done.starts, done.ends) for done in client.generations], client.refusals)
        for client in clients
    ]
    return judge(works, urgent.work)


class UrgentTask:
    """A single task with ``priority="high"``.

    It waits for a slot of the object if there is one, and then, or without one, submits again 0.2
    to 0.7 seconds after each 429.
    """

    def __init__(self, clock: Clock, service: Service, rng: random.Random) -> None:
        self._clock, self._service, self._rng = clock, service, rng
        self.store: SimulatedStore | None = None
        self.work = Work([], [])

    def start(self) -> None:
        """Begin to wait."""
        if self.store is None:
            self._submit()
            return
        waiter = GovernedClient(
            self._clock,
            self._service,
            ["image"],
            ConcurrencyLimiter(1, {}, jitter=self._rng.random),
            self._rng,
            starts_at=0.0,
            store=self.store,
            priority="high",
            look_seconds=0.45,
        )
        self.work = Work(_Spans(waiter), waiter.refusals)

    def _submit(self) -> None:
        generation = self._service.submit("image", self._rng.uniform(*_LATENCY))
        if generation is None:
            self.work.refusals.append(self._clock.now)  # type: ignore[attr-defined]
            self._clock.call_later(self._rng.uniform(0.2, 0.7), self._submit)
        else:
            self.work.spans.append(Span(generation.starts, generation.ends))  # type: ignore[attr-defined]


class _Spans(Sequence[Span]):
    """The spans of a client that still works."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __getitem__(self, index: int) -> Span:  # type: ignore[override]
        done = self._client.generations[index]
        return Span(done.starts, done.ends)

    def __len__(self) -> int:
        return len(self._client.generations)


def run_pools(seed: int) -> Trial:
    """Let three pools of 24 threads, and one more thread, share an account.

    :param seed: seed of all random numbers.
    """
    clock = Clock()
    service = Service(clock, LIMIT)
    pools = [
        _Pool(clock, service, random.Random(f"{seed}/{number}"), start, stop)
        for number, (start, stop) in enumerate(((0.0, END), (0.1, END), (NEWCOMER, KILL)))
    ]
    urgent = _Pool(clock, service, random.Random(f"{seed}/urgent"), URGENT, END, threads=1, rows=1)
    clock.run()
    return judge([pool.work for pool in pools], urgent.work)


class _Pool:
    def __init__(
        self,
        clock: Clock,
        service: Service,
        rng: random.Random,
        start: float,
        stop: float,
        threads: int = LIMIT,
        rows: int = _ROWS,
    ) -> None:
        self._clock, self._service, self._rng, self._stop = clock, service, rng, stop
        self._rows = rows
        self.work = Work([], [])
        for _ in range(threads):
            clock.call_later(start + rng.uniform(0, 0.05), self._make_image)

    def _make_image(self, refusals: int = 0) -> None:
        if self._clock.now >= self._stop or (not refusals and not self._rows):
            return
        self._rows -= not refusals
        generation = self._service.submit("image", self._rng.uniform(*_LATENCY))
        if generation is None:
            self.work.refusals.append(self._clock.now)  # type: ignore[attr-defined]
            pause = next_pause(refusals + 1, self._rng)
            self._clock.call_later(pause, lambda: self._make_image(refusals + 1))
            return
        self.work.spans.append(Span(generation.starts, generation.ends))  # type: ignore[attr-defined]
        latency = generation.ends - generation.starts
        seen = -(-latency // _POLL_SECONDS) * _POLL_SECONDS
        trips = self._rng.uniform(*_POST_SECONDS)
        self._clock.call_later(seen + trips, self._make_image)


KINDS: dict[str, Callable[[int], Trial]] = {
    "ours, account_path": lambda seed: run_batches(seed, has_account_path=True),
    "ours, alone": lambda seed: run_batches(seed, has_account_path=False),
    "thread pools": run_pools,
}


def print_table(seeds: int) -> None:
    """Print the figures of all kinds of clients.

    :param seeds: number of trials of each.
    """
    print(f"{'':22}{'use':>7}{'worst':>7}{'Jain':>7}{'worst':>7}{'429':>8}{'worst':>8}", end="")
    print(f"{'takeover s':>12}{'worst':>7}{'urgent s':>10}{'worst':>7}")
    for name, run in KINDS.items():
        trials = [run(seed) for seed in range(seeds)]
        columns: list[tuple[Callable[[Trial], float], Callable[..., float], str]] = [
            (lambda trial: trial.use, min, "7.3f"),
            (lambda trial: trial.fairness, min, "7.3f"),
            (lambda trial: trial.refused, max, "8.2%"),
            (lambda trial: trial.takeover, max, "7.1f"),
            (lambda trial: trial.urgent, max, "7.1f"),
        ]
        cells = ""
        for read, worst, form in columns:
            values = [read(trial) for trial in trials]
            is_time = form == "7.1f"
            first = "10.1f" if is_time else form
            cells += f"{mean(values):{first}}{worst(values):{form}}"
        print(f"{name:22}{cells}")


if __name__ == "__main__":
    print_table(int(sys.argv[1]) if sys.argv[1:] else 8)
