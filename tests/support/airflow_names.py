"""Names of Airflow for the tests, from the modules that have them in each supported version."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

#: Version of Airflow, for example ``(3, 3)``.
AIRFLOW = tuple(map(int, version("apache-airflow").split(".")[:2]))

try:  # Airflow 3.2
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.serialization.serialized_objects import DagSerialization
except ImportError:
    from airflow.models.dagbag import DagBag  # type: ignore[no-redef]
    from airflow.serialization.serialized_objects import (  # type: ignore[no-redef]
        SerializedDAG as DagSerialization,
    )

    if AIRFLOW >= (3, 1):
        from airflow.models.dagbag import sync_bag_to_db  # type: ignore[no-redef]
    else:

        def sync_bag_to_db(bag: Any, bundle_name: str, bundle_version: str | None) -> None:
            """Store all DAGs of a bag in the metadata database."""
            bag.sync_to_db(bundle_name, bundle_version)


__all__ = ["AIRFLOW", "DagBag", "DagSerialization", "sync_bag_to_db"]
