"""Find other tasks of the DAG whose images would have the names of this task."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.landing.object_name import safe_name
from airflow_provider_flux.landing.output_path import JINJA, columns_in, placeholders_in
from airflow_provider_flux.landing.suffixes import default_format

#: Variables of a template that may differ between two tasks of a run.
_OF_A_TASK = re.compile(
    r"\b(ti|task|task_instance|task_instance_key_str|map_index|params|try_number|xcom_pull)\b"
)
#: Placeholders that give each image a name of its own, or whose value is not known.
_UNKNOWN = frozenset({"request_id", "sha256", "fingerprint", "seed"})
_INDEX = re.compile(r"\{index(:[^}]*)?\}")
_ANY_INDEX = "\0index"


def check_sibling_tasks(task_id: str, dag: Any) -> None:
    """Refuse an ``output_path`` by which the images of two tasks would replace each other.

    Two tasks that run one after the other, or of which a branch chooses one, are not refused: the
    second one looks at the store before it submits.

    :param task_id: id of the task that is about to submit.
    :param dag: its DAG; ``None`` if it is not known.
    :raises FluxRequestError: if another task may run beside it, and gives the same names.
    """
    tasks: Mapping[str, Any] = dag.task_dict if dag is not None else {}
    own = tasks.get(task_id)
    names = None if own is None else _names_of(own)
    if own is None or names is None:
        return
    for other_id, other in tasks.items():
        if other_id != task_id and _names_of(other) == names and _may_run_together(own, other, dag):
            raise FluxRequestError(
                f"output_path={_path_of(own)!r} gives the images of the tasks {task_id!r} and "
                f"{other_id!r} the same names, so they would replace each other. Nothing was "
                "submitted. Add {{ task.task_id }} to both."
            )


def _names_of(task: Any) -> str | None:
    """Return the names of the images of a task, as a template that two tasks can share.

    :return: ``None`` for a task that generates nothing, and if the names cannot be compared.
    """
    source = getattr(getattr(task, "operator_class", type(task)), "key_source", None)
    path = _path_of(task)
    if source is None or not isinstance(path, str):
        return None
    if any(map(_OF_A_TASK.search, JINJA.findall(path))):
        return None
    plain = JINJA.sub("", path)
    names = placeholders_in(plain)
    if names & _UNKNOWN or (source == "rows" and ("key" in names or columns_in(plain))):
        return None
    is_many = source == "rows" or _is_mapped(task)
    path = path.replace("{key}", _ANY_INDEX if is_many else safe_name(task.task_id))
    path = _INDEX.sub(_ANY_INDEX if is_many else "0", path)
    path = path.replace("{ext}", f"\0{_format_of(task)}")
    path = path.replace("{model}", f"\0{_argument_of(task, 'model')}")
    return re.sub(r"\s+", " ", path)


def _format_of(task: Any) -> Any:
    """Return the format of the images of a task, or an argument that stands for it."""
    supplied = _argument_of(task, "parameters")
    parameters = supplied if isinstance(supplied, Mapping) else {}
    requested = parameters.get("output_format") or _argument_of(task, "output_format")
    if requested:
        return requested
    name = _argument_of(task, "model")
    model = known_models().get(name) if isinstance(name, str) else None
    return default_format(model, parameters) if model else None


def _path_of(task: Any) -> Any:
    path = _argument_of(task, "output_path")
    return str(path) if hasattr(path, "protocol") else path


def _argument_of(task: Any, name: str) -> Any:
    """Return an argument before it is rendered; ``None`` if each map index has its own."""
    if hasattr(task, "partial_kwargs"):
        return task.partial_kwargs.get(name)
    return getattr(task, f"_unrendered_{name}", None) or getattr(task, name, None)


def _is_mapped(task: Any) -> bool:
    if hasattr(task, "partial_kwargs"):
        return True
    return task.get_closest_mapped_task_group() is not None


def _may_run_together(first: Any, second: Any, dag: Any) -> bool:
    before_first = first.get_flat_relative_ids(upstream=True)
    before_second = second.get_flat_relative_ids(upstream=True)
    if first.task_id in before_second or second.task_id in before_first:
        return False
    common = (dag.task_dict[task_id] for task_id in before_first & before_second)
    return not any(getattr(task, "inherits_from_skipmixin", False) for task in common)
