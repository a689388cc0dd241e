"""An asset event of the receiver, which the next run of each scheduled DAG has.

Airflow queues one run of a DAG for all events of an asset that arrive together, and gives the run
the events up to the time at which it was queued. Airflow 3.0 to 3.3 leave that time as it is when
another event finds the run queued (issue 56050 of apache/airflow). That event would wait for the
next one, which may be after BFL has deleted the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from airflow.assets.manager import asset_manager
from airflow.models.asset import AssetDagRunQueue, AssetModel
from sqlalchemy import select, update
from sqlalchemy.orm import Session

#: Whether a queued run stands for all events of an asset, and has a time instead of its events.
_RUNS_HAVE_A_TIME = set(AssetDagRunQueue.__table__.primary_key.columns.keys()) == {
    "asset_id",
    "target_dag_id",
}


def find_asset(name: Any, uri: Any, session: Session) -> AssetModel | None:
    """Return an asset, locked until the caller commits; ``None`` if no DAG has it.

    The lock lets no other event of the asset queue a run before this one is committed.

    :param name: name of the asset.
    :param uri: URI of the asset.
    :param session: session of Airflow's database.
    """
    query = select(AssetModel).where(AssetModel.name == name, AssetModel.uri == uri)
    return session.scalar(query.with_for_update(of=AssetModel))


def emit_event(ti: Any, asset: AssetModel, extra: Mapping[str, Any], session: Session) -> None:
    """Add the event of an asset, and let the runs that are queued for the asset include it.

    :param ti: the task instance that the event comes from.
    :param asset: the asset, as :func:`find_asset` returns it.
    :param extra: what the event says.
    :param session: session of Airflow's database. The caller commits it.
    """
    # A scheduler that creates these runs just now ends before this goes on. Others skip them.
    queued = select(AssetDagRunQueue).where(AssetDagRunQueue.asset_id == asset.id)
    session.scalars(queued.with_for_update(of=AssetDagRunQueue)).all()
    asset_manager.register_asset_change(
        task_instance=ti, asset=asset, extra=dict(extra), session=session
    )
    if _RUNS_HAVE_A_TIME:
        session.flush()
        session.execute(
            update(AssetDagRunQueue)
            .where(AssetDagRunQueue.asset_id == asset.id)
            .values(created_at=datetime.now(UTC))
            .execution_options(synchronize_session=False)
        )
