"""FluxRetryPolicy: whether and when Airflow retries after an error of this provider.

Import this module in Airflow 3.3 and newer only: before, Airflow has no retry policies.
"""

from __future__ import annotations

import random
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk.definitions.retry_policy import RetryAction, RetryDecision, RetryPolicy

from airflow_provider_flux.bfl.errors import FluxBudgetError, FluxError, FluxTransientError
from airflow_provider_flux.bfl.redaction import redact

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

#: Shortest wait before a retry, if the service asks for less.
_MIN_DELAY = timedelta(seconds=1)
#: Seconds after the reset of a budget in which the tasks that wait for it are retried.
_RESET_SPREAD_SECONDS = 60.0
#: Airflow stores 500 characters of a reason.
_MAX_REASON = 500


class FluxRetryPolicy(RetryPolicy):
    """Fail at once after a permanent error, and wait as long as the service asks after others.

    The operators and the sensor of this provider have this policy without being told, around the
    ``retry_policy`` of the task. Set it yourself on a task that calls
    :class:`~airflow_provider_flux.hooks.flux.FluxHook`.

    - A permanent error (moderation, a bad request, no credits, a refused key, an uncertain submit)
      fails the task, whatever ``retries`` says.
    - A temporary failure with a ``Retry-After`` is retried after that time.
    - A budget of the account that is used up is retried after its reset, if ``budget_delay`` is
      long enough.
    - For everything else the ``retries`` and the ``retry_delay`` of the task apply.

    :param first: policy that is asked before. Its decision counts, unless it is the default one.
        ``None`` by default.
    :param max_delay: longest wait for a ``Retry-After``. Default 5 minutes.
    :param budget_delay: longest wait for the reset of a budget of the account, after which the task
        is retried. By default a budget that is used up fails the task at once.
    """

    def __init__(
        self,
        first: RetryPolicy | None = None,
        *,
        max_delay: timedelta = timedelta(minutes=5),
        budget_delay: timedelta = timedelta(0),
    ) -> None:
        self.first = first
        self.max_delay = max_delay
        self.budget_delay = budget_delay

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,
        context: Context | None = None,
    ) -> RetryDecision:
        """Decide about a retry.

        :param exception: the error that ended the try.
        :param try_number: number of the try, from 1.
        :param max_tries: ``retries`` of the task, and the tries before it was cleared.
        :param context: context of the task.
        """
        if self.first is not None:
            decision = self.first.evaluate(exception, try_number, max_tries, context)
            if decision.action is not RetryAction.DEFAULT:
                return decision
        if not isinstance(exception, FluxError):
            return RetryDecision.default()
        reason = f"{type(exception).__name__}: {redact(str(exception))}"[:_MAX_REASON]
        if isinstance(exception, FluxBudgetError) and exception.resets_at is not None:
            until_reset = timedelta(seconds=max(0.0, exception.resets_at - time.time()))
            if until_reset <= self.budget_delay:
                # Tasks that wait for the same reset do not begin in the same second.
                spread = timedelta(seconds=random.uniform(1, _RESET_SPREAD_SECONDS))  # noqa: S311
                return RetryDecision.retry(until_reset + spread, reason)
        if exception.is_permanent:
            return RetryDecision.fail(reason)
        if isinstance(exception, FluxTransientError) and exception.retry_after is not None:
            requested = timedelta(seconds=exception.retry_after)
            return RetryDecision.retry(min(max(requested, _MIN_DELAY), self.max_delay), reason)
        return RetryDecision.default()
