"""Run the core of the tests on each supported version of Airflow and of Python.

``python scripts/run_matrix.py [NAME...]`` runs the named entries of the matrix, all by default. For
each it makes ``.venv-matrix/<name>`` from hashed requirements, if they have changed, and runs the
core of the tests there: unit tests, emulator, DAG runs, and a cluster whose workers are killed.
``NAME:short`` runs a few of them, without a cluster, and ``NAME:kills`` a few, and the cluster.
An entry whose Python is not installed is skipped with a line. ``.venv-matrix/<name>.log`` has the
output of its current run. The exit code is 0 if all others pass.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENVS = ROOT / ".venv-matrix"
#: What depends on Airflow or on Python: beside it, the core has the money path of one image.
CORE = (
    "tests/test_provider_info.py",
    "tests/test_generation.py",
    "tests/bfl/test_request.py",
    "tests/bfl/test_schemas.py",
    "tests/client/test_answers.py",
    "tests/emulator/http/test_faults.py",
    "tests/hooks",
    "tests/ledger/test_submission.py",
    "tests/decorators/test_flux.py",
    "tests/sensors",
    "tests/operators/test_asset_events.py::TestOneImage",
    "tests/operators/test_deferral.py",
    "tests/operators/test_human_input.py",
    "tests/operators/test_templates.py::test_templates_of_the_dag_file_are_rendered_beside_data",
    "tests/operators/test_webhooks.py::test_a_host_that_the_connection_names_gets_the_secret",
    "tests/example_dags/test_flux_decorators.py",
    "tests/plugin/test_task_records.py",
    "tests/triggers/test_result.py",
    "tests/recovery/test_metadata_db.py",
    "tests/batch/input/test_rows.py",
    "tests/batch/test_run.py",
    "tests/object_store/test_versions_of_s3fs.py",
)
#: A worker lost with its machine after the POST, and one killed while it polls.
KILLS = ("tests/cluster/test_kill_worker.py", "-k", "post-lost or poll-killed")
#: Reasons for which a test of the core may be skipped: older Airflow, stores of the full suite.
MAY_SKIP = r"Airflow 3\.\d|azurite|gcp_storage_emulator"
TESTS = (CORE, KILLS)
#: What differs most between versions of Airflow, for a CI that has no time for the core of each.
SHORT = (
    "tests/test_provider_info.py",
    "tests/operators/test_deferral.py",
    "tests/operators/test_human_input.py",
    "tests/plugin/test_task_records.py",
    "tests/triggers/test_result.py",
    "tests/recovery/test_metadata_db.py",
)
#: Entries that run at the same time. Each waits for a lost worker at its end.
JOBS = 3
#: The commands that are running, to be stopped with this process.
_RUNNING: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class Entry:
    """One line of the matrix.

    :param name: name of its environment.
    :param requirements: file in ``requirements/`` with its versions.
    :param pythons: minor versions of Python 3 that it runs on. The first that is installed is used.
    :param has_cluster: whether a cluster is tried on it.
    """

    name: str
    requirements: str
    pythons: tuple[int, ...]
    has_cluster: bool = True


MATRIX = (
    Entry("airflow-3.0", "airflow-3.0.txt", (11, 12)),
    Entry("airflow-3.1", "airflow-3.1.txt", (11, 12, 13)),
    Entry("airflow-3.2", "airflow-3.2.txt", (11, 12, 13)),
    Entry("python-3.12", "airflow-3.3.txt", (12,)),
    Entry("python-3.13", "airflow-3.3.txt", (13,)),
    Entry("lowest", "lowest.txt", (11,), has_cluster=False),
)


@dataclass(frozen=True)
class Outcome:
    """What became of one entry.

    :param line: one line for the summary.
    :param passed: whether its tests passed; ``None`` if it was skipped.
    :param output: output of the command that failed.
    """

    line: str
    passed: bool | None
    output: str = ""


def main(arguments: Sequence[str]) -> int:
    """Run entries of the matrix, print an outcome as soon as each ends, and then a summary.

    :param arguments: names of entries, none for all; ``<name>:short`` and ``<name>:kills`` run some
        tests only, and ``--install-only`` runs none.
    :return: 0 if no entry failed.
    """
    names = {name.partition(":")[0] for name in arguments if name != "--install-only"}
    if unknown := names - {entry.name for entry in MATRIX}:
        print(f"Unknown: {unknown}. The matrix has {[entry.name for entry in MATRIX]}.")
        return 2
    # Stop all tests, which end their clusters, if this process is terminated.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def run_and_report(entry: Entry) -> Outcome:
        outcome = run_entry(entry, _tests_of(entry, arguments))
        print(outcome.output + outcome.line, flush=True)
        return outcome

    entries = [entry for entry in MATRIX if not names or entry.name in names]
    with ThreadPoolExecutor(JOBS) as pool:
        try:
            outcomes = list(pool.map(run_and_report, entries))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in _RUNNING.copy():
                process.send_signal(signal.SIGINT)
            raise
    print("\n".join(["The matrix:", *(f"  {outcome.line}" for outcome in outcomes)]), flush=True)
    return int(any(outcome.passed is False for outcome in outcomes))


def _tests_of(entry: Entry, arguments: Sequence[str]) -> Sequence[Sequence[str]]:
    """Return the runs of pytest for an entry."""
    if "--install-only" in arguments:
        return ()
    if f"{entry.name}:short" in arguments:
        return (SHORT,)
    if f"{entry.name}:kills" in arguments:
        return SHORT, KILLS
    return TESTS if entry.has_cluster else TESTS[:1]


def run_entry(entry: Entry, tests: Sequence[Sequence[str]]) -> Outcome:
    """Install one entry of the matrix and run tests in it.

    :param entry: line of the matrix.
    :param tests: arguments of pytest, for each of its runs.
    """
    python = next(filter(None, map(find_python, entry.pythons)), None)
    if python is None:
        needed = " or ".join(f"3.{minor}" for minor in entry.pythons)
        return Outcome(f"{entry.name}: SKIPPED, because Python {needed} is not installed", None)
    started = time.monotonic()
    try:
        executable = _install(entry, python)
    except subprocess.CalledProcessError as error:
        return Outcome(f"{entry.name}: FAILED to install", False, error.stdout)
    installed = f"{entry.name}: installed in {time.monotonic() - started:.0f} s"
    return run_tests(installed, executable, tests, VENVS / f"{entry.name}.log")


def run_tests(name: str, python: Path, tests: Sequence[Sequence[str]], log: Path) -> Outcome:
    """Run tests with a Python, and stop after the first run that fails.

    :param name: beginning of the line of the outcome.
    :param python: the Python, which has pytest and the package.
    :param tests: arguments of pytest, for each of its runs.
    :param log: file that gets the output of the current run.
    """
    line = name
    for arguments in tests:
        try:
            output = _run([str(python), "-m", "pytest", "-q", *arguments], log)
        except subprocess.CalledProcessError as error:
            return Outcome(f"{line}; FAILED", False, error.stdout)
        line += "; " + output.splitlines()[-1].strip("= ")
    return Outcome(line, True)


def find_python(minor: int) -> str | None:
    """Return the path of a Python 3.<minor> that can make environments, ``None`` without one.

    The running Python comes first, then those on the PATH, then those of pyenv.

    :param minor: the second number of the version, for example ``12``.
    """
    code = f"import ensurepip, ssl, sys; sys.exit(sys.version_info[:2] != (3, {minor}))"
    for candidate in _candidates(minor):
        if not subprocess.run([candidate, "-c", code], capture_output=True, check=False).returncode:
            return candidate
    return None


def _candidates(minor: int) -> Iterator[str]:
    if sys.version_info[:2] == (3, minor):
        yield sys.executable
    if found := shutil.which(f"python3.{minor}"):
        yield found
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob(f"versions/3.{minor}.*/bin/python3.{minor}")))


def _install(entry: Entry, python: str) -> Path:
    """Make the environment of an entry if its requirements changed; return its Python."""
    requirements = ROOT / "requirements" / entry.requirements
    # The entry points in pyproject.toml are a part of what is installed.
    sources = (requirements, ROOT / "pyproject.toml")
    venv = VENVS / entry.name
    executable, log = venv / "bin" / "python", VENVS / f"{entry.name}.log"
    stamp, uv = venv / "requirements.sha256", [sys.executable, "-m", "uv"]
    content = b"".join(path.read_bytes() for path in sources) + python.encode()
    digest = sha256(content).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        _run(
            [*uv, "venv", "--quiet", "--clear", "--no-python-downloads", "-p", python, str(venv)],
            log,
        )
        install = [*uv, "pip", "install", "--quiet", "--no-deps", "--python", str(executable)]
        _run([*install, "--require-hashes", "-r", str(requirements)], log)
        _run([*install, "--no-build-isolation", "-e", str(ROOT)], log)
        stamp.write_text(digest)
    return executable


def _run(command: list[str], log: Path) -> str:
    """Run a command, write its output to a file, and return it.

    :raises subprocess.CalledProcessError: if it fails. The error has the output.
    """
    skips = {"FLUX_TESTS_MUST_NOT_SKIP": "1", "FLUX_TESTS_MAY_SKIP": MAY_SKIP}
    environment = {**os.environ, **skips, "PYTHONUNBUFFERED": "1"}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        _RUNNING.append(process)
        try:
            code = process.wait()
        finally:
            _RUNNING.remove(process)
    text = log.read_text(errors="replace")
    if code:
        raise subprocess.CalledProcessError(code, command, text)
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
