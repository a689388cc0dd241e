"""Every third-party import of the package is declared in ``pyproject.toml``."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "airflow_provider_flux"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Import names that several distributions share, with the distribution of each module.
SHARED = {
    "airflow": {
        "airflow": "apache-airflow",
        "airflow.providers.common.compat": "apache-airflow-providers-common-compat",
        "airflow.providers.common.sql": "apache-airflow-providers-common-sql",
        "airflow.providers.openlineage": "apache-airflow-providers-openlineage",
        "airflow.providers.slack": "apache-airflow-providers-slack",
        "airflow.providers.smtp": "apache-airflow-providers-smtp",
    },
    "azure": {"azure.core": "azure-core", "azure.storage.blob": "azure-storage-blob"},
    "opentelemetry": {"opentelemetry": "opentelemetry-api"},
    "openlineage": {"openlineage.client": "openlineage-python"},
}
#: Only the emulator imports these at the top of a module.
EMULATOR = PACKAGE / "emulator"
#: Only the API server, which needs FastAPI itself, imports the pages of the plugin.
API_SERVER = PACKAGE / "plugin"
#: Only a batch with an Excel workbook imports this module.
EXCEL = PACKAGE / "batch" / "input" / "excel_workbook.py"
#: The plugin of pytest, which nothing else imports.
PLUGIN = PACKAGE / "testing"


def test_every_import_at_the_top_of_a_module_is_a_dependency() -> None:
    """Fault 33: ``sqlalchemy`` and ``fsspec`` were imported and not declared."""
    core = _names(PROJECT["dependencies"])
    emulator = core | _names(PROJECT["optional-dependencies"]["emulator"])
    with_more = {
        EMULATOR: emulator,
        API_SERVER: core | {"fastapi", "starlette"},
        EXCEL: core | {"openpyxl"},
    }
    missing = {
        f"{path.relative_to(ROOT)}: {module}"
        for path, module, is_at_top in _third_party_imports()
        if is_at_top
        and _distribution_of(module)
        not in next((with_more[at] for at in (path, *path.parents) if at in with_more), core)
    }
    assert not missing


def test_every_other_import_is_a_dependency_or_in_an_extra() -> None:
    """Fault 33: ``fastapi``, ``starlette``, ``uvicorn`` and ``azure`` were not declared."""
    declared = _names(PROJECT["dependencies"]).union(
        *map(_names, PROJECT["optional-dependencies"].values())
    )
    missing = {
        f"{path.relative_to(ROOT)}: {module}"
        for path, module, _ in _third_party_imports()
        if _distribution_of(module) not in declared
    }
    assert not missing


def test_every_dependency_has_a_lower_bound() -> None:
    """Fault 33: without a lower bound, pip may install a release that nobody has tried."""
    extras = PROJECT["optional-dependencies"].values()
    requirements = [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]
    assert [line for line in requirements if ">=" not in line] == []


def test_every_extra_is_imported_or_opens_a_store() -> None:
    """Fault 33: the extra ``openlineage`` installed what nothing used."""
    stores = {"s3", "gcs", "azure"}
    imported = {"emulator", "excel", "ocr", "openlineage", "parquet", "slack", "smtp", "sql"}
    assert set(PROJECT["optional-dependencies"]) == stores | imported


def test_an_emulator_without_its_extra_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fault 33: without uvicorn, the emulator ended with a bare ModuleNotFoundError."""
    for name in [name for name in sys.modules if name.startswith("airflow_provider_flux.emulator")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ImportError, match=r"pip install 'airflow-provider-flux\[emulator\]'"):
        _ = import_module("airflow_provider_flux.emulator").EmulatorServer


def _names(requirements: list[str]) -> set[str]:
    return {_normalize(re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in requirements}


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _third_party_imports() -> Iterator[tuple[Path, str, bool]]:
    """Yield each import of another package: file, module, and whether it is at the top."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        at_top = set(map(id, tree.body))
        for node in _walk_what_runs(tree):
            for module in _modules(node):
                top = module.partition(".")[0]
                if PLUGIN in path.parents and top == "pytest":
                    continue  # it loads the plugin, so it is installed
                if top not in sys.stdlib_module_names and top != PACKAGE.name:
                    yield path, module, id(node) in at_top


def _walk_what_runs(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes but those that only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        yield node
        yield from _walk_what_runs(node)


def _modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []


def _distribution_of(module: str) -> str:
    """Return the normalized name of the distribution that installs a module."""
    top = module.partition(".")[0]
    if top in SHARED:
        prefixes = [name for name in SHARED[top] if f"{module}.".startswith(f"{name}.")]
        return SHARED[top][max(prefixes, key=len)]
    (distribution,) = set(_distributions()[top])
    return _normalize(distribution)


@cache
def _distributions() -> Mapping[str, list[str]]:
    """Return the distributions of each import name. The metadata of all packages is read once."""
    return packages_distributions()
