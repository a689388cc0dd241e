"""The plugin that Airflow loads by its entry point, in every component.

It imports nothing but Airflow's base class. Only the API server imports the pages, with the first
request for one of them.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import AirflowPlugin

from airflow_provider_flux.links.gallery import (
    GALLERY_PREFIX,
    has_gallery,
    has_webhooks,
    ui_path,
)
from airflow_provider_flux.plugin.lazy_app import LazyApp

_DAG = f"{GALLERY_PREFIX}/dags/{{DAG_ID}}"
_RUN = f"{_DAG}/runs/{{RUN_ID}}"
_TASK = f"{_RUN}/tasks/{{TASK_ID}}?map_index={{MAP_INDEX}}"


def _views() -> list[dict[str, Any]]:
    """Return the pages that Airflow shows: tabs of task instance, run and DAG, and menu items."""
    tab = {"name": "Images", "icon": ui_path(f"{GALLERY_PREFIX}/static/icon.svg")}
    return [
        {**tab, "destination": "task_instance", "url_route": "flux-task", "href": ui_path(_TASK)},
        {**tab, "destination": "dag_run", "url_route": "flux-run", "href": ui_path(_RUN)},
        {**tab, "destination": "dag", "url_route": "flux-dag", "href": ui_path(_DAG)},
        {
            **tab,
            "name": "FLUX images",
            "category": "browse",
            "destination": "nav",
            "url_route": "flux",
            "href": ui_path(f"{GALLERY_PREFIX}/"),
        },
        {
            **tab,
            "name": "FLUX costs",
            "category": "browse",
            "destination": "nav",
            "url_route": "flux-costs",
            "href": ui_path(f"{GALLERY_PREFIX}/costs"),
        },
    ]


class FluxPlugin(AirflowPlugin):
    """The pages of this provider. It is empty before Airflow 3.1, and if they are switched off."""

    name = "flux"
    external_views: list[Any] = _views() if has_gallery() else []
    fastapi_apps: list[Any] = (
        [{"name": "FLUX", "app": LazyApp(), "url_prefix": GALLERY_PREFIX}]
        if has_gallery() or has_webhooks()
        else []
    )
