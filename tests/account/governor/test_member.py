"""Clients that share one quota object, step by step and in simulated time."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_flux.account.governor.member import (
    LASTS_SECONDS,
    STARVED_SECONDS,
    FullQuotaError,
    QuotaMember,
    Usage,
)
from airflow_provider_flux.account.governor.quota import MAX_CLIENTS, Quota, QuotaClient
from airflow_provider_flux.account.governor.shares import QuotaLimits, Slots
from airflow_provider_flux.bfl.priority import Priority

LIMITS = QuotaLimits(24, {"kontext-max": 6})
names = (f"{number:032x}" for number in count(1))


@dataclass
class Account:
    """One object, and a clock."""

    quota: Quota = field(default_factory=Quota)
    now: float = 0.0

    @property
    def held(self) -> int:
        """Slots that all clients hold together."""
        return sum(client.held.total for client in self.quota.clients.values())


@dataclass
class Client:
    """A client that always uses all of its slots, and ends generations when a test says so."""

    account: Account
    demand: int = 24
    priority: Priority = "normal"
    limits: QuotaLimits = LIMITS
    active: int = 0

    def __post_init__(self) -> None:
        self.member = QuotaMember(next(names), self.limits, self.priority)

    @property
    def usage(self) -> Usage:
        """What the client does now."""
        return Usage(Slots(total=self.active), Slots(total=self.demand))

    def look(self) -> None:
        """Look at the object, write the entry if that is due, and submit."""
        account = self.account
        if self.member.prepare(account.quota, self.usage, account.now):
            account.quota = self.member.renew(account.quota, self.usage, account.now)
            self.member.confirm(account.now)
        self.submit()

    def submit(self) -> None:
        """Submit as much as is permitted."""
        self.active = max(self.active, min(self.member.permit.total, self.demand))

    def end(self, generations: int) -> None:
        """End some generations, in whose place others are submitted if that is permitted."""
        self.active -= generations
        self.submit()

    def leave(self, seconds: float = 30.0) -> None:
        """End the client, whose generations go on."""
        left = Slots(total=self.active)
        self.account.quota = self.member.leave(self.account.quota, left, seconds)


def pass_time(account: Account, seconds: float, *clients: Client, ends: int = 2) -> None:
    """Let clients look once a second, and end some generations each second."""
    for _ in range(int(seconds)):
        account.now += 1.0
        for client in clients:
            client.end(min(ends, client.active))
            client.look()


def test_a_lone_client_may_use_the_whole_quota_at_once() -> None:
    client = Client(Account())
    client.look()
    assert client.active == 24


def test_a_newcomer_uses_slots_only_after_the_other_client_has_freed_them() -> None:
    account = Account()
    first, second = Client(account), Client(account)
    first.look()
    second.look()
    assert (first.active, second.active) == (24, 0)
    first.look()  # sees its smaller share, and submits nothing more
    second.look()
    assert (first.active, second.active) == (24, 0)
    first.end(5)
    second.look()
    assert (first.active, second.active) == (19, 0)  # first has not written yet
    first.look()
    second.look()
    assert (first.active, second.active) == (19, 5)
    pass_time(account, 10, first, second)
    assert (first.active, second.active) == (12, 12)


def test_the_slots_of_a_client_that_has_ended_are_taken_over_at_the_next_look() -> None:
    account = Account()
    clients = [Client(account) for _ in range(3)]
    pass_time(account, 30, *clients)
    assert [client.active for client in clients] == [8, 8, 8]
    clients[0].active = 0
    clients[0].leave()
    pass_time(account, 2, *clients[1:])
    assert sorted(client.active for client in clients[1:]) == [12, 12]


def test_the_slots_of_a_killed_client_are_taken_over_within_ten_seconds() -> None:
    account = Account()
    killed, other = Client(account), Client(account)
    pass_time(account, 30, killed, other)
    pass_time(account, 5, other)
    assert other.active == 12
    pass_time(account, 5, other)
    assert other.active == 24
    assert killed.member.name not in account.quota.clients


def test_generations_that_a_client_left_keep_their_slots_for_a_while() -> None:
    account = Account()
    left, other = Client(account, demand=10), Client(account)
    pass_time(account, 30, left, other)
    left.leave(seconds=20)
    pass_time(account, 15, other)
    assert other.active == 14
    pass_time(account, 10, other)
    assert other.active == 24


def test_a_store_that_failed_for_a_minute_makes_no_client_count_as_gone() -> None:
    account = Account()
    clients = [Client(account) for _ in range(2)]
    pass_time(account, 30, *clients)
    account.now += 60.0
    clients[0].look()
    assert clients[1].member.name in account.quota.clients
    assert [client.active for client in clients] == [12, 12]


def test_an_urgent_task_gets_its_slot_before_batches_that_were_first() -> None:
    account = Account()
    batches = [Client(account) for _ in range(3)]
    pass_time(account, 30, *batches)
    urgent = Client(account, demand=1, priority="high")
    urgent.look()
    for _ in range(3):
        pass_time(account, 1, *batches, urgent, ends=1)
    assert urgent.active == 1


def test_a_batch_of_low_priority_keeps_one_slot() -> None:
    account = Account()
    low, normal = Client(account, priority="low"), Client(account)
    pass_time(account, 30, low, normal)
    assert (low.active, normal.active) == (1, 23)


def test_slots_that_nobody_needs_go_to_those_who_do() -> None:
    account = Account()
    small, large = Client(account, demand=3), Client(account)
    pass_time(account, 30, small, large)
    assert (small.active, large.active) == (3, 21)


def test_a_smaller_limit_of_the_account_is_kept_as_soon_as_generations_end() -> None:
    account = Account()
    clients = [Client(account) for _ in range(2)]
    pass_time(account, 30, *clients)
    for client in clients:
        client.member.limits = QuotaLimits(6)
    pass_time(account, 10, *clients)
    assert [client.active for client in clients] == [3, 3]


def test_two_limits_of_models_and_of_the_account_are_kept_at_once() -> None:
    account = Account()
    members = [QuotaMember(next(names), LIMITS) for _ in range(2)]
    demand = Slots(total=24, groups={"kontext-max": 24})
    for _ in range(2):
        for member in members:
            account.now += 1.0
            usage = Usage(member.permit, demand)
            if member.prepare(account.quota, usage, account.now):
                account.quota = member.renew(account.quota, usage, account.now)
                member.confirm(account.now)
    pass_time(account, 0)
    assert sum(member.permit.of("kontext-max") for member in members) <= 6
    assert all(member.permit.total <= 6 for member in members)


class TestStrangers:
    """Whoever may write to the bucket can write entries."""

    def test_a_client_without_any_slot_for_a_minute_uses_one(self) -> None:
        held = QuotaClient(held=Slots(total=100_000), lasts=600)
        account = Account(Quota(clients={"f" * 32: held}))
        client = Client(account)
        pass_time(account, STARVED_SECONDS - 2, client)
        assert client.active == 0
        pass_time(account, 5, client)
        assert client.active == 1

    def test_an_object_without_place_refuses_a_further_client(self) -> None:
        others = {f"{2**90 + number:032x}": QuotaClient() for number in range(MAX_CLIENTS)}
        account = Account(Quota(clients=others))
        client = Client(account)
        with pytest.raises(FullQuotaError):
            client.look()
        account.now += 2.0
        for _ in range(3):
            with pytest.raises(FullQuotaError):
                client.look()
            account.now += 2.0
        client.look()  # the others never renewed their entries
        assert client.active > 0

    @pytest.mark.parametrize(
        "entry",
        [
            {"held": {"total": -1}},
            {"held": {"total": 10**9}},
            {"lasts": 1e9},
            {"lasts": "NaN"},
            {"renewal": -1},
            {"rank": 99},
            {"demand": {"groups": {str(number): 1 for number in range(100)}}},
            {"demand": {"groups": {"x" * 1000: 1}}},
        ],
        ids=lambda entry: next(iter(entry)),
    )
    def test_an_entry_out_of_bounds_is_refused(self, entry: dict[str, object]) -> None:
        with pytest.raises(ValueError, match="validation error"):
            Quota.model_validate({"clients": {"a" * 32: entry}})

    def test_a_name_that_is_no_id_is_refused(self) -> None:
        with pytest.raises(ValueError, match="validation error"):
            Quota.model_validate({"clients": {"../other": {}}})


steps = st.lists(
    st.tuples(st.sampled_from(["look", "end", "leave", "kill", "join"]), st.integers(0, 5)),
    max_size=120,
)


@settings(max_examples=60)
@given(steps=steps, demands=st.lists(st.integers(1, 40), min_size=6, max_size=6))
def test_live_clients_never_use_more_than_the_limit_whatever_happens(
    steps: list[tuple[str, int]], demands: list[int]
) -> None:
    account = Account()
    clients: dict[int, Client] = {}
    for step, number in steps:
        account.now += 0.3
        client = clients.get(number)
        if step == "join" and client is None:
            clients[number] = Client(account, demand=demands[number])
        elif client is None:
            continue
        elif step == "look":
            client.look()
        elif step == "end":
            client.end(min(3, client.active))
        elif step in ("leave", "kill"):
            client.active = 0  # a generation of a killed client may go on: BFL refuses then
            if step == "leave":
                client.leave()
            del clients[number]
        # The time is too short for a live client to count as gone.
        if account.now > LASTS_SECONDS:
            account.now = 0.0
            for other in clients.values():
                other.member._looked_at = None
                other.look()
        assert sum(other.active for other in clients.values()) <= 24
        assert account.held <= 24
