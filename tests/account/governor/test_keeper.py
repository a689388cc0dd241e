"""The keeper of a batch whose store fails: the batch keeps its slots, and then goes on alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from airflow_provider_flux.account.governor.keeper import QuotaKeeper
from airflow_provider_flux.account.governor.member import LASTS_SECONDS, QuotaMember, Usage
from airflow_provider_flux.account.governor.quota import MAX_QUOTA_BYTES, Quota
from airflow_provider_flux.account.governor.shares import QuotaLimits, Slots
from airflow_provider_flux.account.shared_state import SharedState
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import open_path


class Batch:
    """A client that remembers what it was told."""

    def __init__(self) -> None:
        self.permit: Slots | None = None
        self.has_slots, self.is_alone = asyncio.Event(), asyncio.Event()

    def usage(self) -> Usage:
        """Return a demand for the whole quota."""
        return Usage(self.permit or Slots(), Slots(total=24))

    def set_permit(self, permit: Slots) -> None:
        """Remember the slots."""
        self.permit = permit
        if permit.total:
            self.has_slots.set()

    def release_permit(self) -> None:
        """Remember that the quota is not used now."""
        self.is_alone.set()


def test_a_batch_keeps_its_slots_until_others_may_use_them_and_then_goes_on_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "quota.json"
    open_path(str(tmp_path), field="account_path")
    state = SharedState(
        f"file://{path}", Quota, Quota, WriteOptions("application/json"), MAX_QUOTA_BYTES
    )
    now = 0.0
    keeper = QuotaKeeper(state, QuotaMember("a" * 32, QuotaLimits(24)), clock=lambda: now)

    async def run() -> None:
        nonlocal now
        batch = Batch()
        task = asyncio.create_task(keeper.run(batch))
        await batch.has_slots.wait()
        path.write_text("{}")
        now += LASTS_SECONDS - 1
        assert not batch.is_alone.is_set()
        now += 2
        await batch.is_alone.wait()
        assert batch.permit == Slots(total=24)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await keeper.leave(Slots(), 1.0)

    asyncio.run(asyncio.wait_for(run(), 60))
    assert caplog.text.count("The quota in account_path cannot be used now") == 1
