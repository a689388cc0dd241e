"""Batches under every fault of the emulator, over several tries: no credit is unexplained.

``FLUX_RECONCILE_ROWS`` sets the number of rows. With ``-s`` the trial prints its figures.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException
from airflow.utils.db import initdb

from airflow_provider_flux.accounting.reconcile.account import AccountReport, reconcile_account
from airflow_provider_flux.accounting.reconcile.balance import Tolerances
from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.emulator.faults import FAULTS
from airflow_provider_flux.hooks.flux import FluxHook
from tests.support.batch_tries import Batch, batch, emulated, quick

__all__ = ["emulated", "quick"]

pytestmark = pytest.mark.usefixtures("quick")

ROWS = int(os.environ.get("FLUX_RECONCILE_ROWS", "110"))
#: Tries of a batch at most. Several lost answers in a row end a try.
MAX_TRIES = 20 + ROWS // 50
#: Faults that need an argument here: a short time, or one answer out of many.
ARGUMENTS = {
    "submit-status": "submit-status=408",
    "submit-status-made": "submit-status-made=499",
    "submit-hang": "submit-hang=0.2",
    "absurd-cost": "absurd-cost=-3",
    "slow": "slow=0.4",
    "submit-503": "submit-503=1",
    "submit-503-made": "submit-503-made=1",
    "rate-limit": "rate-limit=1,0.1",
    "poll-503": "poll-503=1,0.1",
    "poll-429": "poll-429=1,0.1",
    "deliver-503": "deliver-503=1,0.1",
}
#: Faults that take minutes or much memory, and whose money is that of another one.
LARGE = {"bomb", "poll-bomb", "drip", "poll-drip", "damaged-video"}
#: Faults that end each try of a batch. They have a batch of their own.
ENDS = {
    *("no-credits", "busy-402", "poll-403"),
    *("redirect-download", "poll-redirect", "foreign-polling-url"),
}
#: The clock of the tests and of the emulator is one.
ONE_CLOCK = Tolerances(clocks=0)


def rows_with_every_fault(count: int) -> list[dict[str, Any]]:
    """Return rows of which each has one fault, and as many with none."""
    names = [name for name in FAULTS if name not in LARGE | ENDS]
    scripts = [text for name in names for text in (ARGUMENTS.get(name, name), "")]
    models = cycle(["flux-pro-1.1", "flux-2-pro", "flux-2-pro"])
    return [
        {
            "key": str(number),
            "prompt": f"fox {number}" + (f" [[fault:{script}]]" if script else ""),
            "model": model,
        }
        for number, (script, model) in enumerate(
            islice(zip(cycle(scripts), models, strict=False), count)
        )
    ]


def tries_of(task: Batch) -> Iterator[int]:
    """Make tries until one has nothing left to do. Every other one pays for lost answers again."""
    for number in range(1, MAX_TRIES + 1):
        yield number
        with suppress(FluxError, AirflowException):
            task.retry(on_uncertain="resubmit" if number % 4 == 2 else "fail")
            return


def tell(report: AccountReport, emulator: EmulatorServer, tries: int) -> None:
    stats, total = emulator.stats(), report.reconciliation.total
    outcome = {name: total(name) for name in ("spent", "explained", "uncertain", "unexplained")}
    print(  # noqa: T201 - the figures of the trial
        f"\n{ROWS} rows, {tries} tries, {stats['submits']} tasks made, {stats['refused']} refused, "
        f"{report.readings} readings, {len(report.lost)} lost answers of "
        f"{report.reconciliation.possible:g} credits: {outcome}"
    )


def test_no_credit_of_batches_under_every_fault_is_unexplained(
    emulated: Callable[..., EmulatorServer], tmp_path: Path
) -> None:
    initdb()
    emulator = emulated(
        latency=0.05,
        latency_spread=0.5,
        credits=1e6,
        max_active=ROWS,  # requests that never end would use all slots
        image_bytes=3000,
        extra={"account_path": f"{tmp_path}/account"},
    )
    task = batch(tmp_path, rows_with_every_fault(ROWS), timeout=2, max_failed=None)
    tries = max(tries_of(task))
    assert tries < MAX_TRIES
    for name in sorted(ENDS):
        other = batch(tmp_path, ["fox", f"fox [[fault:{name}]]"], max_failed=None, timeout=1)
        other.dag_id = name
        for _ in range(2):
            with suppress(FluxError, AirflowException):
                other.retry()
    report = reconcile_account(FluxHook(), [str(tmp_path / "out")], tolerances=ONE_CLOCK)
    tell(report, emulator, tries)
    total = report.reconciliation.total
    assert report.problems == ()
    assert (total("unexplained"), total("added")) == (0, 0)
    assert total("spent") == emulator.stats()["credits_spent"]
    assert total("explained") + total("uncertain") == pytest.approx(total("spent"))
    assert 0 < total("uncertain") <= report.reconciliation.possible
    assert report.readings > tries
