"""The retry policy of one task: that of its user, or the one of this provider.

Before Airflow 3.3 tasks have none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator


def add_retry_policy(task: BaseOperator) -> None:
    """Put the policy of this provider around that of a task.

    :param task: an operator, at the end of its ``__init__``.
    """
    if not hasattr(task, "retry_policy"):
        return
    from airflow_provider_flux.policies.retry import FluxRetryPolicy

    if not isinstance(task.retry_policy, FluxRetryPolicy):
        task.retry_policy = FluxRetryPolicy(task.retry_policy)


def has_policy_of_user(task: BaseOperator | None) -> bool:
    """Whether a policy of the user decides about the retries of a task.

    :param task: an operator; ``None`` for no task.
    """
    policy: Any = getattr(task, "retry_policy", None)
    if policy is None:
        return False
    from airflow_provider_flux.policies.retry import FluxRetryPolicy

    if not isinstance(policy, FluxRetryPolicy):
        return True
    return policy.first is not None or bool(policy.budget_delay)
