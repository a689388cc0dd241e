"""Claims of images in each kind of store."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from airflow_provider_flux.landing import claims
from airflow_provider_flux.landing.claim_chain import MAX_CLAIMS, ClaimChain
from airflow_provider_flux.landing.claims import (
    ClaimWait,
    HeldClaim,
    claim_image,
    has_changed,
    release_claim,
)
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.provenance import RequestSummary, TaskIdentity
from airflow_provider_flux.landing.target import LandingOptions, Reuse, Target
from airflow_provider_flux.object_store.filesystem import open_path, run_sync
from airflow_provider_flux.object_store.objects import put, read
from tests.support.object_stores import Store

#: The GCS emulator ignores the condition of an exclusive create.
in_each_store = pytest.mark.parametrize("store", ["file", "s3", "abfs", "ceph"], indirect=True)
in_a_folder = pytest.mark.parametrize("store", ["file"], indirect=True)
DAY = 86_400.0


def plan_of(
    store: Store,
    dag_id: str | None = "ads",
    *,
    fingerprint: str = "f00d",
    reuse: Reuse = "always",
    run_id: str = "monday",
    **options: Any,
) -> LandingPlan:
    open_path(store.root)
    return LandingPlan(
        target=Target(
            path=f"{store.root}/{{key}}.{{ext}}",
            root=f"{store.root}/",
            reuse=reuse,
            options=LandingOptions(**options),
        ),
        request=RequestSummary(fingerprint=fingerprint),
        task=TaskIdentity(dag_id=dag_id, run_id=run_id, task_id="hero", try_number=1),
    )


def claim(plan: LandingPlan, seconds: float = DAY, seen: ClaimWait | None = None) -> Any:
    return run_sync(claim_image(plan, seconds, seen))


def names(store: Store) -> list[str]:
    return [name for name in store.names() if name.endswith(".claim")]


def plant(plan: LandingPlan, content: bytes, number: int = 0) -> None:
    chain = ClaimChain.of(plan)
    assert chain
    run_sync(put(chain.uri(number), content, chain.options))


@in_each_store
def test_one_owner_claims_an_image_and_another_waits_until_it_is_released(store: Store) -> None:
    mine, other = plan_of(store), plan_of(store, "other")
    held = claim(mine)
    assert isinstance(held, HeldClaim)
    wait = claim(other)
    assert isinstance(wait, ClaimWait)
    assert "ads.hero" in wait.owner
    assert not run_sync(has_changed(wait))
    run_sync(release_claim(mine, held, has_landed=False))
    assert run_sync(has_changed(wait))
    assert isinstance(claim(other, seen=wait), HeldClaim)
    assert names(store) == ["_flux/images/f00d.claim"]


@in_each_store
def test_of_many_owners_one_claims_a_free_image_and_one_an_expired_one(store: Store) -> None:
    plans = [plan_of(store, f"dag{number}") for number in range(8)]

    async def claim_all() -> list[Any]:
        return await asyncio.gather(*(claim_image(plan, DAY) for plan in plans))

    def winners() -> list[Any]:
        return [found for found in run_sync(claim_all()) if isinstance(found, HeldClaim)]

    assert len(winners()) == 1
    chain = ClaimChain.of(plans[0])
    assert chain
    run_sync(put(chain.uri(0), b'{"owner": {"dag_id": "x"}, "seconds": 0}', chain.options))
    (winner,) = winners()
    assert winner.number == 1


@in_a_folder
def test_a_later_try_of_the_owner_has_its_claim_at_once(store: Store) -> None:
    mine = plan_of(store)
    assert claim(mine).number == 0
    again = claim(mine)
    assert (again.number, again.earlier) == (1, (0,))
    assert isinstance(claim(plan_of(store, "other")), ClaimWait)


@in_each_store
@pytest.mark.parametrize("has_landed", [True, False])
@pytest.mark.parametrize("is_known", [True, False])
def test_a_release_frees_the_image_of_all_claims_of_its_owner(
    store: Store, has_landed: bool, is_known: bool
) -> None:
    mine, other = plan_of(store), plan_of(store, "other")
    claim(mine)
    held = claim(mine)
    run_sync(release_claim(mine, held if is_known else None, has_landed=has_landed))
    assert isinstance(claim(other), HeldClaim)
    assert len(names(store)) == (1 if has_landed else 2)


@in_a_folder
def test_a_release_leaves_the_claim_of_a_task_that_took_over(store: Store) -> None:
    mine, other = plan_of(store), plan_of(store, "other")
    held = claim(mine, 0.0)
    assert claim(other).number == 1
    run_sync(release_claim(mine, held, has_landed=False))
    run_sync(release_claim(mine, has_landed=False))
    assert isinstance(claim(plan_of(store, "third")), ClaimWait)


@in_each_store
def test_a_claim_expires_by_the_clock_of_its_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)  # a machine whose clock is wrong
    claim(plan_of(store), 3.0)
    other = plan_of(store, "other")
    wait = claim(other)
    assert isinstance(wait, ClaimWait)
    assert wait.seconds_left <= 4.0  # the clock of S3 has whole seconds
    while not run_sync(has_changed(wait)):
        time.sleep(0.1)
    while isinstance(claim(other), ClaimWait):
        time.sleep(0.1)


@in_a_folder
def test_a_claim_that_a_waiting_process_has_seen_expires_without_a_clock_of_the_store(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read_no_age(*_: Any) -> None:
        return None

    monkeypatch.setattr(claims, "read_age", read_no_age)
    claim(plan_of(store), 0.3)
    other = plan_of(store, "other")
    wait = claim(other)
    while not run_sync(has_changed(wait)):
        time.sleep(0.05)
    assert isinstance(claim(other), ClaimWait)
    assert isinstance(claim(other, seen=wait), HeldClaim)


@in_a_folder
def test_a_new_index_entry_ends_the_wait_also_while_the_claim_is_there(store: Store) -> None:
    mine = plan_of(store)
    claim(mine)
    wait = claim(plan_of(store, "other"))
    chain = ClaimChain.of(mine)
    assert chain
    run_sync(put(f"{chain.stem}.json", b'{"uri": "x"}', chain.options))
    assert run_sync(has_changed(wait))


@in_a_folder
def test_runs_claim_images_of_their_own_with_reuse_run(store: Store) -> None:
    assert isinstance(claim(plan_of(store, reuse="run")), HeldClaim)
    assert isinstance(claim(plan_of(store, "other", reuse="run", run_id="x")), HeldClaim)
    assert isinstance(claim(plan_of(store, "ads", reuse="run", run_id="monday")), HeldClaim)
    third = plan_of(store, "ads", reuse="run").with_target(key="another row")
    assert isinstance(claim(third), ClaimWait)
    assert claim(plan_of(store, reuse="never")) is None


@in_a_folder
@pytest.mark.parametrize(
    ("content", "is_taken"),
    [
        (b"", False),
        (b"no json", False),
        (b"\xff" * 40_000, False),
        (b'{"owner": {"dag_id": "ads", "run_id": "monday"}, "seconds": 1e308}', False),
        (b'{"owner": {}, "seconds": 60, "is_released": true}', True),
        (b'{"owner": {}, "seconds": 0}', True),
    ],
)
def test_a_planted_claim_delays_for_an_hour_at_most(
    store: Store, content: bytes, is_taken: bool
) -> None:
    plan = plan_of(store)
    plant(plan, content)
    found = claim(plan)
    assert isinstance(found, HeldClaim if is_taken else ClaimWait)
    if isinstance(found, ClaimWait):
        assert found.seconds_left <= 3600


@in_a_folder
def test_a_planted_chain_without_end_leaves_the_image_without_a_claim(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    plan = plan_of(store)
    for number in range(MAX_CLAIMS + 1):
        plant(plan, b'{"owner": {}, "seconds": 0}', number)
    assert claim(plan) is None
    assert claim(plan) is None
    assert caplog.text.count("cannot be claimed") == 1


@in_a_folder
def test_a_claim_names_its_owner_and_no_secret(store: Store) -> None:
    plan = plan_of(store)
    claim(plan, 60.0)
    chain = ClaimChain.of(plan)
    assert chain
    content = json.loads(run_sync(read(chain.uri(0))) or b"")
    owner = {"dag_id": "ads", "run_id": "monday", "task_id": "hero", "map_index": -1, "key": "0"}
    assert (content["owner"], content["seconds"]) == (owner, 60.0)
    assert set(content) == {
        *("owner", "seconds", "claimed_at", "expires_at", "token", "is_released")
    }


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_a_claim_of_a_public_image_is_not_public(store: Store) -> None:
    plan = plan_of(store, store_options={"ACL": "public-read", "SSEKMSKeyId": "k"})
    chain = ClaimChain.of(plan)
    assert chain
    assert "SSEKMSKeyId" in chain.options.options
    assert "ACL" not in chain.options.options
