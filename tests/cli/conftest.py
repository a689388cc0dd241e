"""Fixtures of the commands: an Airflow home of their own, and commands within the process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from airflow_provider_flux.cli.commands import main
from tests.conftest import KEY
from tests.support.installation import Installation


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An Airflow home whose database is migrated. Tests copy it."""
    created = Installation(tmp_path_factory.mktemp("airflow-home"))
    created.airflow("db", "migrate")
    return created


@pytest.fixture(scope="module")
def installation(migrated: Installation, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An Airflow home with a migrated database, for the tests of one module."""
    return migrated.copy_to(tmp_path_factory.mktemp("airflow-home"))


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    :ivar code: its exit code.
    """

    code: int
    out: str
    err: str


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Ended]:
    """Run a command within the process. It never prints a key or an escape sequence."""
    from airflow.utils.db import initdb

    initdb()
    # The command sets this variable. It must not outlive the test.
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")

    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        code = 0
        try:
            main([*arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        printed = capsys.readouterr()
        for text in (printed.out, printed.err):
            assert KEY not in text
            assert not {"\x1b", "\x9b", "\x07"} & set(text)
        return Ended(code, printed.out, printed.err)

    return run
