"""Effects of a webhook in Airflow's database: resume a deferred task, or emit an asset event.

A task of a notice is found by the reference that its worker made. What the notice says counts only
if the task waits for, or has submitted, the same request. All of it happens under a lock of the
task instance, so that a notice that arrives twice has one effect.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

import sqlalchemy
from airflow.models.asset import AssetEvent, AssetModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.models.trigger import handle_event_submit
from airflow.models.xcom import XComModel
from airflow.providers.common.compat.sdk import XCom
from airflow.triggers.base import TriggerEvent
from airflow.utils.state import TaskInstanceState
from sqlalchemy import select
from sqlalchemy.orm import Session

from airflow_provider_flux.bfl.webhook import WebhookNotice
from airflow_provider_flux.operators.webhook_reference import READY_ASSET_XCOM
from airflow_provider_flux.plugin.asset_event import emit_event, find_asset
from airflow_provider_flux.triggers.result import FluxResultTrigger

log = logging.getLogger(__name__)

#: Effect of a notice:
#:
#: - ``resumed``: the deferred task goes on.
#: - ``emitted``: there is an asset event.
#: - ``early``: the task has not recorded its submit yet. The same notice may have an effect later.
#: - ``kept``: the answer to the submit was lost. The next try knows the request now.
#: - ``ignored``: the task does not wait for this request, or polls itself.
Effect = Literal["resumed", "emitted", "early", "kept", "ignored"]

_TRIGGER_PATH = f"{FluxResultTrigger.__module__}.{FluxResultTrigger.__qualname__}"
_ENDED = frozenset({"failed", "skipped", "removed", "upstream_failed"})


def apply_notice(task_instance: UUID, notice: WebhookNotice, session: Session) -> Effect:
    """Let a notice have its effect.

    :param task_instance: id of the task instance that the reference of the webhook names.
    :param notice: what the webhook reports.
    :param session: session of Airflow's database. The caller commits it.
    """
    ti = _lock_task_instance(task_instance, session)
    if ti is None:
        return "ignored"
    if ti.state == TaskInstanceState.DEFERRED:
        return _resume(ti, notice, session)
    asset = _read_xcom(ti, READY_ASSET_XCOM, session)
    if not isinstance(asset, Mapping) or ti.state in _ENDED:
        return "ignored"
    if ti.state != TaskInstanceState.SUCCESS:
        return "early"
    return _emit(ti, notice, asset, session)


def _lock_task_instance(task_instance: UUID, session: Session) -> Any:
    """Lock and return a task instance; of a try that ended, that of the current try."""
    key: Any = as_column_value(task_instance)
    ti = session.get(TaskInstance, key, with_for_update={"of": TaskInstance})
    if ti is not None:
        return ti
    query = select(TaskInstanceHistory).where(TaskInstanceHistory.task_instance_id == key)
    earlier = session.scalar(query)
    if earlier is None:
        return None
    same_task = (
        getattr(TaskInstance, name) == getattr(earlier, name)
        for name in ("dag_id", "run_id", "task_id", "map_index")
    )
    current = session.scalar(select(TaskInstance.id).where(*same_task))
    if current is None:
        return None
    return session.get(TaskInstance, current, with_for_update={"of": TaskInstance})


def as_column_value(task_instance: UUID) -> UUID | str:
    """Return an id as the column has it, which is text before Airflow 3.2.

    :param task_instance: the id.
    """
    # SQLAlchemy 1.4 does not have the type, and cannot tell that of a value in a variant.
    has_uuids = isinstance(TaskInstance.__table__.c.id.type, getattr(sqlalchemy, "Uuid", ()))
    return task_instance if has_uuids else str(task_instance)


def _resume(ti: Any, notice: WebhookNotice, session: Session) -> Effect:
    """Resume a task that is deferred for this request, as its trigger would."""
    trigger = ti.trigger
    if trigger is None or trigger.classpath != _TRIGGER_PATH:
        return "ignored"
    arguments = trigger.kwargs
    generation = arguments["generation"]
    if generation["request_id"] != notice.request_id:
        return "ignored"
    if time.time() < arguments["not_before"]:
        return "ignored"  # the trigger polls again at that time, and keeps this limit itself
    event = {"status": "notified", "generation": generation}
    handle_event_submit(TriggerEvent(event), task_instance=ti, session=session)  # type: ignore[no-untyped-call]
    return "resumed"


def _emit(ti: Any, notice: WebhookNotice, asset: Mapping[str, Any], session: Session) -> Effect:
    """Emit the event of a generation that its task submitted, unless there is one."""
    generation = _read_xcom(ti, "return_value", session)
    if not isinstance(generation, Mapping) or generation.get("request_id") != notice.request_id:
        return "ignored"
    model = find_asset(asset.get("name"), asset.get("uri"), session)
    if model is None:
        log.warning("No DAG has the asset %r of task %r", asset.get("name"), ti.task_id)
        return "ignored"
    if _has_event(ti, model, notice.request_id, session):
        return "ignored"
    emit_event(ti, model, {**generation, "status": notice.status.value}, session)
    return "emitted"


def _has_event(ti: Any, asset: AssetModel, request_id: str, session: Session) -> bool:
    """Whether the task has an event of the asset for this request."""
    query = select(AssetEvent.extra).where(
        AssetEvent.asset_id == asset.id,
        AssetEvent.source_dag_id == ti.dag_id,
        AssetEvent.source_run_id == ti.run_id,
        AssetEvent.source_task_id == ti.task_id,
        AssetEvent.source_map_index == ti.map_index,
    )
    return any(extra.get("request_id") == request_id for extra in session.scalars(query))


def _read_xcom(ti: Any, key: str, session: Session) -> Any:
    """Return an XCom of a task instance; ``None`` if there is none, or it cannot be read."""
    query = select(XComModel).where(
        XComModel.dag_id == ti.dag_id,
        XComModel.run_id == ti.run_id,
        XComModel.task_id == ti.task_id,
        XComModel.map_index == ti.map_index,
        XComModel.key == key,
    )
    stored = session.scalar(query)
    if stored is None:
        return None
    if isinstance(stored.value, Mapping):  # plain JSON; no class in it is looked up
        return stored.value
    try:
        return XCom.deserialize_value(stored)
    except Exception as error:  # of an XCom backend
        log.warning("XCom %r of task %r: %s", key, ti.task_id, type(error).__name__)
        return None
