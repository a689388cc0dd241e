"""The plugin as Airflow loads it in every component."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.airflow_names import AIRFLOW

ROOT = Path(__file__).resolve().parents[2]
LOAD = """
import json, sys
from airflow.providers.common.compat.sdk import AirflowPlugin
before = set(sys.modules)
from airflow_provider_flux.plugin.flux_plugin import FluxPlugin
loaded = sorted({name.partition(".")[0] for name in set(sys.modules) - before})
views = [(view["destination"], view["href"]) for view in FluxPlugin.external_views]
apps = [app["url_prefix"] for app in FluxPlugin.fastapi_apps]
print(json.dumps({"loaded": loaded, "views": views, "apps": apps}))
"""


def load(**settings: str) -> dict[str, list[object]]:
    """Load the plugin in a process of its own, and return what it has."""
    env = {**os.environ, **{f"AIRFLOW__{name.upper()}": text for name, text in settings.items()}}
    done = subprocess.run(
        [sys.executable, "-c", LOAD], env=env, cwd=ROOT, capture_output=True, text=True, check=True
    )
    found: dict[str, list[object]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.skipif(AIRFLOW < (3, 1), reason="Airflow 3.0 shows no pages")
def test_the_plugin_has_a_tab_for_each_view_and_imports_nothing_for_it() -> None:
    found = load(api__base_url="https://data.example.com/airflow")
    run = "/airflow/flux/dags/{DAG_ID}/runs/{RUN_ID}"
    assert found["views"] == [
        ["task_instance", f"{run}/tasks/{{TASK_ID}}?map_index={{MAP_INDEX}}"],
        ["dag_run", run],
        ["dag", "/airflow/flux/dags/{DAG_ID}"],
        ["nav", "/airflow/flux/"],
        ["nav", "/airflow/flux/costs"],
    ]
    assert found["apps"] == ["/flux"]
    heavy = {"fastapi", "starlette", "jinja2", "PIL", "requests", "aiohttp", "fsspec", "pendulum"}
    assert heavy & set(found["loaded"]) == set()


@pytest.mark.parametrize(("webhooks", "apps"), [("False", []), ("True", ["/flux"])])
def test_a_gallery_that_is_switched_off_has_no_tabs_and_webhooks_stay(
    webhooks: str, apps: list[str]
) -> None:
    found = load(flux__gallery="False", flux__webhooks=webhooks)
    assert (found["views"], found["apps"]) == ([], apps if AIRFLOW >= (3, 1) else [])


def test_airflow_finds_the_plugin_by_its_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["airflow.plugins"] == {
        "flux": "airflow_provider_flux.plugin.flux_plugin:FluxPlugin"
    }
