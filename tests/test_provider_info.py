"""The metadata that Airflow reads about the provider, and the cost of importing it."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import airflow
import jsonschema
import pytest

from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.provider_info import CONNECTION_FORM, get_provider_info
from tests.support.airflow_names import AIRFLOW

EXAMPLES = Path(__file__).parents[1] / "example_dags"
#: Airflow 3.0 imports aiohttp and FastAPI itself, for the first operator of a DAG file.
PLAIN_OPERATOR = """
import sys
from airflow.sdk import DAG, BaseOperator
with DAG("plain", schedule=None):
    BaseOperator(task_id="plain")
before = set(sys.modules)
"""


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


def test_the_metadata_fits_the_schema_of_airflow() -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_the_entry_point_leads_to_the_metadata() -> None:
    found = [
        point for point in entry_points(group="apache_airflow_provider") if "flux" in point.value
    ]
    assert {point.load()()["package-name"] for point in found} == {"airflow-provider-flux"}


def test_every_module_and_class_of_the_metadata_exists() -> None:
    info = get_provider_info()
    for kind in ("hooks", "operators", "triggers"):
        for entry in info[kind]:
            for module in entry["python-modules"]:
                importlib.import_module(module)
    for entry in info["transfers"]:
        importlib.import_module(entry["python-module"])
    module, _, name = info["connection-types"][0]["hook-class-name"].rpartition(".")
    assert getattr(importlib.import_module(module), name) is FluxHook


def test_the_connection_form_is_the_same_in_metadata_and_hook() -> None:
    (connection,) = get_provider_info()["connection-types"]
    assert connection["connection-type"] == FluxHook.conn_type
    assert connection["hook-name"] == FluxHook.hook_name
    hyphened = {name.replace("_", "-"): value for name, value in CONNECTION_FORM.items()}
    assert connection["ui-field-behaviour"] == hyphened
    for field in connection["conn-fields"].values():
        jsonschema.Draft7Validator.check_schema(field["schema"])


def test_airflow_shows_the_connection_form() -> None:
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    (shown,) = [meta for meta in HookMetaService.hook_meta_data() if meta.connection_type == "flux"]
    assert shown.hook_name == "FLUX (Black Forest Labs)"
    assert shown.standard_fields is not None
    assert shown.standard_fields.password.title == "API key"
    # Before 3.2, Airflow does not read the fields of the extra from the metadata.
    fields = get_provider_info()["connection-types"][0]["conn-fields"] if AIRFLOW >= (3, 2) else ()
    assert sorted(shown.extra_fields or ()) == sorted(fields)


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("list", "airflow-provider-flux"),
        ("hooks", "airflow_provider_flux.hooks.flux.FluxHook"),
        ("triggers", "airflow_provider_flux.triggers.result"),
    ],
)
def test_airflow_providers_shows_the_provider(command: str, shown: str) -> None:
    arguments = [sys.executable, "-m", "airflow", "providers", command, "--output", "plain"]
    assert shown in subprocess.run(arguments, capture_output=True, text=True, check=True).stdout


def test_the_metadata_and_the_package_root_import_nothing() -> None:
    loaded = run_python(
        "import sys; before = set(sys.modules)\n"
        "import airflow_provider_flux\n"
        "import airflow_provider_flux.provider_info as p; p.get_provider_info()\n"
        "print(*sorted(set(sys.modules) - before))"
    ).split()
    strangers = {name.partition(".")[0] for name in loaded} - {
        "airflow_provider_flux",
        "__future__",
        "typing",
    }
    assert {name for name in strangers if name not in sys.stdlib_module_names} == set()


def test_the_operators_import_no_http_client_no_imaging_and_no_unused_schema() -> None:
    """The schemas of a model family are imported with the first task of the family."""
    code = (
        PLAIN_OPERATOR + "import airflow_provider_flux.operators.generate as generate\n"
        "print(*set(sys.modules) - before)\n"
        "with DAG('d', schedule=None):\n"
        "    generate.FluxGenerateOperator(\n"
        "        task_id='hero', prompt='x', output_path='/tmp/{key}.{ext}'\n"
        "    )\n"
        "print(*set(sys.modules) - before)\n"
    )
    imported, parsed = (set(line.split()) for line in run_python(code).splitlines()[-2:])
    unused = {"requests", "urllib3", "aiohttp", "PIL", "fsspec", "chardet", "tenacity", "pendulum"}
    schemas = "airflow_provider_flux.bfl.schemas"
    assert imported & unused == set()
    assert not any(name.startswith(schemas) for name in imported)
    assert parsed & unused == set()
    assert {name for name in parsed if name.startswith(f"{schemas}.")} == {
        f"{schemas}.common",
        f"{schemas}.flux1",
    }


def test_parsing_a_dag_does_not_import_what_only_running_needs() -> None:
    code = (
        PLAIN_OPERATOR
        + "import runpy\n"
        + "".join(f"runpy.run_path({str(path)!r})\n" for path in sorted(EXAMPLES.glob("*.py")))
    )
    heavy = {
        "aiohttp",
        "PIL",
        "fastapi",
        "uvicorn",
        "s3fs",
        "boto3",
        "airflow_provider_flux.emulator",
    }
    loaded = set(run_python(code + "print(*set(sys.modules) - before)").split())
    assert "airflow_provider_flux.operators.generate" in loaded
    assert loaded & heavy == set()
