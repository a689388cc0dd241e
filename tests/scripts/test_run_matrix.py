"""The matrix of versions: its entries are pinned, documented, and cannot pass without tests."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path

import pytest

from scripts import run_matrix
from scripts.run_matrix import (
    CORE,
    KILLS,
    MATRIX,
    SHORT,
    Entry,
    find_python,
    main,
    run_entry,
    run_tests,
)

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
PAGE = (ROOT / "docs" / "versions.md").read_text()
PYTHON = Path(sys.executable)


def pinned(file: str, package: str) -> str:
    """Return the version of a package in a requirement file."""
    text = (REQUIREMENTS / file).read_text()
    found = re.search(rf"^{package}==(\S+)", text, re.MULTILINE)
    assert found, f"{package} is not in {file}"
    return found[1]


class TestEntries:
    """Each entry of the matrix."""

    @pytest.mark.parametrize("entry", MATRIX, ids=lambda entry: entry.name)
    def test_every_version_of_an_entry_is_pinned_by_hash_without_an_address(
        self, entry: Entry
    ) -> None:
        text = (REQUIREMENTS / entry.requirements).read_text()
        pins = re.findall(r"^[\w.-]+==[^\n]*\\\n    --hash=sha256:", text, re.MULTILINE)
        packages = re.findall(r"^[\w.-]+.*$", text, re.MULTILINE)
        assert len(pins) == len(packages) > 100
        assert "://" not in text

    @pytest.mark.parametrize("entry", MATRIX, ids=lambda entry: entry.name)
    def test_the_page_of_the_versions_names_the_airflow_of_each_entry(self, entry: Entry) -> None:
        airflow = pinned(entry.requirements, "apache-airflow")
        (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{entry.name}` |")]
        assert f"| {airflow} |" in row
        assert f"`{entry.requirements}`" in row

    def test_the_page_of_the_versions_names_the_airflow_of_the_full_suite(self) -> None:
        assert f"| `make test` | {pinned('dev.txt', 'apache-airflow')} |" in PAGE

    def test_the_other_pythons_use_the_versions_of_the_full_suite(self) -> None:
        for package in ("apache-airflow", "pydantic", "aiohttp", "pillow", "sqlalchemy"):
            assert pinned("airflow-3.3.txt", package) == pinned("dev.txt", package)

    def test_the_lowest_versions_are_the_lower_bounds_of_the_package(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        differing = {}
        for requirement in project["dependencies"]:
            name, bound = requirement.split(">=")
            version = pinned("lowest.txt", name)
            if not re.fullmatch(rf"{re.escape(bound)}(\.0)*", version):
                differing[name] = version
        # Airflow 3.0.0 requires these itself.
        assert set(differing) <= {"jinja2", "pydantic", "pydantic-core"}

    def test_every_test_of_the_core_exists(self) -> None:
        missing = []
        for test in (*CORE, *SHORT, KILLS[0]):
            path, _, name = test.partition("::")
            text = (ROOT / path).read_text() if name else ""
            if not (ROOT / path).exists() or name not in text:
                missing.append(test)
        assert missing == []


class TestRunEntry:
    """The outcome of an entry."""

    def test_an_entry_without_its_python_is_skipped_with_a_line(self) -> None:
        outcome = run_entry(Entry("python-3.99", "dev.txt", (98, 99)), [])
        assert outcome.passed is None
        assert outcome.line == (
            "python-3.99: SKIPPED, because Python 3.98 or 3.99 is not installed"
        )

    def test_the_running_python_is_found_first(self) -> None:
        assert find_python(sys.version_info.minor) == sys.executable
        assert find_python(99) is None

    def test_a_python_of_pyenv_is_found(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The shims of pyenv on the PATH end with an error if their version is not selected."""
        program = tmp_path / "versions" / "3.99.1" / "bin" / "python3.99"
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\nexit 0\n")
        program.chmod(0o755)
        shim = tmp_path / "shims" / "python3.99"
        shim.parent.mkdir()
        shim.write_text("#!/bin/sh\nexit 127\n")
        shim.chmod(0o755)
        monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
        monkeypatch.setenv("PATH", str(shim.parent), prepend=os.pathsep)
        assert find_python(99) == str(program)

    def test_an_unknown_name_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["airflow-2.10"]) == 2
        assert "airflow-3.0" in capsys.readouterr().out


class TestRunTests:
    """The tests of an entry."""

    @pytest.mark.parametrize(
        ("body", "passed"),
        [
            ("assert True", True),
            ("assert False, 'the reason'", False),
            ("pytest.skip('the reason')", False),
            ("pytest.skip('Airflow 3.3 has the store')", True),
        ],
    )
    def test_an_entry_passes_only_if_its_tests_ran(
        self, body: str, passed: bool, tmp_path: Path
    ) -> None:
        (tmp_path / "conftest.py").write_text(
            "from tests.support.skips import pytest_runtest_makereport  # noqa: F401\n"
        )
        test = tmp_path / "test_one.py"
        test.write_text(f"import pytest\ndef test_one():\n    {body}\n")
        outcome = run_tests("x", PYTHON, [[str(test), "-p", "no:cacheprovider"]], tmp_path / "log")
        assert outcome.passed is passed, outcome.output
        assert passed or "the reason" in outcome.output
        assert ("FAILED" in outcome.line) is not passed

    def test_an_entry_without_a_test_fails(self, tmp_path: Path) -> None:
        (tmp_path / "test_none.py").write_text("")
        outcome = run_tests("x", PYTHON, [[str(tmp_path)]], tmp_path / "log")
        assert outcome.passed is False

    def test_a_short_entry_runs_a_few_tests_without_a_cluster(self) -> None:
        entry = MATRIX[0]
        assert run_matrix._tests_of(entry, [f"{entry.name}:short"]) == (SHORT,)
        assert run_matrix._tests_of(entry, [f"{entry.name}:kills"]) == (SHORT, KILLS)
        assert run_matrix._tests_of(entry, [entry.name]) == (CORE, KILLS)

    def test_ci_runs_the_matrix(self) -> None:
        assert "make matrix" in (ROOT / ".ci" / "run").read_text()
        assert run_matrix.TESTS == (CORE, KILLS)
