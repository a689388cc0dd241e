"""Resolve the dependencies into hashed requirements, without the address of a registry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements"
OPTIONS = (
    "--universal",
    "--python-version",
    "3.11",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-annotate",
)


def compile_requirements(target: str, *sources: str) -> None:
    """Write ``requirements/<target>.txt`` from the dependencies of the package and further sources.

    :param target: name of the file, without its suffix.
    :param sources: requirement files and options for ``uv pip compile``.
    """
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", *OPTIONS]
    command += [
        "--custom-compile-command",
        "make lock",
        "--output-file",
        str(REQUIREMENTS / f"{target}.txt"),
    ]
    subprocess.run([*command, *sources, str(REQUIREMENTS.parent / "pyproject.toml")], check=True)


if __name__ == "__main__":
    runtime, dev = str(REQUIREMENTS / "runtime.in"), str(REQUIREMENTS / "dev.in")
    compile_requirements("dev", runtime, dev, "--override", str(REQUIREMENTS / "overrides.txt"))
    compile_requirements("airflow-3.0", runtime, str(REQUIREMENTS / "airflow-3.0.in"))
    # The demo uses the same versions as the tests.
    compile_requirements("runtime", runtime, "--constraint", str(REQUIREMENTS / "dev.txt"))
