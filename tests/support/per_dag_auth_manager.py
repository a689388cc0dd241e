"""An auth manager with users that may read some DAGs only, as those of companies have."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

#: The users and their roles, as ``[core] simple_auth_manager_users`` names them.
USERS = {
    "admin": "admin",
    "editor": "user",
    "viewer": "viewer",
    "stranger": "viewer",
    "blind": "viewer",
}
#: DAGs that a user may read, by the beginning of their ids. ``admin`` and ``editor`` may read all.
_READABLE = {"viewer": ("album",), "stranger": ("foreign",), "blind": ("album", "foreign")}
#: A user that may read DAGs, and not what their tasks return.
_WITHOUT_XCOMS = "blind"


class PerDagAuthManager(SimpleAuthManager):
    """Airflow's simple auth manager, restricted by DAG."""

    def is_authorized_dag(
        self,
        *,
        method: Any,
        user: Any,
        access_entity: DagAccessEntity | None = None,
        details: Any = None,
    ) -> bool:
        """Whether a user may do something with a DAG."""
        if not super().is_authorized_dag(
            method=method, user=user, access_entity=access_entity, details=details
        ):
            return False
        readable = _READABLE.get(user.username)
        if readable is None:
            return True
        if user.username == _WITHOUT_XCOMS and access_entity == DagAccessEntity.XCOM:
            return False
        dag_id = details.id if details else None
        return dag_id is not None and dag_id.startswith(readable)
