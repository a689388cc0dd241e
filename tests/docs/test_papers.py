"""Papers of the project: the registry file and the stability page name what exists."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk import BaseOperator

from airflow_provider_flux.provider_info import get_provider_info

ROOT = Path(__file__).parents[2]
REGISTRY: dict[str, Any] = yaml.safe_load((ROOT / ".airflow-registry.yaml").read_text())
LISTED = [entry["module"] for section in ("operators", "other") for entry in REGISTRY[section]]
STABILITY = (ROOT / "docs" / "stability.md").read_text()
#: Names of the stability page, without commands such as `python -m airflow_provider_flux.emulator`.
PROMISED = sorted(set(re.findall(r"`(airflow_provider_flux\.[\w.]+)`", STABILITY)))


def load(path: str) -> Any:
    """Import a dotted path: a module, or a name in a module."""
    module, _, name = path.rpartition(".")
    found = getattr(import_module(module), name, None)
    return import_module(path) if found is None else found


def declared_operators() -> set[str]:
    """Return the operators and sensors in the modules that the metadata declares."""
    info = get_provider_info()
    entries = [*info["operators"], *info["sensors"]]
    modules = [module for entry in entries for module in entry["python-modules"]]
    modules += [entry["python-module"] for entry in info["transfers"]]
    return {
        f"{module}.{name}"
        for module in modules
        for name, value in vars(import_module(module)).items()
        if isinstance(value, type)
        and issubclass(value, BaseOperator)
        and value.__module__ == module
        and not name.startswith("_")
    }


class TestRegistryFile:
    @pytest.mark.parametrize("path", LISTED)
    def test_each_listed_name_can_be_imported(self, path: str) -> None:
        assert load(path).__name__.rpartition(".")[2] == path.rpartition(".")[2]

    def test_it_lists_each_operator_that_the_metadata_declares(self) -> None:
        operators = {entry["module"] for entry in REGISTRY["operators"]}
        assert declared_operators()
        assert declared_operators() <= operators

    def test_it_lists_each_decorator_link_notifier_and_plugin(self) -> None:
        info = get_provider_info()
        (plugin,) = entry_points(group="airflow.plugins", name="flux")
        declared = {
            plugin.value.replace(":", "."),
            *(entry["class-name"] for entry in info["task-decorators"]),
            *info["extra-links"],
            *info["notifications"],
        }
        assert declared <= set(LISTED)

    def test_it_lists_the_commands_and_the_plugin_of_pytest(self) -> None:
        (plugin,) = entry_points(group="pytest11", name="airflow_provider_flux")
        assert {*get_provider_info()["cli"], plugin.value} <= set(LISTED)

    def test_it_names_the_package_as_the_metadata_does(self) -> None:
        info = get_provider_info()
        assert REGISTRY["package-name"] == info["package-name"]
        assert REGISTRY["display-name"] == info["name"]


class TestStabilityPage:
    @pytest.mark.parametrize("path", PROMISED)
    def test_each_name_of_the_page_can_be_imported(self, path: str) -> None:
        assert load(path)

    def test_each_operator_of_the_metadata_is_on_the_page(self) -> None:
        assert declared_operators() <= set(PROMISED)
