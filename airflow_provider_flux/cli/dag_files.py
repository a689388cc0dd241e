"""Load a DAG from its bundle, as Airflow's own commands do, without a write to the database."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.cli.console import tell


def load_dag(dag_id: str) -> Any:
    """Return a DAG as its file defines it now.

    :param dag_id: id of the DAG.
    :raises FluxRequestError: if no file of the bundles defines it, or its file has an error.
    """
    problems: list[str] = []
    for bag in _bags_with(dag_id):
        if dag := bag.dags.get(dag_id):
            return dag
        problems += [f"{file}: {str(error).strip()}" for file, error in bag.import_errors.items()]
    hint = f" These files have errors. {' '.join(problems[:3])}" if problems else ""
    raise FluxRequestError(f"No file of the DAG bundles defines the DAG {dag_id!r}.{hint}")


def _bags_with(dag_id: str) -> Iterator[Any]:
    """Yield the file that Airflow knows to define the DAG, then all files of all bundles."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager

    bundles = list(DagBundlesManager().get_all_dag_bundles())  # type: ignore[no-untyped-call]
    for bundle in bundles:
        bundle.initialize()
        if str(bundle.path) not in sys.path:
            sys.path.append(str(bundle.path))
    bundle_name, file = _known_file(dag_id)
    for bundle in bundles:
        path = Path(bundle.path) / file if file else None
        if path is not None and bundle.name == bundle_name and path.exists():
            yield _open_bag(path, bundle.path, dag_id)
    for bundle in bundles:
        yield _open_bag(bundle.path, bundle.path, dag_id)


def _known_file(dag_id: str) -> tuple[str | None, str | None]:
    """Return the bundle of a DAG and its file there, if Airflow's database has them."""
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    query = select(DagModel.bundle_name, DagModel.relative_fileloc)
    try:
        with create_session() as session:
            row = session.execute(query.where(DagModel.dag_id == dag_id)).first()
    except Exception as error:  # a laptop may have no database, or an empty one
        tell(f"Airflow's database cannot be read ({type(error).__name__}).")
        return None, None
    return (row[0], row[1]) if row else (None, None)


def _open_bag(path: Any, bundle_path: Any, dag_id: str) -> Any:
    has_own_module = tuple(map(int, version("apache-airflow-core").split(".")[:2])) >= (3, 2)
    name = "airflow.dag_processing.dagbag" if has_own_module else "airflow.models.dagbag"
    bag_class: Any = import_module(name).DagBag
    with _parsing(dag_id):
        return bag_class(str(path), bundle_path=Path(bundle_path))


def _parsing(dag_id: str) -> Any:
    """Return the context that tells a DAG file which DAG is asked for."""
    for name in (
        "airflow.sdk.definitions._internal.dag_parsing_context",
        "airflow.utils.dag_parsing_context",
    ):
        try:
            return import_module(name)._airflow_parsing_context_manager(dag_id=dag_id)
        except (ImportError, AttributeError):
            continue
    from contextlib import nullcontext

    return nullcontext()
