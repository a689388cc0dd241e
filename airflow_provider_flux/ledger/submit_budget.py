"""The budgets of the account for a task that submits one request."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from airflow_provider_flux.account.budgets.account_budgets import (
    AccountBudgets,
    ledger_id,
    open_budgets,
)
from airflow_provider_flux.account.budgets.holder import BlockHolder, Reservation
from airflow_provider_flux.account.budgets.periods import spender_of
from airflow_provider_flux.account.prices import counted_credits, expected_price, price_of
from airflow_provider_flux.bfl.errors import FluxLedgerError
from airflow_provider_flux.bfl.request import GenerationRequest
from airflow_provider_flux.bfl.responses import read_amount
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.generation import Generation, submitted_epoch
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.provenance import identify_task
from airflow_provider_flux.ledger.record import Record
from airflow_provider_flux.ledger.record_files import stem_of
from airflow_provider_flux.ledger.record_store import StoredRecord
from airflow_provider_flux.object_store.filesystem import run_sync

log = logging.getLogger(__name__)

#: Seconds after which another task's first cost of a model is not awaited any more.
_MAX_PROBE_SECONDS = 20.0
_RETRY_SECONDS = 2.0
_PROBE_RETRY_SECONDS = 0.5
#: Seconds for a write that settles what was submitted.
_SETTLE_SECONDS = 15.0


@dataclass(frozen=True)
class TaskBudgets:
    """The budgets of the account for one task.

    :param account: the budgets that limit it.
    :param ledger: id of its ledger; empty if it keeps no files.
    """

    account: AccountBudgets
    ledger: str = ""

    def settle_earlier(self, earlier: Sequence[StoredRecord]) -> None:
        """Settle the reserved credits of dead tries by their records.

        :param earlier: the records of earlier tries.
        """
        records = {stored.number: stored.record for stored in earlier}

        def read_totals(dead: frozenset[str], factors: Mapping[str, float]) -> Mapping[str, float]:
            return {
                holder: counted_credits_of(records[number], factors)
                for holder in dead
                if (number := _number_of(holder)) in records
            }

        _settle(
            self.account.settle_dead(self.ledger, "", read_totals),
            "The reserved credits of earlier tries",
        )

    def correct(self, generation: Generation, difference: float) -> None:
        """Count the final cost of a generation in place of the one after its submit.

        :param generation: the generation.
        :param difference: what :func:`find_correction` returned.
        """
        age = time.time() - submitted_epoch(generation)
        _settle(self.account.correct(difference, age), "The final cost")


class SubmitBudget:
    """The reservation of one submit.

    :param budgets: the budgets of the task; ``None`` if none limits it.
    :param request: the request.
    :param number: number of its record in the ledger.
    :param max_wait: seconds to wait for credits that other tasks have reserved.
    """

    def __init__(
        self, budgets: TaskBudgets | None, request: GenerationRequest, number: int, max_wait: float
    ) -> None:
        self._account = budgets.account if budgets else None
        self._model = request.model
        self._price = price_of(request) if budgets else 0.0
        self._max_wait = max_wait
        self._taken: Reservation | None = None
        ledger = budgets.ledger if budgets else ""
        spender = budgets.account.spender.label if budgets else ""
        # A later try finds the record of this submit by the number.
        self._holder = BlockHolder(ledger, spender, 1, f"{number}-{uuid4().hex}")
        self._has_written = False

    def reserve(self) -> None:
        """Reserve the credits before a POST, or renew them if the POST is repeated.

        :raises FluxBudgetError: if a budget has too little left.
        :raises FluxStorageError: if the shared object cannot be changed.
        """
        if self._account is None:
            return
        began = time.monotonic()
        if self._taken is not None:
            if self._holder.is_renewal_due(began):
                self._write(self._account, None, is_patient=True)
            return
        while True:
            waited = time.monotonic() - began
            refusal = self._write(
                self._account, self._model, is_patient=waited < _MAX_PROBE_SECONDS
            )
            self._taken = self._holder.take(self._model, self._price, time.monotonic())
            if self._taken is not None:
                return
            error = refusal.error if refusal else None
            if error and not (refusal and refusal.can_wait and waited < self._max_wait):
                raise error
            pause = _RETRY_SECONDS if error else _PROBE_RETRY_SECONDS
            time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret

    def settle(self, generation: Generation) -> None:
        """Count what BFL bills for the accepted request. :meth:`closing` writes it.

        :param generation: the accepted request.
        """
        if self._taken is not None:
            cost = generation["cost"]
            self._holder.settle(self._taken, self._taken.estimate if cost is None else cost)
            self._taken = None

    @contextmanager
    def closing(self, recorder: Any) -> Iterator[None]:
        """Write at the end what the submit cost, and return what it did not cost.

        :param recorder: the observer of the submit. It knows whether a POST has no answer, which
            counts as billed.
        """
        try:
            yield
        finally:
            if self._taken is not None:
                if recorder.is_posting:
                    self._holder.settle(self._taken, None)
                else:
                    self._holder.release(self._taken)
                self._taken = None
            if self._account is not None and self._has_written:
                order = self._holder.build_last_order()
                _settle(self._account.close(order), "The reserved credits of this try")

    def _write(self, account: AccountBudgets, model: str | None, *, is_patient: bool) -> Any:
        now = time.monotonic()
        order = self._holder.build_order(now, model, self._price, may_share_probe=not is_patient)
        self._has_written = True
        answer, refusal = run_sync(account.renew(order))
        if answer.is_superseded:
            raise FluxLedgerError(
                "A later try of this task settled the reserved credits of this try, which "
                "therefore submits nothing."
            )
        self._holder.apply(order, answer, now)
        return refusal


def open_task_budgets(hook: FluxHook, context: Any, folder: str | None) -> TaskBudgets | None:
    """Open the budgets that limit a task.

    :param hook: hook of the connection.
    :param context: context of the task, with the tags of its DAG.
    :param folder: folder of the records; ``None`` if they are no files.
    :return: ``None`` if no budget limits it.
    :raises FluxConfigurationError: if ``account_path`` cannot be used.
    :raises FluxStorageError: if its store does not answer.
    """
    if not hook.settings.budgets:
        return None
    owner = identify_task(context["ti"])
    spender = spender_of(owner.dag_id, owner.task_id, context)
    account = open_budgets(hook.settings, spender, f"connection {hook.flux_conn_id!r}")
    if account is None:
        return None
    return TaskBudgets(account, ledger_id(stem_of(folder, owner)) if folder else "")


def counted_credits_of(record: Record, factors: Mapping[str, float]) -> float:
    """Return the credits that the submit of a record counts in the budgets of the account.

    :param record: the record of a dead try.
    :param factors: how much more than estimated BFL bills for each model. They count if the answer
        is not known.
    """
    if record.generation is not None:
        counted = counted_credits({**record.generation, "model": record.model})
        if record.generation.get("video"):
            return max(counted, read_amount(record.generation.get("estimated_cost")) or 0.0)
        return counted
    if not record.is_uncertain:
        return 0.0
    return expected_price(record.model, record.estimated_cost) * factors.get(record.model, 1.0)


def find_correction(generation: Generation, *, is_free: bool) -> float:
    """Return by how much the final cost of a generation differs from what its submit counted.

    :param generation: the generation, with its final cost.
    :param is_free: whether BFL charges nothing for it.
    """
    model = known_models().get(str(generation["model"]))
    final = counted_credits(generation)
    counted = final
    if model is not None and model.cost_reported == "when ready":
        counted = expected_price(model.name, read_amount(generation["estimated_cost"]))
    return (0.0 if is_free else final) - counted


def _number_of(holder: str) -> int | None:
    number = holder.partition("-")[0]
    return int(number) if number.isascii() and number.isdecimal() and len(number) < 9 else None


def _settle(work: Any, subject: str) -> None:
    """Write to the budgets. An image that was paid is not lost because that fails."""

    async def settle() -> None:
        async with asyncio.timeout(_SETTLE_SECONDS):
            await work

    try:
        run_sync(settle())
    except Exception as error:
        log.warning(
            "%s could not be written to the budgets of the account (%s). They count as spent until "
            "a later try of the task settles them",
            subject,
            str(error) or type(error).__name__,
        )
