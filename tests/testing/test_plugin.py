"""The plugin of pytest, in processes of pytest as users start it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.testing.airflow_home import AirflowHome, LateImportError
from tests.support.submit_by_client import submit_by_hook

ROOT = Path(__file__).resolve().parents[2]
PROJECT = Path(__file__).parent / "project"
PLUGIN = "airflow_provider_flux.testing.plugin"
USER = {"HOME", "PATH", "TMPDIR", "LANG"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the settings of the documented project, and without tests."""
    folder = tmp_path / "project"
    shutil.copytree(PROJECT, folder)
    (folder / "product_shots_tests.py").rename(folder / "product_shots_tests.txt")
    return folder


@pytest.fixture
def run_pytest(project: Path) -> Callable[..., str]:
    """Return a function that runs a test file in the project, and returns its output."""

    def run(code: str, *options: str, exit_code: int = 0, **variables: str) -> str:
        (project / "test_project.py").write_text(code)
        (project / "home").mkdir(exist_ok=True)
        environ = {name: value for name, value in os.environ.items() if name in USER}
        environ |= {"HOME": str(project / "home"), "PYTHONPATH": str(ROOT), **variables}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
            cwd=project,
            env=environ,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == exit_code, done.stdout + done.stderr
        return done.stdout

    return run


def load(*options: str) -> tuple[str, ...]:
    """Return the options that load the plugin, also if its entry point is not installed."""
    return ("-p", "no:airflow_provider_flux", "-p", PLUGIN, *options)


class TestDocumentedProject:
    def test_its_dag_runs_with_deferral_templates_and_retry_and_no_airflow_of_the_user(
        self, run_pytest: Callable[..., str], project: Path
    ) -> None:
        output = run_pytest((project / "product_shots_tests.txt").read_text(), *load("-rP"))
        assert "3 passed" in output
        assert output.count("running trigger in line") >= 3
        assert list((project / "home").iterdir()) == []


class TestHome:
    def test_a_home_of_the_user_stays(self, run_pytest: Callable[..., str], tmp_path: Path) -> None:
        home = str(tmp_path / "airflow")
        run_pytest(
            f"import os\ndef test_home(): assert os.environ['AIRFLOW_HOME'] == {home!r}\n",
            *load(),
            AIRFLOW_HOME=home,
        )

    @pytest.mark.parametrize(
        "name", ["AIRFLOW_CONFIG", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD", "AIRFLOW_HOME"]
    )
    def test_no_temporary_home_is_set_beside_an_airflow_of_the_user(
        self, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.delenv("AIRFLOW_HOME")
        monkeypatch.delitem(sys.modules, "airflow")
        monkeypatch.setenv(name, "of the user")
        home = AirflowHome()
        home.choose()
        assert not home.is_temporary

    def test_a_process_of_xdist_makes_a_home_of_its_own(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delitem(sys.modules, "airflow")
        monkeypatch.setenv("AIRFLOW_HOME", "/inherited")
        monkeypatch.setenv("FLUX_TESTS_AIRFLOW_HOME", "/inherited")
        home = AirflowHome()
        home.choose()
        try:
            assert home.is_temporary
            assert Path(os.environ["AIRFLOW_HOME"]).is_dir()
        finally:
            home.remove()

    def test_an_airflow_that_was_imported_without_a_home_is_not_used(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AIRFLOW_HOME")
        with pytest.raises(LateImportError, match="flux_airflow_home = true"):
            AirflowHome().prepare()


class TestPresence:
    def test_without_its_fixtures_the_plugin_imports_neither_airflow_nor_the_emulator(
        self, run_pytest: Callable[..., str], project: Path
    ) -> None:
        (project / "pytest.ini").unlink()
        run_pytest(
            "import os, sys\n"
            "def test_modules():\n"
            f"    assert {PLUGIN!r} in sys.modules\n"
            "    heavy = ('airflow', 'fastapi', 'uvicorn', 'airflow_provider_flux.emulator')\n"
            "    assert not [name for name in heavy if name in sys.modules]\n"
            "    assert 'AIRFLOW_HOME' not in os.environ\n",
            *load(),
        )

    def test_connections_lead_to_the_emulator_with_a_balance_each(
        self, run_pytest: Callable[..., str]
    ) -> None:
        run_pytest(
            "import pytest\n"
            "@pytest.mark.flux_emulator(credits=7)\n"
            "@pytest.mark.flux_connection('studio')\n"
            "def test_credits(flux_airflow_home, flux_connection, flux_emulator):\n"
            "    from airflow_provider_flux.hooks.flux import FluxHook\n"
            "    for conn_id in (flux_connection, 'studio'):\n"
            "        with FluxHook(conn_id).get_conn() as client:\n"
            "            assert client.get_credits() == 7\n"
            "    assert flux_emulator.submits() == 0\n",
            *load("--strict-markers"),
        )


class TestEmulatorHelpers:
    def test_submits_are_counted_by_a_part_of_the_prompt(self, emulator: EmulatorServer) -> None:
        for prompt in ("a red door", "a blue door"):
            submit_by_hook("flux-dev", {"prompt": prompt})
        assert [emulator.submits(text) for text in ("", "red", "door", "sea")] == [2, 1, 2, 0]

    def test_set_faults_replaces_the_faults_of_every_later_request(
        self, emulator: EmulatorServer
    ) -> None:
        emulator.set_faults("submit-status=400")
        with pytest.raises(FluxError):
            submit_by_hook("flux-dev", {"prompt": "a red door"})
        emulator.set_faults()
        submit_by_hook("flux-dev", {"prompt": "a red door"})
        assert emulator.submits() == 1

    def test_set_faults_refuses_an_unknown_fault(self, emulator: EmulatorServer) -> None:
        with pytest.raises(ValueError, match="Unknown fault"):
            emulator.set_faults("no-such-fault")
