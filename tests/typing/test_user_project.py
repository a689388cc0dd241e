"""The project of a user that uses every public name passes ``mypy --strict``."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from airflow_provider_flux.provider_info import get_provider_info

ROOT = Path(__file__).parents[2]
PROJECT = Path(__file__).parent / "project"
#: Packages whose ``__all__`` is public.
PACKAGES = ("client", "decorators", "emulator", "exceptions")
#: Modules whose public classes are types of what users read.
TYPES = (
    "airflow_provider_flux.generation",
    "airflow_provider_flux.operators.asset_events",
    "airflow_provider_flux.policies.retry",
)


def public_names() -> Iterator[str]:
    """Yield the public names: of the provider's metadata, of packages, and of types to read."""
    for package in PACKAGES:
        yield from importlib.import_module(f"airflow_provider_flux.{package}").__all__
    for path in [*modules_of_metadata(), *TYPES]:
        module = importlib.import_module(path)
        for name, value in vars(module).items():
            if inspect.isclass(value) and value.__module__ == path and not name.startswith("_"):
                yield name


def modules_of_metadata() -> Iterator[str]:
    """Yield the modules that the metadata of the provider lists as hooks, operators and so on."""
    for entries in get_provider_info().values():
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict):
                yield from entry.get("python-modules", ())
                yield from filter(None, [entry.get("python-module")])


def used_names() -> set[str]:
    """Return the names that the project uses."""
    nodes = [
        node for path in PROJECT.glob("*.py") for node in ast.walk(ast.parse(path.read_text()))
    ]
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def test_the_user_project_uses_every_public_name() -> None:
    names = set(public_names())
    assert {"FluxGenerateOperator", "FluxHook", "flux_task", "EmulatorServer"} <= names
    assert names - used_names() == set()


def test_a_user_project_of_every_public_name_passes_mypy_strict(tmp_path: Path) -> None:
    """The project has mistakes that mypy has to find: an unused ``type: ignore`` is an error."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary"]
    # Errors inside of an installed package are not those of a user, so mypy does not report them.
    options = ["--follow-imports=silent", f"--cache-dir={ROOT / '.mypy_cache' / 'user_project'}"]
    done = subprocess.run(
        [*command, *options, str(PROJECT)],
        env={**os.environ, "MYPYPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.returncode) == ("", 0), done.stdout + done.stderr
