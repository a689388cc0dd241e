"""Addresses of the gallery in the API server, and the link to it."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any
from urllib.parse import quote, urlsplit

from airflow.providers.common.compat.sdk import BaseOperatorLink, conf

#: Path below which the API server answers for the plugin.
GALLERY_PREFIX = "/flux"
#: Version of Airflow whose API server has plugins with pages.
_FIRST_AIRFLOW = (3, 1)


class GalleryLink(BaseOperatorLink):
    """Link to the images of a task instance in the gallery; empty if there is no gallery.

    It needs no record of the task, so it is there before a deferral as after it.
    """

    name = "Gallery"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the URL of the page, relative to the API server, or an empty text.

        :param operator: the operator that has run; not needed.
        :param ti_key: the task instance, or its key.
        """
        if not has_gallery() or getattr(ti_key, "dag_id", None) is None:
            return ""
        return gallery_path(
            ti_key.dag_id, ti_key.run_id, ti_key.task_id, getattr(ti_key, "map_index", -1)
        )


def gallery_path(
    dag_id: str | None = None,
    run_id: str | None = None,
    task_id: str | None = None,
    map_index: int | None = None,
) -> str:
    """Return the path of a page of the gallery on the API server, with the path of its base URL.

    :param dag_id: id of the DAG; ``None`` for the page of all DAGs.
    :param run_id: id of the run; ``None`` for the page of the DAG.
    :param task_id: id of the task; ``None`` for the page of the run.
    :param map_index: map index of the task instance; ``None`` for all of the task.
    """
    parts = [GALLERY_PREFIX]
    for name, value in (("dags", dag_id), ("runs", run_id), ("tasks", task_id)):
        if value is None:
            break
        parts += [name, quote(value, safe="")]
    path = "/".join(parts) if len(parts) > 1 else f"{GALLERY_PREFIX}/"
    has_index = task_id is not None and map_index is not None and map_index >= 0
    return ui_path(f"{path}?map_index={map_index}" if has_index else path)


def costs_path(dag_id: str | None = None) -> str:
    """Return the path of the page of costs on the API server, with the path of its base URL.

    :param dag_id: id of the only DAG that counts; ``None`` for all.
    """
    query = "" if dag_id is None else f"?dag={quote(dag_id, safe='')}"
    return ui_path(f"{GALLERY_PREFIX}/costs{query}")


def gallery_url(
    dag_id: str | None = None,
    run_id: str | None = None,
    task_id: str | None = None,
    map_index: int | None = None,
) -> str:
    """Return the whole URL of a page of the gallery, for a message outside of Airflow.

    :param dag_id: id of the DAG; ``None`` for the page of all DAGs.
    :param run_id: id of the run; ``None`` for the page of the DAG.
    :param task_id: id of the task; ``None`` for the page of the run.
    :param map_index: map index of the task instance; ``None`` for all of the task.
    :return: empty if there is no gallery, or if ``[api] base_url`` is not set.
    """
    return ui_url(gallery_path(dag_id, run_id, task_id, map_index))


def ui_url(path: str) -> str:
    """Return the whole URL of a page of the plugin.

    :param path: path on the API server, from :func:`ui_path`.
    :return: empty if there is no gallery, or if ``[api] base_url`` is not set.
    """
    parts = urlsplit(_base_url())
    if not has_gallery() or not parts.netloc:
        return ""
    return f"{parts.scheme}://{parts.netloc}{path}"


def ui_path(path: str) -> str:
    """Return a path on the API server with the path of ``[api] base_url`` before it.

    :param path: path from the root of the application, with a slash at its beginning.
    """
    return urlsplit(_base_url()).path.rstrip("/") + path


def has_gallery() -> bool:
    """Whether this Airflow shows the gallery: 3.1 and newer, unless ``[flux] gallery`` is off."""
    return has_pages() and conf.getboolean("flux", "gallery", fallback=True)


def has_webhooks() -> bool:
    """Whether this Airflow receives webhooks of BFL: 3.1 and newer, with ``[flux] webhooks``."""
    return has_pages() and conf.getboolean("flux", "webhooks", fallback=False)


@cache
def has_pages() -> bool:
    """Whether the API server of this Airflow can show pages of a plugin."""
    return tuple(map(int, version("apache-airflow-core").split(".")[:2])) >= _FIRST_AIRFLOW


def _base_url() -> str:
    return conf.get("api", "base_url", fallback="") or ""
