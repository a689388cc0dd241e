"""Build wheel and sdist, check their contents, and try the wheel in a new environment.

``python scripts/check_dist.py [EXTRA...]`` resolves the named extras with pip, all by default.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import venv
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "airflow_provider_flux"
#: Airflow commands, each with a text that its output must contain.
EXPECTED_OUTPUT = {
    "providers list": "airflow-provider-flux",
    "providers hooks": "airflow_provider_flux.hooks.flux.FluxHook",
    "providers triggers": "airflow_provider_flux.triggers.result",
}
#: Prints the DAGs of the bundle that Airflow makes of the example DAGs in the wheel.
LIST_EXAMPLES = """
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag
bundle = DagBundlesManager().get_bundle("airflow-provider-flux-example-dags")
bag = BundleDagBag(bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
assert not bag.import_errors, bag.import_errors
print("Examples:", *sorted({dag.fileloc.rpartition("/")[2] for dag in bag.dags.values()}))
"""
#: Extras with few packages, which pip resolves together.
SMALL_EXTRAS = ("parquet", "sql", "excel")
#: Seconds in which plain pip must resolve each extra on a clean machine.
MAX_RESOLVE_SECONDS = 180


def main(extras: Sequence[str]) -> None:
    """Build both distributions, check them, try the wheel, and resolve its extras.

    :param extras: names of the extras to resolve, none for all.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder)
        _run(
            sys.executable,
            "-m",
            "build",
            "--no-isolation",
            "--outdir",
            str(target / "dist"),
            str(ROOT),
        )
        (wheel,) = (target / "dist").glob("*.whl")
        (sdist,) = (target / "dist").glob("*.tar.gz")
        _check_wheel(wheel)
        _check_sdist(sdist)
        _try_wheel(wheel, target)
        _resolve_extras(wheel, target, extras)
    print("Wheel and sdist are complete.")


def _check_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (points,) = (name for name in names if name.endswith("entry_points.txt"))
        _check(
            "apache_airflow_provider" in archive.read(points).decode(),
            "the entry point of the provider is missing",
        )
    tops = {name.split("/")[0] for name in names}
    _check(
        tops == {PACKAGE, next(top for top in tops if top.endswith(".dist-info"))},
        f"unexpected folders in the wheel: {tops}",
    )
    sources = {str(path.relative_to(ROOT)) for path in (ROOT / PACKAGE).rglob("*.py")} | {
        f"{PACKAGE}/py.typed"
    }
    sources |= {f"{PACKAGE}/example_dags/{path.name}" for path in _list_examples()}
    _check(sources <= names, f"missing in the wheel: {sources - names}")
    _check(
        any(name.endswith("licenses/LICENSE") for name in names),
        "the licence is missing in the wheel",
    )


def _check_sdist(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {path.name for path in ROOT.glob("*.md")} | {"LICENSE", "Makefile", "pyproject.toml"}
    expected |= {
        ".airflow-registry.yaml",
        ".ci/run",
        ".github/workflows/release.yml",
        "example_dags/products.csv",
        "docs/start/first-image.md",
        "tests/conftest.py",
        "requirements/dev.txt",
    }
    _check(expected <= names, f"missing in the sdist: {expected - names}")
    _check(
        not any(".venv" in name or ".demo" in name for name in names),
        "generated files in the sdist",
    )


def _try_wheel(wheel: Path, target: Path) -> None:
    """Install the wheel with the tested versions, and check that Airflow lists the provider."""
    venv.create(target / "venv", with_pip=True)
    python = str(target / "venv" / "bin" / "python")
    install = (sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python)
    runtime = str(ROOT / "requirements" / "runtime.txt")
    _run(*install, "--no-deps", "--require-hashes", "-r", runtime)
    _run(*install, "--no-deps", str(wheel))
    _run(python, "-m", "pip", "check")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")
    }
    environment["AIRFLOW_HOME"] = str(target / "home")
    for command, expected in EXPECTED_OUTPUT.items():
        output = _run(
            python,
            "-m",
            "airflow",
            *command.split(),
            "--output",
            "plain",
            cwd=target,
            env=environment,
        )
        _check(expected in output, f"`airflow {command}` does not list {expected}:\n{output}")
    _check_examples(python, target, environment)


def _check_examples(python: str, target: Path, environment: dict[str, str]) -> None:
    """Check that Airflow finds and imports the example DAGs of the installed wheel."""
    environment = {**environment, "AIRFLOW__CORE__LOAD_EXAMPLES": "True"}
    output = _run(python, "-c", LIST_EXAMPLES, cwd=target, env=environment)
    (line,) = (line for line in output.splitlines() if line.startswith("Examples:"))
    missing = {path.name for path in _list_examples() if path.suffix == ".py"} - {*line.split()}
    _check(not missing, f"Airflow does not load these example DAGs of the wheel: {missing}")


def _list_examples() -> list[Path]:
    return [path for path in (ROOT / "example_dags").iterdir() if path.is_file()]


def _resolve_extras(wheel: Path, target: Path, names: Sequence[str]) -> None:
    """Resolve extras with plain pip, as on a machine that has nothing installed or cached."""
    venv.create(target / "plain", with_pip=True)
    pip = (str(target / "plain" / "bin" / "python"), "-m", "pip", "install")
    options = ("--quiet", "--no-cache-dir", "--disable-pip-version-check")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    _check(set(names) <= extras.keys(), f"The package has no such extras: {names}")

    def resolve(extra: str) -> None:
        started = time.monotonic()
        try:
            _run(
                *pip,
                *options,
                "--dry-run",
                "--ignore-installed",
                f"{wheel}[{extra}]",
                timeout=MAX_RESOLVE_SECONDS,
            )
        except subprocess.TimeoutExpired:
            sys.exit(f"pip has not resolved the extra {extra} in {MAX_RESOLVE_SECONDS} s.")
        print(f"pip resolves the extra {extra} in {time.monotonic() - started:.0f} s.", flush=True)

    others = [extra for extra in extras if extra not in SMALL_EXTRAS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(resolve, names or [*others, ",".join(SMALL_EXTRAS)]))


def _run(
    *command: str,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    timeout: float | None = None,
) -> str:
    process = subprocess.run(
        command, cwd=cwd, env=env, timeout=timeout, capture_output=True, text=True, check=False
    )
    _check(process.returncode == 0, f"{' '.join(command)}\n{process.stdout}\n{process.stderr}")
    return process.stdout


def _check(is_correct: bool, problem: str) -> None:
    if not is_correct:
        sys.exit(problem)


if __name__ == "__main__":
    main(sys.argv[1:])
