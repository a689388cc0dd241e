"""The choices of the user that concern rows in work."""

from __future__ import annotations

from dataclasses import dataclass, field

from airflow_provider_flux.batch.execution.inspect import CheckOptions
from airflow_provider_flux.batch.survey import OnBudget
from airflow_provider_flux.ledger.resume_policy import OnUncertain


@dataclass(frozen=True)
class EngineOptions:
    """The choices of the user that concern rows in work.

    :param on_uncertain: whether a row is submitted again if the answer to its submit is lost.
    :param timeout: seconds from the submit of a row after which the try stops waiting for it;
        ``None`` for the default of its model.
    :param poll_interval: seconds between two polls of BFL's documented loop. The schedule of a
        model makes about as many polls, at the times at which its generations usually end.
    :param checks: checks of the results.
    :param max_rerolls: further submits of a row whose image a check rejected.
    :param on_budget: whether the end of ``max_cost`` or of the balance is an error.
    """

    on_uncertain: OnUncertain = "fail"
    timeout: float | None = None
    poll_interval: float = 0.5
    checks: CheckOptions = field(default_factory=CheckOptions)
    max_rerolls: int = 0
    on_budget: OnBudget = "fail"
