"""Places of the objects of a task: the folder that its arguments name, never its XCom.

Whoever may write to the bucket, or change an XCom, names any URI there. So a URI counts only below
the folder that ``output_path`` of the task begins with, in the same store and by the same
connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from airflow_provider_flux.gallery.card import CardOrigin
from airflow_provider_flux.landing.below_root import is_below
from airflow_provider_flux.landing.object_name import safe_name
from airflow_provider_flux.landing.output_path import fixed_folder
from airflow_provider_flux.plugin.task_records import (
    TaskRecord,
    rendered_arguments,
    unrendered_arguments,
)

#: Schemes of the stores that an operator lands in. Others, such as http, are never opened.
_SCHEMES = frozenset({"", "file", "local", "s3", "s3a", "s3n", "gs", "gcs", "abfs", "abfss"})


class TaskPaths:
    """The folders and the manifest that the arguments of a task name.

    :param record: the record of the task instance.
    """

    def __init__(self, record: TaskRecord) -> None:
        self._record = record

    @property
    def origin(self) -> CardOrigin:
        """The task instance."""
        return self._record.origin

    @staticmethod
    def load(paths: Iterable[TaskPaths]) -> None:
        """Look up the arguments of several tasks in a few queries, instead of one for each.

        :param paths: the places of the tasks, of one DAG.
        """
        unknown = {path.origin: path for path in paths if "_rendered" not in vars(path)}
        rendered = rendered_arguments(unknown)
        for origin, path in unknown.items():
            path._rendered = rendered.get(origin, {})

    def has(self, uri: str | None) -> bool:
        """Whether an object is where the task may have written it.

        :param uri: URI of the object, from a record.
        """
        if uri is None or not _has_known_scheme(uri):
            return False
        # The folder before any template is the wider one. It is looked up only if it matters.
        return is_below(uri, self._rendered_root) or is_below(uri, self._unrendered_root)

    def manifest(self, recorded: str | None) -> str | None:
        """Return the URI of the manifest of a batch.

        :param recorded: the URI that the summary of the batch names; ``None`` while it runs.
        :return: ``None`` if the task writes none, or the summary names another place.
        """
        expected = self._expected_manifest
        if recorded is None or recorded == expected:
            # A link in the folder may lead to the manifest of another task.
            is_own = expected is not None and is_below(expected, _parent_of(expected))
            return expected if is_own else None
        return recorded if self.has(recorded) or self._is_below_manifest(recorded) else None

    @cached_property
    def _rendered(self) -> Mapping[str, Any]:
        origin = self._record.origin
        return rendered_arguments([origin]).get(origin, {})

    @cached_property
    def _rendered_root(self) -> str:
        return _folder_of(self._rendered.get("output_path"))

    @cached_property
    def _unrendered_root(self) -> str:
        return _folder_of(unrendered_arguments(self._record).get("output_path"))

    @cached_property
    def _expected_manifest(self) -> str | None:
        named = self._rendered.get("manifest_path")
        if isinstance(named, str) and named and named != "None":
            return named if _has_known_scheme(named) else None
        if not self._rendered_root:
            return None
        origin = self._record.origin
        index = "" if origin.map_index < 0 else f"-{origin.map_index}"
        return f"{self._rendered_root}manifest-{safe_name(origin.task_id)}{index}.jsonl"

    def _is_below_manifest(self, uri: str) -> bool:
        """Whether a manifest is in the folder that the DAG file names for it."""
        folder = _folder_of(unrendered_arguments(self._record).get("manifest_path"))
        return _has_known_scheme(uri) and is_below(uri, folder)


def _folder_of(path: Any) -> str:
    """Return the folder that a path begins with; empty if there is none in a known store."""
    if not isinstance(path, str) or "***" in path or not _has_known_scheme(path):
        return ""
    return fixed_folder(path)


def _parent_of(uri: str) -> str:
    """Return the folder of an object, with a slash at its end."""
    return uri[: uri.rindex("/") + 1] if "/" in uri else ""


def _has_known_scheme(uri: str) -> bool:
    return (uri.partition("://")[0] if "://" in uri else "") in _SCHEMES
