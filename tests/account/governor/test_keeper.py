"""The keeper of a batch whose store fails: the batch keeps its slots, and then goes on alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_flux.account.governor.keeper import QuotaKeeper
from airflow_provider_flux.account.governor.member import LASTS_SECONDS, QuotaMember, Usage
from airflow_provider_flux.account.governor.open_quota import open_quota
from airflow_provider_flux.account.governor.shares import QuotaLimits, Slots
from airflow_provider_flux.hooks.flux import FluxHook


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
    connect: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    connect("http://127.0.0.1:1", account_path=str(tmp_path))
    state = open_quota(FluxHook().settings)
    assert state is not None
    spoil = Path(state.uri.removeprefix("file://")).write_text
    now = 0.0
    keeper = QuotaKeeper(state, QuotaMember("a" * 32, QuotaLimits(24)), clock=lambda: now)

    async def run() -> None:
        nonlocal now
        batch = Batch()
        task = asyncio.create_task(keeper.run(batch))
        await batch.has_slots.wait()
        spoil("{}")
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
