"""Names of Airflow for the tests, from the modules that have them in each supported version."""

from __future__ import annotations

from importlib.metadata import version

#: Version of Airflow, for example ``(3, 3)``.
AIRFLOW = tuple(map(int, version("apache-airflow").split(".")[:2]))

try:  # Airflow 3.2
    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.serialized_objects import DagSerialization
except ImportError:
    from airflow.models.dagbag import DagBag  # type: ignore[no-redef]
    from airflow.serialization.serialized_objects import (  # type: ignore[attr-defined, assignment]
        SerializedDAG as DagSerialization,
    )

__all__ = ["AIRFLOW", "DagBag", "DagSerialization"]
