"""The folders that candidates of a review may be in: those that tasks of the DAG land images in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from airflow_provider_flux.landing.output_path import fixed_folder, has_jinja

#: A path that begins with one template: the template, and the text until the next one.
_LEADING_TEMPLATE = re.compile(r"\s*(\{\{.*?\}\})([^{]*)", re.DOTALL)
#: Variables of a template that may have another value in another task, or come from outside.
_OF_A_TASK = re.compile(
    r"\b(ti|task|task_instance|task_instance_key_str|map_index|params|dag_run|try_number|"
    r"xcom_pull)\b"
)
_ARGUMENTS = ("output_path", "manifest_path", "candidates_path")


def find_folders(dag: Any, render: Callable[[str], Any]) -> list[str]:
    """Return the folders that the ``output_path`` and ``manifest_path`` of tasks begin with.

    Only what the DAG file says counts, so that no value of another task can widen them.

    :param dag: the DAG; ``None`` if it is not known.
    :param render: renders a template with the context of the review.
    :return: folders, each with a slash at its end, and none of them below another one.
    """
    tasks: Iterable[Any] = dag.task_dict.values() if dag is not None else ()
    paths = (path for task in tasks for path in _paths_of(task))
    folders = (_folder_of(path, render) for path in paths)
    found = sorted({folder for folder in folders if folder})
    return [
        folder
        for folder in found
        if not any(folder != other and folder.startswith(other) for other in found)
    ]


def _paths_of(task: Any) -> list[str]:
    """Return the paths of a task as the DAG file has them."""
    if hasattr(task, "partial_kwargs"):
        values = [task.partial_kwargs.get(name) for name in _ARGUMENTS]
    else:
        values = [getattr(task, f"_unrendered_{name}", None) for name in _ARGUMENTS]
    return [value if isinstance(value, str) else str(value) for value in values if _is_path(value)]


def _is_path(value: Any) -> bool:
    return isinstance(value, str) or hasattr(value, "protocol")


def _folder_of(path: str, render: Callable[[str], Any]) -> str:
    """Return the folder that a path begins with; empty if it is not known before the task runs."""
    leading = _LEADING_TEMPLATE.match(path)
    if leading is None:
        return fixed_folder(path)
    template, rest = leading.groups()
    if _OF_A_TASK.search(template) or "/" not in rest:
        return ""
    rendered = str(render(template))
    if has_jinja(rendered) or "{" in rendered:
        return ""
    return fixed_folder(f"{rendered}{rest}")
