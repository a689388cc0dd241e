"""Names of Airflow that common-compat does not have in every supported version."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator

try:
    from airflow.sdk.log import mask_secret
except ImportError:
    # Airflow 3.0. common-compat has the name since 1.22, but managed images ship older versions.
    from airflow.sdk.execution_time.secrets_masker import mask_secret  # type: ignore[no-redef]

try:
    from airflow.sdk.bases.decorator import determine_kwargs
except ImportError:
    # Airflow 3.0 and 3.1. common-compat 1.12 does not have the name.
    from airflow.utils.operator_helpers import determine_kwargs  # type: ignore[attr-defined]

__all__ = [
    "arguments_in_source",
    "determine_kwargs",
    "function_arguments_in_source",
    "has_human_input",
    "is_from_mapped",
    "mask_secret",
]


def has_human_input() -> bool:
    """Whether this Airflow can ask a person: version 3.1 and newer."""
    return find_spec("airflow.sdk.execution_time.hitl") is not None


def is_from_mapped(operator: BaseOperator) -> bool:
    """Whether Airflow builds an operator for one map index, on the worker.

    Its arguments may then be values that another task returned. Airflow tells them by identity.

    :param operator: an operator, also in its ``__init__``.
    """
    return bool(getattr(operator, "_BaseOperator__from_mapped", False))


def arguments_in_source(operator: BaseOperator, context: Any) -> frozenset[str] | None:
    """Return the arguments of a mapped task that its DAG file sets, if all others are data.

    That is so for ``expand_kwargs()`` of what another task returned, whose values Airflow renders
    (seen in 3.3.2).

    :param operator: an operator that Airflow built for one map index.
    :param context: context of the task.
    :return: names of arguments, ``None`` if Airflow tells data from arguments itself.
    """
    if not is_from_mapped(operator) or context.get("dag") is None:
        return None
    task = context["dag"].task_dict.get(operator.task_id)
    value = getattr(getattr(task, "expand_input", None), "value", None)
    if isinstance(value, (list, tuple)):
        value = value[context["ti"].map_index]
    return frozenset(task.partial_kwargs) if hasattr(value, "iter_references") else None


def function_arguments_in_source(operator: BaseOperator, context: Any) -> frozenset[str] | None:
    """Return the arguments of a mapped function that its DAG file sets, if all others are data.

    That is so for ``expand_kwargs()`` of what another task returned, as in
    :func:`arguments_in_source`.

    :param operator: a decorated operator that Airflow built for one map index.
    :param context: context of the task.
    :return: names of arguments of the function, ``None`` if Airflow tells data from arguments
        itself.
    """
    if not is_from_mapped(operator) or context.get("dag") is None:
        return None
    task = context["dag"].task_dict.get(operator.task_id)
    value = getattr(getattr(task, "op_kwargs_expand_input", None), "value", None)
    if isinstance(value, (list, tuple)):
        value = value[context["ti"].map_index]
    if not hasattr(value, "iter_references"):
        return None
    return frozenset(task.partial_kwargs.get("op_kwargs", {}))
