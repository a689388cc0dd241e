"""A whole run of a DAG in this process, on the metadata database of the tests."""

from __future__ import annotations

import os
from typing import Any

from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.sdk import DAG

from tests.support.airflow_names import DagBag, sync_bag_to_db


def run_dag(dag: DAG, **arguments: Any) -> Any:
    """Store a DAG as Airflow does, run it with ``dag.test()``, and return the DAG run."""
    store_dag(dag)
    return dag.test(**arguments)


def store_dag(dag: DAG) -> None:
    """Write a DAG to the metadata database, as the DAG processor does."""
    DagBundlesManager().sync_bundles_to_db()
    bag = DagBag(os.devnull)
    bag.bag_dag(dag)
    sync_bag_to_db(bag, "dags-folder", None)
