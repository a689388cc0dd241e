"""Limits of active generations, found by one or several clients in simulated time."""

from __future__ import annotations

import random
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_flux.batch.schedule.concurrency import ConcurrencyLimiter
from tests.support.account_simulation import Client, Clock, Service, race

GROUPS = ["image", "kontext-max", "video"]
GROUP_LIMITS = {"kontext-max": 6, "video": 5}


def make_limiter(maximum: int = 24) -> ConcurrencyLimiter:
    """Return a limiter with the limits of the groups, and without random numbers."""
    return ConcurrencyLimiter(maximum, GROUP_LIMITS, jitter=lambda: 0.5)


def accept(limiter: ConcurrencyLimiter, count: int, group: str = "image", now: float = 0.0) -> None:
    """Let the service accept generations, one after the other."""
    for _ in range(count):
        assert limiter.can_submit(group, now)
        limiter.record_submit(group)
        limiter.record_accepted(group)


def test_a_lone_client_uses_the_quota_and_is_never_refused(small_batches: list[Client]) -> None:
    used = [client.share(client.first, client.last) for client in small_batches]
    assert mean(used) >= 0.978
    assert min(used) >= 0.976
    assert not any(client.refusals for client in small_batches)


def test_a_large_batch_uses_the_quota_with_few_polls() -> None:
    client = race(1, [2400], [0])[0]
    assert client.share(client.first, client.last) >= 0.979
    assert client.polls_per_generation <= 0.97 * client.documented_polls
    assert not client.refusals


def test_all_slots_are_taken_after_a_few_round_trips() -> None:
    client = race(1, [24], [0], post_seconds=(0.1, 0.1))[0]
    assert client.last - client.first <= 10 * 0.105


@pytest.fixture(scope="module")
def pairs() -> list[list[Client]]:
    """Two clients that start together, with several seeds."""
    return [race(seed, [600, 600], [0, 0]) for seed in range(8)]


@pytest.fixture(scope="module")
def late_pairs() -> list[list[Client]]:
    """Two clients, of which the second starts 20 s later, with several seeds."""
    return [race(seed, [900, 600], [0, 20]) for seed in range(8)]


def refused_share(clients: list[Client]) -> float:
    """Return the share of the submits that were refused."""
    refused = sum(len(client.refusals) for client in clients)
    return refused / (refused + sum(len(client.generations) for client in clients))


def shares(clients: list[Client], since: float) -> list[float]:
    """Return the share of the quota of each client, while all of them submit."""
    until = min(client.last for client in clients)
    return [client.share(since, until) for client in clients]


def test_two_clients_that_start_together_get_half_of_the_quota_each(
    pairs: list[list[Client]],
) -> None:
    both = [shares(clients, 0.0) for clients in pairs]
    assert min(map(min, both)) >= 0.42
    assert min(map(sum, both)) >= 0.90
    assert mean(map(refused_share, pairs)) <= 0.015
    assert max(map(refused_share, pairs)) <= 0.018


def test_a_second_client_soon_gets_its_half_of_the_quota(late_pairs: list[list[Client]]) -> None:
    assert min(min(shares(clients, 20.0)) for clients in late_pairs) >= 0.40
    settled = [shares(clients, 35.0) for clients in late_pairs]
    assert mean(map(min, settled)) >= 0.44
    assert min(map(min, settled)) >= 0.41
    assert min(map(sum, settled)) >= 0.90
    assert mean(map(refused_share, late_pairs)) <= 0.015


def test_the_client_that_remains_takes_the_whole_quota() -> None:
    for seed in range(4):
        first, second = race(seed, [1300, 300], [0, 10])
        assert first.share(second.last + 55, second.last + 65) >= 0.93
        assert sum(refusal > second.last for refusal in first.refusals) <= 3


@pytest.mark.parametrize("starts", [[0, 5, 25], [0, 0, 20, 30]], ids=["three", "four"])
def test_of_several_clients_none_gets_less_than_half_of_its_fair_share(starts: list[float]) -> None:
    least = [min(shares(race(seed, [500] * len(starts), starts), max(starts))) for seed in range(5)]
    assert min(least) >= 0.5 / len(starts)
    assert mean(least) >= 0.72 / len(starts)


def test_refusals_of_posts_that_were_sent_together_count_once() -> None:
    limiter = make_limiter()
    accept(limiter, 20)
    for _ in range(3):
        limiter.record_submit("image")
    limiter.record_refused("image", 0.0, None)
    lowered = limiter.limit
    limiter.record_refused("image", 0.0, None)
    limiter.record_refused("image", 0.0, None)
    assert limiter.limit == lowered < 20
    assert limiter.active == 20


def test_after_a_refusal_a_submit_waits_for_a_free_slot_or_for_time_to_pass() -> None:
    limiter = make_limiter()
    limiter.record_submit("image")
    limiter.record_refused("image", 0.0, None)
    assert not limiter.can_submit("image", 0.0)
    wait = limiter.seconds_until_submit(0.0)
    assert wait is not None
    assert limiter.can_submit("image", wait + 0.001)
    accept(limiter, 1, now=wait + 0.001)
    limiter.record_submit("image")
    limiter.record_refused("image", wait + 0.001, None)
    assert not limiter.can_submit("image", wait + 0.001)
    limiter.release_slot("image")
    assert limiter.can_submit("image", wait + 0.002)


def test_a_refusal_with_retry_after_blocks_all_submits() -> None:
    limiter = make_limiter()
    limiter.record_submit("video")
    limiter.record_refused("video", 0.0, 7.0)
    assert limiter.seconds_until_submit(0.0) == 7.0
    assert not any(limiter.can_submit(group, 6.9) for group in GROUPS)
    assert all(limiter.can_submit(group, 7.1) for group in GROUPS)


def test_the_limit_of_a_group_holds_and_is_lowered_alone() -> None:
    limiter = make_limiter()
    accept(limiter, 5, "video")
    assert not limiter.can_submit("video", 0.0)
    accept(limiter, 5, "image")
    limiter.release_slot("video")
    limiter.record_submit("video")
    limiter.record_refused("video", 0.0, None)
    assert limiter.limit == 24
    limiter.release_slot("video")
    assert not limiter.can_submit("video", 0.0)
    assert limiter.can_submit("image", 0.0)


def test_groups_with_and_without_a_limit_share_the_quota_without_a_refusal() -> None:
    clock, rng = Clock(), random.Random(3)
    groups = [rng.choice(GROUPS) for _ in range(300)]
    client = Client(
        clock,
        Service(clock, group_limits=GROUP_LIMITS),
        groups,
        ConcurrencyLimiter(24, GROUP_LIMITS, jitter=rng.random),
        rng,
    )
    clock.run()
    assert len(client.generations) == 300
    assert not client.refusals
    assert client.limiter.active == 0


def test_a_limit_below_the_one_of_the_connection_is_found() -> None:
    client = race(2, [400], [0], limit=10)[0]
    assert client.share(client.first, client.last, limit=10) >= 0.85
    assert len(client.refusals) / len(client.generations) <= 0.05


def test_a_large_limit_is_reached_again_after_a_refusal() -> None:
    limiter = make_limiter(3000)
    accept(limiter, 2000)
    limiter.record_submit("image")
    limiter.record_refused("image", 0.0, None)
    for _ in range(2000):
        limiter.release_slot("image")
    for _ in range(500_000):
        if limiter.limit == 3000:
            break
        while limiter.can_submit("image", 0.0):
            limiter.record_submit("image")
            limiter.record_accepted("image")
        limiter.release_slot("image")
    assert limiter.limit == 3000


events = st.lists(
    st.tuples(
        st.sampled_from(["submit", "submit", "accepted", "refused", "dropped", "ended", "resumed"]),
        st.sampled_from(GROUPS),
        st.floats(0, 3),
        st.none() | st.floats(0, 20),
    ),
    max_size=200,
)


@settings(max_examples=150)
@given(events=events, maximum=st.integers(1, 40))
def test_slots_are_never_lost_or_invented_whatever_happens(
    events: list[tuple[str, str, float, float | None]], maximum: int
) -> None:
    limiter = make_limiter(maximum)
    now, unanswered, running, resumed = 0.0, dict.fromkeys(GROUPS, 0), dict.fromkeys(GROUPS, 0), 0
    for event, group, seconds, retry_after in events:
        now += seconds
        if event == "submit" and limiter.can_submit(group, now):
            assert limiter.active < maximum
            assert unanswered[group] + running[group] < GROUP_LIMITS.get(group, maximum)
            limiter.record_submit(group)
            unanswered[group] += 1
        elif event in ("accepted", "refused", "dropped") and unanswered[group]:
            unanswered[group] -= 1
            running[group] += event == "accepted"
            _record_answer(limiter, event, group, now, retry_after)
        elif event == "ended" and running[group]:
            running[group] -= 1
            limiter.release_slot(group)
        elif event == "resumed":
            running[group] += 1
            resumed += 1
            limiter.record_resumed(group)
        assert limiter.active == sum(unanswered.values()) + sum(running.values())
        assert limiter.unanswered == sum(unanswered.values())
        assert 1 <= limiter.limit <= maximum
        assert limiter.peak_active <= maximum + resumed
        wait = limiter.seconds_until_submit(now)
        assert wait is None or wait > 0
    for group in GROUPS:
        for _ in range(unanswered[group]):
            limiter.record_dropped(group)
        for _ in range(running[group]):
            limiter.release_slot(group)
    now += limiter.seconds_until_submit(now) or 0.0
    assert limiter.active == 0
    assert all(limiter.can_submit(group, now + 60) for group in GROUPS)


def _record_answer(
    limiter: ConcurrencyLimiter, event: str, group: str, now: float, retry_after: float | None
) -> None:
    if event == "accepted":
        limiter.record_accepted(group)
    elif event == "refused":
        limiter.record_refused(group, now, retry_after)
    else:
        limiter.record_dropped(group)


class TestChanges:
    """Limits that change while a client works."""

    def test_a_permit_of_the_governor_bounds_the_account_and_its_groups(self) -> None:
        limiter = make_limiter()
        limiter.set_permit(3, {"video": 1})
        accept(limiter, 1, "video")
        assert not limiter.can_submit("video", 0.0)
        assert not limiter.can_submit("kontext-max", 0.0)
        accept(limiter, 2)
        assert not limiter.can_submit("image", 0.0)
        limiter.set_permit(4, {})
        assert limiter.can_submit("image", 0.0)

    def test_without_its_governor_a_client_begins_with_what_it_had(self) -> None:
        limiter = make_limiter()
        limiter.set_permit(8, {"video": 2, "kontext-max": 1})
        accept(limiter, 8)
        limiter.release_permit()
        assert limiter.limit == 8
        limiter.release_slot("image")
        accept(limiter, 1)

    def test_a_pause_holds_all_submits_back(self) -> None:
        limiter = make_limiter()
        limiter.is_paused = True
        assert not any(limiter.can_submit(group, 0.0) for group in GROUPS)

    def test_a_smaller_maximum_holds_for_groups_too_and_a_larger_one_is_used_at_once(self) -> None:
        limiter = make_limiter()
        limiter.resize(4)
        accept(limiter, 4, "video")
        assert not limiter.can_submit("image", 0.0)
        limiter.resize(30)
        accept(limiter, 1, "video")
        assert not limiter.can_submit("video", 0.0)
        accept(limiter, 25)
        assert not limiter.can_submit("image", 0.0)
