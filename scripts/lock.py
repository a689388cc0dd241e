"""Resolve the dependencies into hashed requirements, without the address of a registry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements"
#: One file for all Pythons and platforms.
UNIVERSAL = ("--universal", "--python-version", "3.11")
#: The lowest versions, whatever the file had before. They are tried on one platform.
LOWEST = (
    *("--python-version", "3.11", "--python-platform", "linux", "--resolution", "lowest-direct"),
    *("--extra", "s3", "--extra", "emulator", "--extra", "parquet", "--upgrade"),
)
OPTIONS = ("--generate-hashes", "--no-emit-index-url", "--no-annotate")


def compile_requirements(
    target: str,
    *sources: str,
    constraint: str = "",
    override: str = "",
    lowest: bool = False,
    with_package: bool = True,
) -> None:
    """Write ``requirements/<target>.txt`` from the dependencies of the package and further sources.

    :param target: name of the file, without its suffix.
    :param sources: names of further requirement files in ``requirements/``.
    :param constraint: name of a file there that limits versions.
    :param override: name of a file there that replaces requirements of dependencies.
    :param lowest: choose the lowest version of each dependency of the package.
    :param with_package: also resolve the dependencies of the package, not only the sources.
    """
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", *OPTIONS]
    command += LOWEST if lowest else UNIVERSAL
    command += ["--custom-compile-command", "make lock"]
    for option, name in (("--constraint", constraint), ("--override", override)):
        command += [option, str(REQUIREMENTS / name)] if name else []
    files = [REQUIREMENTS / name for name in sources]
    files += [REQUIREMENTS.parent / "pyproject.toml"] if with_package else []
    target_file = str(REQUIREMENTS / f"{target}.txt")
    subprocess.run([*command, "--output-file", target_file, *map(str, files)], check=True)


if __name__ == "__main__":
    compile_requirements("dev", "runtime.in", "dev.in", override="overrides.txt")
    # The demo, and the core run on other Pythons, use the same versions as the tests.
    compile_requirements("runtime", "runtime.in", constraint="dev.txt")
    compile_requirements("airflow-3.3", "runtime.in", "airflow-3.3.in", constraint="dev.txt")
    for minor in ("3.0", "3.1", "3.2"):
        compile_requirements(f"airflow-{minor}", "runtime.in", f"airflow-{minor}.in")
    compile_requirements("lowest", "lowest.in", constraint="lowest-constraints.txt", lowest=True)
    compile_requirements("release", "release.in", with_package=False)
    compile_requirements("docs", "docs.in", with_package=False)
