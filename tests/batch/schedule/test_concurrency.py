"""The pacer and the poll plan decide alone: driven here by random events, and through simulated time."""

from __future__ import annotations

import random
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_flux.batch.schedule.concurrency import ConcurrencyLimiter
from airflow_provider_flux.batch.schedule.poll_times import PollSchedule
from tests.support.account_simulation import Client, Clock, Latency, Service, race, uniform

GROUPS = ["image", "kontext-max", "video"]
NARROW = {"kontext-max": 6, "video": 5}


def pacer(most: int = 24) -> ConcurrencyLimiter:
    return ConcurrencyLimiter(most, NARROW, jitter=lambda: 0.5)


def accept(p: ConcurrencyLimiter, count: int, group: str = "image", now: float = 0.0) -> None:
    """Let the service accept tasks, one after the other."""
    for _ in range(count):
        assert p.can_submit(group, now)
        p.record_submit(group)
        p.record_accepted(group)


# One client alone


@pytest.fixture(scope="module")
def small_batches() -> list[Client]:
    return [race(seed, [240], [0])[0] for seed in range(8)]


def test_a_lone_client_uses_the_quota_and_is_never_refused(small_batches: list[Client]) -> None:
    used = [client.share(client.first, client.last) for client in small_batches]
    assert mean(used) >= 0.978
    assert min(used) >= 0.976
    assert not any(client.refusals for client in small_batches)


def test_it_takes_no_more_polls_than_the_documented_loop(small_batches: list[Client]) -> None:
    assert sum(c.polls_per_task for c in small_batches) <= 0.98 * sum(
        c.documented_polls for c in small_batches
    )
    assert all(client.polls_per_task <= 1.04 * client.documented_polls for client in small_batches)


def test_a_large_batch_does_so_too() -> None:
    client = race(1, [2400], [0])[0]
    assert client.share(client.first, client.last) >= 0.979
    assert client.polls_per_task <= 0.97 * client.documented_polls
    assert not client.refusals


@pytest.mark.parametrize("typical", [2.0, 8.0])
def test_what_the_catalog_says_may_be_wrong_by_a_factor_of_two(typical: float) -> None:
    clients = [race(seed, [240], [0], typical=typical)[0] for seed in range(4)]
    assert mean(client.share(client.first, client.last) for client in clients) >= 0.975
    assert sum(c.polls_per_task for c in clients) <= 1.03 * sum(c.documented_polls for c in clients)


def test_all_slots_are_full_after_a_few_round_trips() -> None:
    client = race(1, [24], [0], post=(0.1, 0.1))[0]
    assert client.last - client.first <= 10 * 0.105


# The latency changes


def changing(before: float, after: float, at: float = 60.0) -> Latency:
    return lambda rng, now: (before if now < at else after) * rng.uniform(0.75, 1.25)


@pytest.mark.parametrize(
    ("after", "soon", "later"),
    [(2.0, 0.09, 0.05), (8.0, 0.025, 0.02)],
    ids=["twice as fast", "twice as slow"],
)
def test_a_service_that_changes_is_followed(after: float, soon: float, later: float) -> None:
    """The polls of the documented loop allow 3.7 % of 2 s at best: 4.5 of them lie in a span of one second."""
    clients = [
        race(seed, [500], [0], latency=changing(4.0, after, at=40.0))[0] for seed in range(5)
    ]
    since = [
        sorted((t for t in c.tasks if t.starts > 40), key=lambda task: task.noticed)
        for c in clients
    ]
    assert mean(task.overshoot for tasks in since for task in tasks[50:100]) <= soon * after
    assert mean(task.overshoot for tasks in since for task in tasks[100:200]) <= later * after
    assert mean(task.polls for tasks in since for task in tasks[50:200]) <= after / 0.5 + 0.5
    assert max(task.polls for tasks in since for task in tasks) <= 80


@pytest.mark.parametrize("latency", [1.0, 2.0, 10.0])
def test_other_latencies_take_no_more_polls_either(latency: float) -> None:
    client = race(1, [600], [0], latency=uniform(latency), typical=1.3 * latency)[0]
    assert client.polls_per_task <= 1.01 * client.documented_polls
    assert mean(task.overshoot for task in client.tasks) <= 0.5 * 0.25


def test_a_video_takes_few_polls() -> None:
    client = race(1, [60], [0], latency=uniform(100.0), typical=90.0)[0]
    assert mean(task.polls for task in client.tasks) <= 25
    assert mean(task.overshoot for task in client.tasks[24:]) <= 0.03 * 100


def test_a_skewed_latency_is_noticed_soon() -> None:
    client = race(1, [600], [0], latency=lambda rng, now: 3 + rng.lognormvariate(0.5, 0.8))[0]
    assert client.polls_per_task <= 1.03 * client.documented_polls
    assert mean(task.overshoot for task in client.tasks) <= 0.25


def test_a_constant_latency_is_noticed_at_once() -> None:
    client = race(1, [400], [0], latency=lambda rng, now: 4.0)[0]
    assert mean(task.overshoot for task in client.tasks[100:]) <= 0.05
    assert client.polls_per_task <= client.documented_polls


def test_a_task_of_an_earlier_process_teaches_nothing() -> None:
    plan, taught = PollSchedule(6.0), PollSchedule(6.0)
    for n in range(40):
        for each in (plan, taught):
            each.observe(3.4 + n % 10 / 10, 3.6 + n % 10 / 10)
        taught.observe(0.0, 600.0)
    assert [taught.seconds_until_poll(age / 4) for age in range(40)] == [
        plan.seconds_until_poll(age / 4) for age in range(40)
    ]


def test_tasks_that_are_always_ready_at_the_first_poll_are_polled_sooner() -> None:
    plan = PollSchedule(6.0)
    for _ in range(5000):
        plan.observe(0.0, plan.seconds_until_poll(0.0))
    assert 0 < plan.seconds_until_poll(0.0) < 0.5


intervals = st.tuples(st.floats(0, 400), st.floats(0.001, 200)).map(lambda i: (i[0], i[0] + i[1]))


@given(
    typical=st.floats(0.5, 200),
    interval=st.floats(0.1, 5),
    seen=st.lists(intervals, max_size=120),
    ages=st.lists(st.floats(0, 5000), min_size=1, max_size=20),
)
def test_a_wait_is_short_but_never_nothing(
    typical: float, interval: float, seen: list[tuple[float, float]], ages: list[float]
) -> None:
    plan = PollSchedule(typical, interval)
    for pending_at, ready_at in seen:
        plan.observe(pending_at, ready_at)
    assert all(0 < plan.seconds_until_poll(age) <= 30 for age in ages)


@given(latency=st.floats(0.05, 3000), seen=st.lists(intervals, max_size=120))
def test_whatever_was_seen_a_task_takes_a_bounded_number_of_polls(
    latency: float, seen: list[tuple[float, float]]
) -> None:
    plan = PollSchedule(6.0)
    for pending_at, ready_at in seen:
        plan.observe(pending_at, ready_at)
    age = polls = 0.0
    while age < latency:
        age += plan.seconds_until_poll(age)
        polls += 1
    # What is left of it beside the late ones: the polls of a thousand seconds, with waits of up to a tenth of the age.
    assert polls <= 2 * latency + 150


# Several clients with one key


@pytest.fixture(scope="module")
def pairs() -> list[list[Client]]:
    return [race(seed, [600, 600], [0, 0]) for seed in range(8)]


@pytest.fixture(scope="module")
def late_pairs() -> list[list[Client]]:
    return [race(seed, [900, 600], [0, 20]) for seed in range(8)]


def refused_share(clients: list[Client]) -> float:
    refused = sum(len(client.refusals) for client in clients)
    return refused / (refused + sum(len(client.tasks) for client in clients))


def shares(clients: list[Client], since: float) -> list[float]:
    until = min(client.last for client in clients)
    return [client.share(since, until) for client in clients]


def test_two_that_start_together_have_half_of_the_quota_each(pairs: list[list[Client]]) -> None:
    both = [shares(clients, 0.0) for clients in pairs]
    assert min(map(min, both)) >= 0.42
    assert min(map(sum, both)) >= 0.90
    assert mean(map(refused_share, pairs)) <= 0.015
    assert max(map(refused_share, pairs)) <= 0.018


def test_a_second_soon_has_its_half(late_pairs: list[list[Client]]) -> None:
    assert min(min(shares(clients, 20.0)) for clients in late_pairs) >= 0.40
    settled = [shares(clients, 35.0) for clients in late_pairs]
    assert mean(map(min, settled)) >= 0.44
    assert min(map(min, settled)) >= 0.41
    assert min(map(sum, settled)) >= 0.90
    assert mean(map(refused_share, late_pairs)) <= 0.015


def test_who_remains_takes_the_whole_quota() -> None:
    for seed in range(4):
        first, second = race(seed, [1300, 300], [0, 10])
        assert first.share(second.last + 55, second.last + 65) >= 0.93
        assert sum(refusal > second.last for refusal in first.refusals) <= 3


@pytest.mark.parametrize("starts", [[0, 5, 25], [0, 0, 20, 30]], ids=["three", "four"])
def test_of_several_nobody_has_less_than_half_of_the_fair_share(starts: list[float]) -> None:
    least = [min(shares(race(seed, [500] * len(starts), starts), max(starts))) for seed in range(5)]
    assert min(least) >= 0.5 / len(starts)
    assert mean(least) >= 0.72 / len(starts)


# What the pacer is told


def test_refusals_of_posts_that_were_sent_together_count_once() -> None:
    p = pacer()
    accept(p, 20)
    for _ in range(3):
        p.record_submit("image")
    p.record_refused("image", 0.0, None)
    lowered = p.limit
    p.record_refused("image", 0.0, None)
    p.record_refused("image", 0.0, None)
    assert p.limit == lowered < 20
    assert p.active == 20


def test_after_a_refusal_a_slot_must_come_free_or_time_pass() -> None:
    p = pacer()
    p.record_submit("image")
    p.record_refused("image", 0.0, None)
    assert not p.can_submit("image", 0.0)
    wait = p.seconds_until_submit(0.0)
    assert wait is not None
    assert p.can_submit("image", wait + 0.001)
    accept(p, 1, now=wait + 0.001)
    p.record_submit("image")
    p.record_refused("image", wait + 0.001, None)
    assert not p.can_submit("image", wait + 0.001)
    p.release_slot("image")
    assert p.can_submit("image", wait + 0.002)


def test_a_refusal_that_names_a_time_holds_all_submits() -> None:
    p = pacer()
    p.record_submit("video")
    p.record_refused("video", 0.0, 7.0)
    assert p.seconds_until_submit(0.0) == 7.0
    assert not any(p.can_submit(group, 6.9) for group in GROUPS)
    assert all(p.can_submit(group, 7.1) for group in GROUPS)


def test_a_narrow_limit_holds_and_is_lowered_alone() -> None:
    p = pacer()
    accept(p, 5, "video")
    assert not p.can_submit("video", 0.0)
    accept(p, 5, "image")
    p.release_slot("video")
    p.record_submit("video")
    p.record_refused("video", 0.0, None)
    assert p.limit == 24
    p.release_slot("video")
    assert not p.can_submit("video", 0.0)
    assert p.can_submit("image", 0.0)


def test_narrow_groups_and_others_share_the_quota_without_a_refusal() -> None:
    clock, rng = Clock(), random.Random(3)
    groups = [rng.choice(GROUPS) for _ in range(300)]
    client = Client(
        clock,
        Service(clock, narrow=NARROW),
        groups,
        ConcurrencyLimiter(24, NARROW, jitter=rng.random),
        rng,
    )
    clock.run()
    assert len(client.tasks) == 300
    assert not client.refusals
    assert client.pacer.active == 0


def test_a_limit_that_is_smaller_than_the_connection_says_is_found() -> None:
    client = race(2, [400], [0], limit=10)[0]
    assert client.share(client.first, client.last, limit=10) >= 0.85
    assert len(client.refusals) / len(client.tasks) <= 0.05


def test_a_large_limit_is_reached_again_after_a_refusal() -> None:
    p = pacer(3000)
    accept(p, 2000)
    p.record_submit("image")
    p.record_refused("image", 0.0, None)
    for _ in range(2000):
        p.release_slot("image")
    for _ in range(500_000):
        if p.limit == 3000:
            break
        while p.can_submit("image", 0.0):
            p.record_submit("image")
            p.record_accepted("image")
        p.release_slot("image")
    assert p.limit == 3000


events = st.lists(
    st.tuples(
        st.sampled_from(["submit", "submit", "accepted", "refused", "dropped", "ended", "adopted"]),
        st.sampled_from(GROUPS),
        st.floats(0, 3),
        st.none() | st.floats(0, 20),
    ),
    max_size=200,
)


@settings(max_examples=150)
@given(events=events, most=st.integers(1, 40))
def test_the_books_balance_whatever_happens(
    events: list[tuple[str, str, float, float | None]], most: int
) -> None:
    p = pacer(most)
    now, unanswered, running, adopted = 0.0, dict.fromkeys(GROUPS, 0), dict.fromkeys(GROUPS, 0), 0
    for event, group, seconds, retry_after in events:
        now += seconds
        if event == "submit" and p.can_submit(group, now):
            assert p.active < most
            assert unanswered[group] + running[group] < NARROW.get(group, most)
            p.record_submit(group)
            unanswered[group] += 1
        elif event in ("accepted", "refused", "dropped") and unanswered[group]:
            unanswered[group] -= 1
            running[group] += event == "accepted"
            _tell(p, event, group, now, retry_after)
        elif event == "ended" and running[group]:
            running[group] -= 1
            p.release_slot(group)
        elif event == "adopted":
            running[group] += 1
            adopted += 1
            p.record_resumed(group)
        assert p.active == sum(unanswered.values()) + sum(running.values())
        assert p.unanswered == sum(unanswered.values())
        assert 1 <= p.limit <= most
        assert p.peak_active <= most + adopted
        wait = p.seconds_until_submit(now)
        assert wait is None or wait > 0
    for group in GROUPS:
        for _ in range(unanswered[group]):
            p.record_dropped(group)
        for _ in range(running[group]):
            p.release_slot(group)
    now += p.seconds_until_submit(now) or 0.0
    assert p.active == 0
    assert all(p.can_submit(group, now + 60) for group in GROUPS)


def _tell(
    p: ConcurrencyLimiter, event: str, group: str, now: float, retry_after: float | None
) -> None:
    if event == "accepted":
        p.record_accepted(group)
    elif event == "refused":
        p.record_refused(group, now, retry_after)
    else:
        p.record_dropped(group)
