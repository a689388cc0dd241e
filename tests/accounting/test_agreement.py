"""``airflow flux costs`` and ``airflow flux reconcile`` count the same credits."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowException
from airflow.utils.db import initdb

from airflow_provider_flux.accounting.charges import Charge, read_charges
from airflow_provider_flux.accounting.costs.index_file import open_index
from airflow_provider_flux.accounting.costs.period import parse_period
from airflow_provider_flux.accounting.costs.report import CostReport, read_report
from airflow_provider_flux.accounting.costs.sources import refresh_scope, scope_of_folders
from airflow_provider_flux.accounting.reconcile.account import reconcile_account
from airflow_provider_flux.accounting.submit_cost import NOT_CHARGED
from airflow_provider_flux.bfl.errors import FluxTaskNotFoundError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.recovery.find import FoundRecord, read_folder
from tests.support.batch_tries import batch, emulated, prompts, quick
from tests.support.cost_ledgers import DAY, OWNER, row_entries, write_journal, write_record
from tests.support.task_tries import Task

__all__ = ["emulated", "quick"]


def read_costs(tmp_path: Path, *folders: Path) -> CostReport:
    """Return the costs below folders by outcome, read with a new index."""
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700, exist_ok=True)
    scope = scope_of_folders([str(folder) for folder in folders])
    index = open_index(cache)
    try:
        refresh_scope(index, scope)
        return read_report(index.connection, scope, "outcome", parse_period(None, None))
    finally:
        index.close()


def sums_of_report(report: CostReport) -> dict[str, tuple[int, float]]:
    """Return number and credits of the submits by outcome, without refused ones."""
    return {
        row.key[0]: (row.submits + row.uncertain, round(row.credits + row.possible, 6))
        for row in report.rows
        if row.key[0] != "refused"
    }


def sums_of_charges(charges: list[Charge]) -> dict[str, tuple[int, float]]:
    """Return number and credits of charges by outcome."""
    sums: dict[str, tuple[int, float]] = {}
    for charge in charges:
        count, credits_ = sums.get(charge.outcome, (0, 0.0))
        sums[charge.outcome] = (count + 1, round(credits_ + charge.credits, 6))
    return sums


def mark_charged(folder: Path) -> None:
    """Write into one lost submit what the balance proves: that the service charged it."""
    found = list(read_folder(str(folder), must_exist=True))
    lost = next(
        item for item in found if isinstance(item, FoundRecord) and item.record.is_uncertain
    )
    lost.stored.write("intent", error=FluxTaskNotFoundError("charged, and its image is lost"))


@pytest.mark.usefixtures("quick")
def test_the_costs_of_a_batch_and_of_a_single_image_are_the_charges_of_reconcile(
    emulated: Callable[..., EmulatorServer], tmp_path: Path
) -> None:
    initdb()
    emulator = emulated(extra={"account_path": f"{tmp_path}/account"}, latency=0.05)
    rows = [
        *prompts(2),
        *prompts(1, "moderated", start=2),
        *prompts(1, "submit-422", start=3),
        *prompts(2, "submit-lost", start=4),
        *prompts(1, "lost", start=6),
        *prompts(1, "rate-limit=1,0.1", start=7),
    ]
    task = batch(tmp_path, rows, max_failed=None, timeout=2)
    task.retry()
    mark_charged(tmp_path / "out")
    with suppress(AirflowException):
        task.retry(on_uncertain="resubmit", grace=0.2)
    Task({"prompt": "fox", "output_path": f"{tmp_path}/out/a.jpg"}).retry()
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "out", copy)
    folders = (tmp_path / "out", copy)
    report, charges = read_costs(tmp_path, *folders), list(read_charges(map(str, folders)))
    sums = sums_of_charges(charges)
    assert sums == sums_of_report(report)
    assert {"landed", "moderated", "uncertain", "lost"} <= set(sums)
    assert report.total.credits + report.total.possible == emulator.stats()["credits_spent"]
    account = reconcile_account(FluxHook(), [str(folder) for folder in folders])
    total = account.reconciliation.total
    assert (total("unexplained"), total("added"), account.problems) == (0, 0, ())
    # Within the tolerance of a reading, credits that BFL gives back may count on either side of it.
    assert total("explained") + total("uncertain") == (report.total.credits + report.total.possible)


def test_copies_of_a_request_in_several_folders_are_one_charge_for_both(tmp_path: Path) -> None:
    first, second = tmp_path / "a/_flux/ledger", tmp_path / "b/_flux/ledger"
    thief = OWNER.model_copy(update={"dag_id": "thief"})
    write_record(first, "r1", phase="submitted", claim="c")
    write_record(second, "r1", cost=9.0, claim="c")
    write_record(second, "r1", number=1, claim="d")
    write_record(second, "r1", cost=1.0, claim="c", owner=thief)
    write_journal(second, row_entries(0, request_id="r1"))
    write_record(first, None, phase="intent", number=2, claim="e")
    write_record(second, None, phase="failed", error="FluxRequestError", number=2, claim="e")
    for error in ("FluxRejectedError", "FluxCheckError", "FluxGenerationError", "FluxImageError"):
        owner = OWNER.model_copy(update={"task_id": error})
        write_record(first, error, phase="failed", error=error, owner=owner)
    write_record(first, None, phase="intent", error="FluxTaskNotFoundError", number=3)
    charges = list(read_charges([str(tmp_path)]))
    sums = sums_of_charges(charges)
    assert sums == sums_of_report(read_costs(tmp_path, tmp_path))
    assert sums["landed"] == (2, 10)
    assert sums["lost"] == (2, 6)
    assert all((charge.credits == 0) == (charge.outcome in NOT_CHARGED) for charge in charges)


@pytest.mark.parametrize(
    "forged",
    [
        {"map_index": 10**30},
        {"map_index": -7},
        {"dag_id": "d" * 2000},
    ],
)
def test_a_task_that_airflow_cannot_have_counts_for_neither(
    tmp_path: Path, forged: dict[str, object]
) -> None:
    ledger = tmp_path / "out/_flux/ledger"
    write_record(ledger, "own")
    write_record(ledger, "forged", owner=OWNER.model_copy(update=forged))
    problems: list[object] = []
    charges = list(read_charges([str(tmp_path / "out")], on_problem=problems.append))
    assert sums_of_charges(charges) == sums_of_report(read_costs(tmp_path, tmp_path / "out"))
    assert sums_of_charges(charges) == {"landed": (1, 3)}
    assert len(problems) == 1


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59", "0001-01-01T00:00:00+14:00"])
def test_a_record_of_an_impossible_time_counts_for_neither(tmp_path: Path, moment: str) -> None:
    file = write_record(tmp_path / "out/_flux/ledger", "r1")
    file.write_text(file.read_text().replace(DAY.isoformat(), moment))
    problems: list[object] = []
    assert list(read_charges([str(tmp_path / "out")], on_problem=problems.append)) == []
    assert read_costs(tmp_path, tmp_path / "out").rows == []
    assert len(problems) == 1
