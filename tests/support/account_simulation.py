"""Clients that submit to one account, in simulated time: the service is a limit and a latency, the network a delay."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from airflow_provider_flux.batch.schedule.concurrency import ConcurrencyLimiter
from airflow_provider_flux.batch.schedule.poll_times import PollSchedule

Latency = Callable[[random.Random, float], float]


def uniform(mean: float = 4.0, spread: float = 0.25) -> Latency:
    return lambda rng, now: rng.uniform(mean * (1 - spread), mean * (1 + spread))


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._order), call))

    def run(self) -> None:
        while self._due:
            self.now, _, call = heapq.heappop(self._due)
            call()


class Service:
    """The limits of an account: all tasks together, and those of some groups."""

    def __init__(self, clock: Clock, limit: int = 24, narrow: dict[str, int] | None = None) -> None:
        self.clock, self.limit, self.narrow = clock, limit, narrow or {}
        self.active: dict[str, int] = {}

    def submit(self, group: str, latency: float) -> Task | None:
        mine = self.active.get(group, 0)
        if sum(self.active.values()) >= self.limit or mine >= self.narrow.get(group, self.limit):
            return None
        self.active[group] = mine + 1
        self.clock.later(latency, lambda: self._end(group))
        return Task(self.clock.now, self.clock.now + latency)

    def _end(self, group: str) -> None:
        self.active[group] -= 1


@dataclass(eq=False)
class Task:
    """``new_generation`` is when the client learned of it, ``noticed`` when it learned that it has ended."""

    starts: float
    ends: float
    submitted: float = 0.0
    noticed: float = 0.0
    polls: int = 0
    pending_at: float = 0.0

    @property
    def overshoot(self) -> float:
        return self.noticed - self.ends


@dataclass
class Client:
    """What the engine does, without the images."""

    clock: Clock
    service: Service
    groups: Sequence[str]
    pacer: ConcurrencyLimiter
    rng: random.Random
    latency: Latency = field(default_factory=uniform)
    typical: float = 6.0
    starts_at: float = 0.0
    note: float = 0.005
    post: tuple[float, float] = (0.01, 0.01)
    poll: float = 0.005
    tasks: list[Task] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.todo = deque(self.groups)
        self.plans: dict[str, PollSchedule] = {}
        self._timer: float | None = None
        self.clock.later(self.starts_at, self._pump)

    def _pump(self) -> None:
        now = self.clock.now
        while group := next(
            (g for g in dict.fromkeys(self.todo) if self.pacer.can_submit(g, now)), None
        ):
            self.todo.remove(group)
            self.pacer.record_submit(group)
            trip = self.rng.uniform(*self.post)
            self.clock.later(self.note + trip / 2, lambda g=group, t=trip: self._arrive(g, t / 2))  # type: ignore[misc]
        wait = self.pacer.seconds_until_submit(now)
        if self.todo and wait is not None and (self._timer is None or now + wait < self._timer):
            self._timer = now + wait
            self.clock.later(wait, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self._pump()

    def _arrive(self, group: str, back: float) -> None:
        task = self.service.submit(group, self.latency(self.rng, self.clock.now))
        self.clock.later(back, lambda: self._answered(group, task))

    def _answered(self, group: str, task: Task | None) -> None:
        now = self.clock.now
        if task is None:
            self.refusals.append(now)
            self.todo.appendleft(group)
            self.pacer.record_refused(group, now, None)
        else:
            self.pacer.record_accepted(group)
            task.submitted = now
            self.tasks.append(task)
            self._poll_later(group, task)
        self._pump()

    def _poll_later(self, group: str, task: Task) -> None:
        plan = self.plans.setdefault(group, PollSchedule(self.typical))
        self.clock.later(
            plan.seconds_until_poll(self.clock.now - task.submitted),
            lambda: self._poll(group, task),
        )

    def _poll(self, group: str, task: Task) -> None:
        task.polls += 1
        age = self.clock.now - task.submitted
        self.clock.later(self.poll / 2, lambda: self._polled(group, task, age))

    def _polled(self, group: str, task: Task, age: float) -> None:
        is_ready = self.clock.now >= task.ends
        self.clock.later(
            self.poll / 2,
            lambda: (
                self._noticed(group, task, age) if is_ready else self._not_yet(group, task, age)
            ),
        )

    def _not_yet(self, group: str, task: Task, age: float) -> None:
        task.pending_at = age
        self._poll_later(group, task)

    def _noticed(self, group: str, task: Task, age: float) -> None:
        task.noticed = self.clock.now
        self.plans[group].observe(task.pending_at, age)
        self.pacer.release_slot(group)
        self._pump()

    @property
    def first(self) -> float:
        return min(task.starts for task in self.tasks)

    @property
    def last(self) -> float:
        return max(task.starts for task in self.tasks)

    def share(self, since: float, until: float, limit: int = 24) -> float:
        """Share of the quota that was used in a span."""
        busy = sum(max(0.0, min(task.ends, until) - max(task.starts, since)) for task in self.tasks)
        return busy / (limit * (until - since))

    @property
    def polls_per_task(self) -> float:
        return sum(task.polls for task in self.tasks) / len(self.tasks)

    @property
    def documented_polls(self) -> float:
        """Mean number of polls of the documented loop: sleep half a second, then poll."""
        return sum(-(-(task.ends - task.submitted) // 0.5) for task in self.tasks) / len(self.tasks)


def race(
    seed: int, counts: Sequence[int], starts: Sequence[float], *, limit: int = 24, **options: object
) -> list[Client]:
    """Let clients work for one account."""
    clock = Clock()
    service = Service(clock, limit)
    clients = []
    for number, (count, start) in enumerate(zip(counts, starts, strict=True)):
        rng = random.Random(f"{seed}/{number}")
        pacer = ConcurrencyLimiter(24, {}, jitter=rng.random)
        clients.append(
            Client(clock, service, ["image"] * count, pacer, rng, starts_at=start, **options)
        )  # type: ignore[arg-type]
    clock.run()
    return clients
