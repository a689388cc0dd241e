"""Clients that share the quota of one account, in simulated time."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from airflow_provider_flux.batch.schedule.concurrency import ConcurrencyLimiter
from airflow_provider_flux.batch.schedule.poll_times import PollSchedule

#: Draws the latency of a generation in seconds, for one that starts at a time.
Latency = Callable[[random.Random, float], float]


def uniform(mean: float = 4.0, spread: float = 0.25) -> Latency:
    """Return latencies that are evenly spread around a mean.

    :param mean: mean in seconds.
    :param spread: largest distance from the mean, as a share of it.
    """
    return lambda rng, now: rng.uniform(mean * (1 - spread), mean * (1 + spread))


class Clock:
    """Simulated time, which jumps from one event to the next."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Schedule a call."""
        heapq.heappush(self._events, (self.now + seconds, next(self._order), call))

    def run(self) -> None:
        """Run all calls, including those that they schedule."""
        while self._events:
            self.now, _, call = heapq.heappop(self._events)
            call()


class Service:
    """The limits of an account.

    :param limit: generations of the account that may be active.
    :param group_limits: smaller limits by group of models.
    """

    def __init__(
        self, clock: Clock, limit: int = 24, group_limits: Mapping[str, int] | None = None
    ) -> None:
        self.clock, self.limit, self.group_limits = clock, limit, group_limits or {}
        self.active: dict[str, int] = {}

    def submit(self, group: str, latency: float) -> SimulatedGeneration | None:
        """Start a generation, or return ``None`` if a limit is reached."""
        active = self.active.get(group, 0)
        limit = self.group_limits.get(group, self.limit)
        if sum(self.active.values()) >= self.limit or active >= limit:
            return None
        self.active[group] = active + 1
        self.clock.call_later(latency, lambda: self._end(group))
        return SimulatedGeneration(self.clock.now, self.clock.now + latency)

    def _end(self, group: str) -> None:
        self.active[group] -= 1


@dataclass(eq=False)
class SimulatedGeneration:
    """One generation, with its times.

    :param submitted: time at which the client learned that it was accepted.
    :param noticed: time at which the client learned that it has ended.
    :param pending_at: age at the last poll that said pending.
    """

    starts: float
    ends: float
    submitted: float = 0.0
    noticed: float = 0.0
    polls: int = 0
    pending_at: float = 0.0

    @property
    def noticed_late(self) -> float:
        """Seconds between the end and its notice."""
        return self.noticed - self.ends


@dataclass
class Client:
    """A batch without its images: it submits and polls as the engine does.

    :param groups: group of models of each row.
    :param latency: latency of each generation.
    :param typical: latency in seconds that the poll schedule expects at first.
    :param starts_at: time of the first submit.
    :param journal_seconds: time to record an intent.
    :param post_seconds: range of the round trip of a POST.
    :param poll_seconds: round trip of a poll.
    """

    clock: Clock
    service: Service
    groups: Sequence[str]
    limiter: ConcurrencyLimiter
    rng: random.Random
    latency: Latency = field(default_factory=uniform)
    typical: float = 6.0
    starts_at: float = 0.0
    journal_seconds: float = 0.005
    post_seconds: tuple[float, float] = (0.01, 0.01)
    poll_seconds: float = 0.005
    generations: list[SimulatedGeneration] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._pending = deque(self.groups)
        self._schedules: dict[str, PollSchedule] = {}
        self._timer: float | None = None
        self.clock.call_later(self.starts_at, self._submit_all)

    def _submit_all(self) -> None:
        """Submit as many rows as the limiter allows, and set a timer for the next ones."""
        now = self.clock.now
        while group := next(
            (g for g in dict.fromkeys(self._pending) if self.limiter.can_submit(g, now)), None
        ):
            self._pending.remove(group)
            self.limiter.record_submit(group)
            self._post(group)
        wait = self.limiter.seconds_until_submit(now)
        is_sooner = wait is not None and (self._timer is None or now + wait < self._timer)
        if self._pending and wait is not None and is_sooner:
            self._timer = now + wait
            self.clock.call_later(wait, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._submit_all()

    def _post(self, group: str) -> None:
        round_trip = self.rng.uniform(*self.post_seconds)

        def arrive() -> None:
            latency = self.latency(self.rng, self.clock.now)
            generation = self.service.submit(group, latency)
            self.clock.call_later(round_trip / 2, lambda: self._on_answer(group, generation))

        self.clock.call_later(self.journal_seconds + round_trip / 2, arrive)

    def _on_answer(self, group: str, generation: SimulatedGeneration | None) -> None:
        now = self.clock.now
        if generation is None:
            self.refusals.append(now)
            self._pending.appendleft(group)
            self.limiter.record_refused(group, now, None)
        else:
            self.limiter.record_accepted(group)
            generation.submitted = now
            self.generations.append(generation)
            self._poll_later(group, generation)
        self._submit_all()

    def _poll_later(self, group: str, generation: SimulatedGeneration) -> None:
        schedule = self._schedules.setdefault(group, PollSchedule(self.typical))
        wait = schedule.seconds_until_poll(self.clock.now - generation.submitted)
        self.clock.call_later(wait, lambda: self._poll(group, generation))

    def _poll(self, group: str, generation: SimulatedGeneration) -> None:
        generation.polls += 1
        age = self.clock.now - generation.submitted

        def arrive() -> None:
            is_ready = self.clock.now >= generation.ends
            answer = self._on_ready if is_ready else self._on_pending
            self.clock.call_later(self.poll_seconds / 2, lambda: answer(group, generation, age))

        self.clock.call_later(self.poll_seconds / 2, arrive)

    def _on_pending(self, group: str, generation: SimulatedGeneration, age: float) -> None:
        generation.pending_at = age
        self._poll_later(group, generation)

    def _on_ready(self, group: str, generation: SimulatedGeneration, age: float) -> None:
        generation.noticed = self.clock.now
        self._schedules[group].observe(generation.pending_at, age)
        self.limiter.release_slot(group)
        self._submit_all()

    @property
    def first(self) -> float:
        """Time at which the first generation starts."""
        return min(generation.starts for generation in self.generations)

    @property
    def last(self) -> float:
        """Time at which the last generation starts."""
        return max(generation.starts for generation in self.generations)

    def share(self, since: float, until: float, limit: int = 24) -> float:
        """Return the share of the quota that this client used between two times."""
        used = sum(
            max(0.0, min(generation.ends, until) - max(generation.starts, since))
            for generation in self.generations
        )
        return used / (limit * (until - since))

    @property
    def polls_per_generation(self) -> float:
        """Mean number of polls of a generation."""
        return sum(generation.polls for generation in self.generations) / len(self.generations)

    @property
    def documented_polls(self) -> float:
        """Mean number of polls of the documented loop, which sleeps half a second before each."""
        return sum(
            -(-(generation.ends - generation.submitted) // 0.5) for generation in self.generations
        ) / len(self.generations)


def race(
    seed: int, counts: Sequence[int], starts: Sequence[float], *, limit: int = 24, **options: object
) -> list[Client]:
    """Let clients work for one account at the same time.

    :param counts: rows of each client.
    :param starts: time of the first submit of each client.
    :param limit: limit of the account. The clients expect 24.
    :param options: fields of each :class:`Client`.
    """
    clock = Clock()
    service = Service(clock, limit)
    clients = []
    for number, (count, start) in enumerate(zip(counts, starts, strict=True)):
        rng = random.Random(f"{seed}/{number}")
        limiter = ConcurrencyLimiter(24, {}, jitter=rng.random)
        groups = ["image"] * count
        clients.append(
            Client(clock, service, groups, limiter, rng, starts_at=start, **options)  # type: ignore[arg-type]
        )
    clock.run()
    return clients
