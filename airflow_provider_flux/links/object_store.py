"""Links to what a task has landed, in the console of the object store.

Airflow evaluates a link on the worker, at the end of each phase of the task, and stores it as an
XCom. The operator knows its files then, so no XCom is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow_provider_flux.observability.task_files import TaskFiles


class LandedImageLink(BaseOperatorLink):
    """Link to the landed image; to its folder before it has landed, and for a list of images.

    It is empty for a store without a console, for example a local folder.
    """

    name = "Landed image"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the URL of the console page, or an empty text.

        :param operator: the operator that has run.
        :param ti_key: the task instance; not needed.
        """
        files = _files_of(operator)
        if files is None:
            return ""
        is_one = len(files.images) == 1
        return _link_to(files.images[0]["uri"] if is_one else files.folder)


class ManifestLink(BaseOperatorLink):
    """Link to the manifest of a batch, if this try has written it.

    It is empty for a store without a console.
    """

    name = "Manifest"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the URL of the console page, or an empty text.

        :param operator: the operator that has run.
        :param ti_key: the task instance; not needed.
        """
        files = _files_of(operator)
        is_written = files is not None and files.manifest_rows is not None
        return _link_to(files.manifest) if files and is_written else ""


def _files_of(operator: Any) -> TaskFiles | None:
    return getattr(operator, "task_files", None)


def _link_to(uri: str | None) -> str:
    if not uri:
        return ""
    from airflow_provider_flux.observability.store_location import console_url

    return console_url(uri) or ""
