"""Task instances whose XCom a test chooses: copies of one that ran, each with a map index."""

from __future__ import annotations

import itertools
from typing import Any
from uuid import uuid4

from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import insert, select

_MAP_INDEXES = itertools.count(1000)


def plant_task_instance(
    dag_id: str, task_id: str, value: Any, *, key: str = "return_value", **rendered: Any
) -> int:
    """Copy a task instance that is not mapped, with another value of one XCom.

    :param dag_id: its DAG, which has one run.
    :param task_id: its task.
    :param value: the value.
    :param key: key of the XCom.
    :param rendered: arguments whose rendered values are other ones.
    :return: the map index of the copy.
    """
    map_index = next(_MAP_INDEXES)
    with create_session() as session:
        for model in (TaskInstance, RenderedTaskInstanceFields, XComModel):
            table = model.__table__
            ids = (table.c.dag_id == dag_id, table.c.task_id == task_id, table.c.map_index == -1)
            for row in session.execute(select(table).where(*ids)).mappings().all():
                copy = {**row, "map_index": map_index}
                if "id" in copy:
                    copy["id"] = uuid4() if not isinstance(copy["id"], str) else str(uuid4())
                if copy.get("key") == key:
                    copy["value"] = value
                if "rendered_fields" in copy:
                    copy["rendered_fields"] = {**copy["rendered_fields"], **rendered}
                session.execute(insert(table).values(copy))
    return map_index
