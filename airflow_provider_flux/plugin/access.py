"""Access by the permissions of Airflow: its auth manager decides about every request.

Images, prompts and costs come from the XComs of a task. So whoever may read the XComs of a DAG may
see its images.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
from airflow.models.dag import DagModel
from fastapi import Depends, HTTPException, Request, status

#: Dependency that returns the logged-in user; 401 for anybody else.
logged_in_user = get_user


async def _require_possible_ids(request: Request) -> None:
    """Refuse an id that no DAG, run or task can have, before Airflow looks for it.

    :raises HTTPException: 404. PostgreSQL refuses some characters with an error.
    """
    if not all(map(str.isprintable, map(str, request.path_params.values()))):
        raise HTTPException(status.HTTP_404_NOT_FOUND)


#: Dependencies of a route with ``{dag_id}`` in its path that shows what tasks of the DAG returned.
READS_DAG = [
    Depends(_require_possible_ids),
    Depends(requires_access_dag("GET", DagAccessEntity.XCOM)),
]


def may_read_dag(user: Any, dag_id: str) -> bool:
    """Whether a user may see the images of a DAG.

    :param user: the user, as :data:`logged_in_user` returns it.
    :param dag_id: id of the DAG.
    """
    return get_auth_manager().is_authorized_dag(
        method="GET",
        access_entity=DagAccessEntity.XCOM,
        details=_details_of(dag_id),
        user=user,
    )


def readable_dag_ids(user: Any) -> set[str]:
    """Return the ids of the DAGs that a user may read. Each DAG may still hide its XComs.

    :param user: the user, as :data:`logged_in_user` returns it.
    """
    return get_auth_manager().get_authorized_dag_ids(user=user, method="GET")


def _details_of(dag_id: str) -> DagDetails:
    get_team_name = getattr(DagModel, "get_team_name", None)  # since Airflow 3.2
    if get_team_name is None:
        return DagDetails(id=dag_id)
    return DagDetails(id=dag_id, team_name=get_team_name(dag_id))


def may_answer(user: Any, dag_id: str, assigned_user_ids: Collection[str]) -> bool:
    """Whether a user may answer the human-in-the-loop tasks of a DAG.

    :param user: the user, as :data:`logged_in_user` returns it.
    :param dag_id: id of the DAG.
    :param assigned_user_ids: ids of the users who may answer the task; empty for no such limit.
    """
    manager = get_auth_manager()
    is_allowed = manager.is_authorized_dag(
        method="PUT",
        access_entity=DagAccessEntity.HITL_DETAIL,
        details=_details_of(dag_id),
        user=user,
    )
    if not is_allowed or not assigned_user_ids:
        return is_allowed
    return manager.is_authorized_hitl_task(assigned_users=set(assigned_user_ids), user=user)
