"""The refreshes of the index of costs in the API server."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest
from airflow.utils.db import initdb

from tests.support.airflow_names import AIRFLOW

pytestmark = pytest.mark.skipif(AIRFLOW < (3, 1), reason="the gallery needs Airflow 3.1")


async def test_one_process_reads_ledgers_and_pages_of_others_say_so_until_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_flux.plugin.cost_updates import CostUpdates

    initdb()
    monkeypatch.setenv("AIRFLOW__FLUX__CACHE_FOLDER", str(tmp_path))
    os.chmod(tmp_path, 0o700)
    updates = CostUpdates(fresh_seconds=0)
    with (tmp_path / "costs.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        held = await updates.update(max_wait=0)
        while held.scope is None:  # not before it comes to the lock
            held = await updates.update(max_wait=0.05)
        assert (held.is_running, held.progress, held.error) == (True, None, None)
    # It then lists the ledgers itself: only so does it know of those that cannot be listed.
    free = await updates.update(max_wait=120)
    assert (free.is_running, free.error) == (False, None)
    assert free.progress is not None
    impatient = await updates.update(max_wait=0)
    assert impatient.scope is not None
    # Its thread would otherwise go on in the folder of the tests that follow.
    await updates.update(max_wait=120)
