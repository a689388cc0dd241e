"""The settings of a batch: the rendered and checked arguments of its operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_flux.account.live_settings import LIVE_SECONDS
from airflow_provider_flux.batch.execution.inspect import CheckOptions
from airflow_provider_flux.batch.execution.options import EngineOptions
from airflow_provider_flux.batch.input.mapping import InputMapping
from airflow_provider_flux.batch.row_policy import RowPolicies
from airflow_provider_flux.batch.survey import OnBudget, Prune
from airflow_provider_flux.bfl.priority import Priority


@dataclass(frozen=True)
class BatchSettings:
    """The rendered and checked arguments of the operator, and durations that are no arguments.

    :param requests: rows of the input, the path of a file, or a query.
    :param mapping: how rows become requests.
    :param policies: choices of the user about rows.
    :param max_active: active generations at most; ``None`` for the limit of the connection.
    :param model_limits: active generations at most, by model.
    :param max_cost: credits that the batch may cost over all tries; ``None`` for no limit.
    :param manifest: URI of the manifest.
    :param ledger: URI of the folder of the journal, with a slash at its end.
    :param timeout: seconds from the submit of a row after which the try stops waiting for it;
        ``None`` for the default of its model.
    :param on_budget: action if the rows cost more than ``max_cost`` or the balance.
    :param prune: action for images of rows that the input does not have any more.
    :param has_sheet: whether to write a contact sheet beside the manifest.
    :param max_rows: most rows that the input may have; ``None`` for any number.
    :param checks: checks of the results.
    :param failed: URI of the file of the rows that did not work; ``None`` for none.
    :param priority: priority of the submits among the tasks of the account.
    :param live_interval: seconds between two looks at ``max_active`` and ``pause``.
    :param manifest_interval: seconds between two manifests while the batch works.
    :param poll_interval: seconds between two polls of BFL's documented loop. The schedule of a
        model makes about as many polls, at the times at which its generations usually end.
    :param grace: seconds that rows in flight have to land if the task is stopped. Airflow kills it
        5 seconds after SIGTERM.
    """

    requests: Any
    mapping: InputMapping
    policies: RowPolicies
    max_active: int | None
    model_limits: Mapping[str, int]
    max_cost: float | None
    manifest: str
    ledger: str
    timeout: float | None
    on_budget: OnBudget = "fail"
    prune: Prune = "report"
    has_sheet: bool = False
    max_rows: int | None = None
    checks: CheckOptions = field(default_factory=CheckOptions)
    failed: str | None = None
    priority: Priority = "normal"
    live_interval: float = LIVE_SECONDS
    manifest_interval: float = 60.0
    poll_interval: float = 0.5
    grace: float = 4.0

    @property
    def engine_options(self) -> EngineOptions:
        """The settings that concern rows in work."""
        return EngineOptions(
            self.policies.on_uncertain,
            self.timeout,
            self.poll_interval,
            self.checks,
            self.policies.max_rerolls,
            self.on_budget,
        )
