"""The survey of the rows of a batch and the check of its budget, before the first submit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from airflow_provider_flux.batch.account_budget import find_budget_plans
from airflow_provider_flux.batch.budget import TRIMMED, check_budget, find_trim
from airflow_provider_flux.batch.execution.earlier_rejections import EarlierRejections
from airflow_provider_flux.batch.execution.row_budgets import BatchBudgets
from airflow_provider_flux.batch.execution.survey_rows import RowSurvey
from airflow_provider_flux.batch.plan import BatchPlan, ModelPlan
from airflow_provider_flux.batch.report.counters import Counters
from airflow_provider_flux.batch.report.monitor import BatchMonitor, ExpectedSubmits
from airflow_provider_flux.batch.row_reader import RowReader
from airflow_provider_flux.batch.row_store import RowStore
from airflow_provider_flux.batch.run_loop import silence_image_logs, wait_for
from airflow_provider_flux.batch.run_setup import load_previous_rows
from airflow_provider_flux.batch.survey import OnBudget, Prune, SurveyCounts
from airflow_provider_flux.bfl.errors import (
    FluxBudgetError,
    FluxError,
    FluxInsufficientCreditsError,
)
from airflow_provider_flux.checks.check import Check
from airflow_provider_flux.hooks.flux import FluxHook

log = logging.getLogger(__name__)


class BatchSurvey:
    """Survey of the rows of a batch, after they were planned by their submits in earlier tries.

    :param hook: hook of the connection.
    :param store: the rows of the batch.
    :param counters: counts of the batch.
    :param on_budget: action if the rows cost more than the budget.
    :param prune: action for the images of gone rows.
    :param checks: checks of the results; none by default.
    :param max_rerolls: further submits of a row whose image a check rejected. Default 0.
    :param is_plan: whether it is for a plan: nothing is written, and all inputs are read, on which
        prices depend.
    :param budgets: budgets of the account; ``None`` (default) if none limits the batch.
    :ivar counts: the rows before the first submit; ``None`` if neither ``reuse`` nor ``prune`` asks
        for the comparison with the previous manifest.
    :ivar has_manifest: whether the previous manifest could be read, or there is none.
    :ivar expected: expected cost of the rows to submit.
    """

    def __init__(
        self,
        hook: FluxHook,
        store: RowStore,
        counters: Counters,
        *,
        on_budget: OnBudget,
        prune: Prune,
        checks: tuple[Check, ...] = (),
        max_rerolls: int = 0,
        is_plan: bool = False,
        budgets: BatchBudgets | None = None,
    ) -> None:
        self._hook = hook
        self._budgets = budgets
        self._store = store
        self._counters = counters
        self._trims = on_budget == "trim"
        self._is_incremental = (
            is_plan or prune == "delete" or store.builder.plan.target.reuse != "never"
        )
        self._rows = RowSurvey(
            store,
            counters,
            hook,
            EarlierRejections(store.previous, hook, checks, max_rerolls),
            prices_inputs=is_plan or self._trims,
            is_read_only=is_plan,
        )
        counters.is_strict = self._trims
        self.counts: SurveyCounts | None = None
        self.has_manifest = True
        self.expected = 0.0
        self._is_stopped = False

    @property
    def is_needed(self) -> bool:
        """Whether rows have to be looked up before the first submit."""
        return self._rows.is_needed

    def load_previous(self, manifest: str) -> None:
        """Read the previous manifest, if the batch is compared with it.

        :param manifest: its URI.
        :raises FluxStorageError: if the store does not answer.
        """
        if self._is_incremental:
            self.has_manifest = load_previous_rows(self._store, manifest)

    def stop(self) -> None:
        """Look up no further row. Any thread may call this."""
        self._is_stopped = True
        self._rows.stop()

    def run(self) -> None:
        """Look up the rows in a thread, so that an interruption ends the wait."""
        if not self.is_needed:
            return
        with (
            silence_image_logs(),
            ThreadPoolExecutor(1, thread_name_prefix="flux-survey") as pool,
        ):
            ended = pool.submit(asyncio.run, self._rows.run())
            try:
                wait_for(ended)
            except BaseException:
                self.stop()
                raise

    def prepare(
        self, reader: RowReader, monitor: BatchMonitor | None
    ) -> tuple[FluxError | None, Callable[[], Awaitable[FluxError | None]] | None]:
        """Find out what is to be paid, and whether it may be.

        BFL keeps the results of earlier tries for minutes only. If there are any, they land first:
        rows are looked up beside, and a refusal is returned, not raised.

        :param reader: reader of the rows.
        :param monitor: user who is asked; ``None`` if nobody is.
        :return: the reason to submit nothing, and what is left to do before the first submit.
        """
        has_results = bool(reader.count_outcomes().get("submitted"))
        if has_results and self.is_needed:
            return self._ask(reader, monitor), self.run_beside
        self.run()
        if self._is_stopped:
            return None, None
        try:
            self.decide()
        except (FluxBudgetError, FluxInsufficientCreditsError) as error:
            if not has_results:
                raise
            log.warning("%s The rows that earlier tries submitted are resumed now", error)
            return error, None
        return self._ask(reader, monitor), None

    def _ask(self, reader: RowReader, monitor: BatchMonitor | None) -> FluxError | None:
        """Ask the user who watches the batch. The refusal is raised if nothing is to be resumed."""
        if monitor is None:
            return None
        credits_, unpriced = reader.expected_cost()
        models = tuple(reader.expected_by_model())
        submitted = reader.count_outcomes().get("submitted", 0)
        expected = ExpectedSubmits(self._counters.rows, models, credits_, unpriced, submitted)
        refusal = monitor.confirm(expected)
        if refusal and not submitted:
            raise refusal
        return refusal

    def decide(self) -> None:
        """Log what the rows are, and check or trim them by the budget.

        :raises FluxBudgetError: if ``max_cost`` is too low, or cannot hold.
        :raises FluxInsufficientCreditsError: if the balance is too low.
        :raises FluxAuthenticationError: if BFL refuses the API key.
        """
        first = self._find_first_trimmed()
        if first is not None:
            self._trim(first)

    async def run_beside(self) -> FluxError | None:
        """Look up the rows and decide while submits of earlier tries are resumed.

        :return: the reason to submit nothing; ``None`` to submit.
        """
        if self.is_needed:
            await self._rows.run()
        try:
            first = await asyncio.to_thread(self._find_first_trimmed)
        except (FluxBudgetError, FluxInsufficientCreditsError) as error:
            log.warning("%s The rows that earlier tries submitted are resumed", error)
            return error
        if first is not None:
            self._trim(first)
        return None

    def _find_first_trimmed(self) -> int | None:
        with RowReader(self._store.path) as reader:
            self.expected, _ = reader.expected_cost()
            if self._is_incremental:
                self.counts = reader.count_survey()
                log.info("%s", self.counts.describe())
            if self._trims:
                return find_trim(self._hook, self._counters, reader, self._budgets)
            check_budget(self._hook, self._counters, reader, self._budgets)
            return None

    def _trim(self, first: int) -> None:
        self._store.trim(first, TRIMMED)
        with RowReader(self._store.path) as reader:
            self.expected, _ = reader.expected_cost()

    def build_plan(self, manifest: str) -> BatchPlan:
        """Return the plan of the batch, for which the rows have been looked up.

        :param manifest: URI of the manifest.
        :raises FluxAuthenticationError: if BFL refuses the API key.
        """
        refusal = None
        try:
            self.decide()
        except (FluxBudgetError, FluxInsufficientCreditsError) as error:
            refusal = error.message
        assert self.counts is not None  # noqa: S101 - a plan is always compared
        with RowReader(self._store.path) as reader:
            models = tuple(ModelPlan(*model) for model in reader.expected_by_model())
            unpriced = reader.expected_cost()[1]
            trimmed = reader.count_trimmed()
        return BatchPlan(
            self.counts,
            models,
            unpriced,
            trimmed=trimmed,
            spent=self._counters.spent,
            refusal=refusal,
            manifest=manifest,
            budgets=find_budget_plans(self._budgets),
        )
