"""CPU time of importing operators and metadata: this provider beside others.

Airflow imports the operators of a DAG file each time that it parses the file, and the metadata of
each provider in each component. Each import runs in a fresh interpreter, after ``airflow.sdk``. The
providers take turns, so that a busy machine slows all of them alike. Providers that are not
installed are named and not measured.

Usage: ``python -m benchmarks.imports [runs]``, 7 runs by default.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from importlib.util import find_spec

#: Provider, module of its operators, and module of its metadata.
PROVIDERS = (
    (
        "flux",
        "airflow_provider_flux.operators.generate",
        "airflow_provider_flux.provider_info",
    ),
    (
        "openai",
        "airflow.providers.openai.operators.openai",
        "airflow.providers.openai.get_provider_info",
    ),
    (
        "dbt-cloud",
        "airflow.providers.dbt.cloud.operators.dbt",
        "airflow.providers.dbt.cloud.get_provider_info",
    ),
    (
        "amazon",
        "airflow.providers.amazon.aws.operators.s3",
        "airflow.providers.amazon.get_provider_info",
    ),
    (
        "google",
        "airflow.providers.google.cloud.operators.gcs",
        "airflow.providers.google.get_provider_info",
    ),
)
_PREAMBLE = "import importlib, sys, time; from airflow.sdk import DAG, BaseOperator; "
_OPERATORS = "start = time.process_time(); importlib.import_module(sys.argv[1]); "
_METADATA = (
    "start = time.process_time(); importlib.import_module(sys.argv[1]).get_provider_info(); "
)
_PRINT = "print(time.process_time() - start)"


def main(runs: int) -> None:
    """Print one row for each provider.

    :param runs: number of fresh interpreters for each figure, of which the median counts.
    """
    installed = [provider for provider in PROVIDERS if is_installed(provider[1])]
    operators: dict[str, list[float]] = {name: [] for name, _, _ in installed}
    metadata: dict[str, list[float]] = {name: [] for name, _, _ in installed}
    for _ in range(runs):
        for name, operators_module, metadata_module in installed:
            operators[name].append(cpu_milliseconds(_OPERATORS, operators_module))
            metadata[name].append(cpu_milliseconds(_METADATA, metadata_module))

    print(f"{'provider':12}{'operators':>12}{'metadata':>12}   (CPU ms, median of {runs})")
    for name, _, _ in PROVIDERS:
        if name in operators:
            figures = statistics.median(operators[name]), statistics.median(metadata[name])
            print(f"{name:12}{figures[0]:12.1f}{figures[1]:12.1f}")
        else:
            print(f"{name:12}{'not installed':>24}")


def is_installed(module: str) -> bool:
    """Return whether a module can be imported.

    :param module: name of the module.
    """
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def cpu_milliseconds(statement: str, module: str) -> float:
    """Return the CPU milliseconds of a statement in a fresh interpreter.

    :param statement: the code, after ``airflow.sdk`` is imported.
    :param module: name of the module that it imports.
    """
    command = [sys.executable, "-c", f"{_PREAMBLE}{statement}{_PRINT}", module]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return 1000 * float(done.stdout.split()[-1])


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
