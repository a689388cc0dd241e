"""Ask a person by the human-in-the-loop of Airflow, and park the task until they answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator
    from airflow.sdk.execution_time.hitl import HITLUser


@dataclass(frozen=True)
class Question:
    """The form that a person answers.

    :param subject: its headline.
    :param body: its text, in Markdown.
    :param options: its options.
    :param fields: its fields, as arguments of ``Param`` by name.
    :param defaults: options that apply after the timeout; ``None`` for a failure.
    :param multiple: whether several options may be chosen.
    :param assigned_users: users who may answer; empty for all whom Airflow permits it.
    :param timeout: time to wait for an answer; ``None`` for no limit.
    """

    subject: str
    body: str
    options: Sequence[str]
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    defaults: Sequence[str] | None = None
    multiple: bool = False
    assigned_users: Sequence[HITLUser] = ()
    timeout: timedelta | None = None


def ask_person(
    operator: BaseOperator,
    ti_id: Any,
    question: Question,
    method_name: str,
    notify: Callable[[], object],
) -> NoReturn:
    """Store the question, and park the task until Airflow calls a method with the answer.

    From Airflow 3.3 on, the task waits in the state ``awaiting_input`` and needs no triggerer.
    Before, it defers to the trigger of the standard provider.

    :param operator: the operator of the task.
    :param ti_id: id of the task instance.
    :param question: the question.
    :param method_name: method of the operator to call with the answer.
    :param notify: called once the question is stored, so that whoever is told finds it.
    """
    from airflow.sdk.definitions.param import Param
    from airflow.sdk.execution_time.hitl import upsert_hitl_detail

    params = {
        name: Param(**{"default": None, **arguments}).serialize()
        for name, arguments in question.fields.items()
    }
    upsert_hitl_detail(
        ti_id=ti_id,
        options=list(question.options),
        subject=question.subject,
        body=question.body,
        defaults=None if question.defaults is None else list(question.defaults),
        multiple=question.multiple,
        params=params,
        assigned_users=list(question.assigned_users),
    )
    notify()
    try:
        from airflow.sdk.exceptions import TaskAwaitingInput
    except ImportError:  # Airflow 3.1 and 3.2
        _defer(operator, ti_id, question, params, method_name)
    raise TaskAwaitingInput(method_name=method_name, timeout=question.timeout)


def raise_timeout(event: Mapping[str, Any]) -> NoReturn:
    """Raise the error of the standard provider for a question that nobody answered.

    :param event: event with the ``error`` and its ``error_type``.
    :raises HITLTimeoutError: if the time is over.
    :raises HITLTriggerEventError: for any other error.
    """
    from airflow.providers.standard.exceptions import HITLTimeoutError, HITLTriggerEventError

    if event.get("error_type") == "timeout":
        raise HITLTimeoutError(event)
    raise HITLTriggerEventError(event)


def _defer(
    operator: BaseOperator,
    ti_id: Any,
    question: Question,
    params: dict[str, dict[str, Any]],
    method_name: str,
) -> NoReturn:
    from airflow.providers.standard.triggers.hitl import HITLTrigger

    end = None if question.timeout is None else datetime.now(UTC) + question.timeout
    operator.defer(
        trigger=HITLTrigger(
            ti_id=ti_id,
            options=list(question.options),
            params=params,
            defaults=None if question.defaults is None else list(question.defaults),
            multiple=question.multiple,
            timeout_datetime=end,
        ),
        method_name=method_name,
    )
    raise AssertionError("defer() raises")
