"""A whole run of a DAG in this process, on the metadata database of the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import DAG

#: The bundle that Airflow has by default, and that a run of ``dag.test()`` belongs to.
_BUNDLE = "dags-folder"


def run_dag(dag: DAG, **arguments: Any) -> Any:
    """Store a DAG as Airflow does, run it with ``dag.test()``, and return the DAG run.

    ``dag.test()`` alone finds a DAG only if its file is in the DAG folder of Airflow, and
    it leaves the ``params`` of its ``run_conf`` in the DAG, for the next run.

    :param dag: the DAG. Its file can be anywhere.
    :param arguments: arguments of ``dag.test()``, for example ``run_conf``.
    """
    store_dag(dag)
    with _params_restored(dag):
        return dag.test(**arguments)


@contextmanager
def _params_restored(dag: DAG) -> Iterator[None]:
    """Give the DAG and its tasks their ``params`` back at the end of the block."""
    owners: list[Any] = [dag, *(task for task in dag.tasks if not task.is_mapped)]
    params = [deepcopy(owner.params) for owner in owners]
    try:
        yield
    finally:
        for owner, restored in zip(owners, params, strict=True):
            owner.params = restored


def store_dag(dag: DAG) -> None:
    """Write a DAG to the metadata database, as the DAG processor does.

    :param dag: the DAG. Its file can be anywhere.
    """
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    DagBundlesManager().sync_bundles_to_db()  # type: ignore[no-untyped-call]
    if tuple(map(int, version("apache-airflow").split(".")[:2])) >= (3, 2):
        module: Any = import_module("airflow.dag_processing.dagbag")
    else:
        module = import_module("airflow.models.dagbag")
    bag = module.DagBag(os.devnull)
    bag.bag_dag(dag)
    if hasattr(module, "sync_bag_to_db"):
        module.sync_bag_to_db(bag, _BUNDLE, None)
    else:  # Airflow 3.0, which sets this path of a DAG only if it loads the file itself
        dag.relative_fileloc = dag.relative_fileloc or os.path.basename(dag.fileloc)
        bag.sync_to_db(_BUNDLE, None)
