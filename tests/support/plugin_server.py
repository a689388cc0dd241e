"""A real API server with the plugin, on the metadata database of the tests."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path

import httpx

from tests.support.cluster.processes import Component, free_port, last_lines
from tests.support.per_dag_auth_manager import USERS

_JWT_SECRET = "known-to-the-api-server-of-a-test-and-to-nobody-else-at-all-of-the-world"
_START_SECONDS = 240
#: The plugin as a file, for an environment whose installation of this package has no entry point.
_PLUGIN_FILE = "from airflow_provider_flux.plugin.flux_plugin import FluxPlugin  # noqa: F401\n"


class PluginServer:
    """An API server that runs.

    :ivar url: its URL, without a slash at its end.
    """

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self.log = log
        self._passwords: dict[str, str] = {}
        self._tokens: dict[str, str] = {}

    def client(self, user: str | None) -> httpx.Client:
        """Return a client of a user with the cookie of the UI; ``None`` for anybody."""
        cookies = {"_token": self.token(user)} if user else {}
        return httpx.Client(
            base_url=self.url, cookies=cookies, trust_env=False, timeout=240, follow_redirects=False
        )

    def token(self, user: str) -> str:
        """Return the token of a user, who logs in once."""
        if user not in self._tokens:
            body = {"username": user, "password": self._passwords[user]}
            answer = httpx.post(f"{self.url}/auth/token", json=body, trust_env=False, timeout=240)
            self._tokens[user] = answer.raise_for_status().json()["access_token"]
        return self._tokens[user]

    def use_passwords(self, passwords: Mapping[str, str]) -> None:
        """Let users log in by these passwords."""
        self._passwords = dict(passwords)

    def log_text(self, lines: int = 200) -> str:
        """Return the end of the log."""
        return last_lines(self.log, lines)

    def _is_up(self) -> bool:
        try:
            answer = httpx.get(f"{self.url}/api/v2/version", trust_env=False, timeout=60)
        except httpx.HTTPError:
            return False
        return answer.status_code == 200


@contextmanager
def plugin_server(
    folder: Path, env: Mapping[str, str] | None = None, *, path: str = "", workers: int = 1
) -> Iterator[PluginServer]:
    """Run an API server while the block lasts.

    :param folder: folder for its log and its passwords.
    :param env: settings that win over those of the tests.
    :param path: path of its base URL, as behind a proxy that serves other sites as well.
    :param workers: number of its processes.
    """
    port = free_port()
    server = PluginServer(f"http://127.0.0.1:{port}{path}", folder / "api-server.log")
    passwords = {user: f"password-of-{user}" for user in USERS}
    (folder / "passwords.json").write_text(json.dumps(passwords))
    plugins = folder / "plugins"
    plugins.mkdir()
    if not entry_points(group="airflow.plugins", name="flux"):
        (plugins / "flux_gallery.py").write_text(_PLUGIN_FILE)
    settings = {
        "CORE__AUTH_MANAGER": "tests.support.per_dag_auth_manager.PerDagAuthManager",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{u}:{role}" for u, role in USERS.items()),
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(folder / "passwords.json"),
        "CORE__PLUGINS_FOLDER": str(plugins),
        "CORE__LOAD_EXAMPLES": "False",
        "API__BASE_URL": server.url,
        "API__SECRET_KEY": _JWT_SECRET,
        "API_AUTH__JWT_SECRET": _JWT_SECRET,
    }
    root = Path(__file__).resolve().parents[2]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH")))),
        "no_proxy": "127.0.0.1",
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
        **(env or {}),
    }
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    options += ["--apps", "core"]
    component = Component(
        "plugin-server",
        [sys.executable, "-m", "airflow", "api-server", *options],
        env=environment,
        cwd=folder,
        log=server.log,
        ready=lambda _started_at: server._is_up(),
    )
    server.use_passwords(passwords)
    component.start()
    try:
        component.wait_ready(_START_SECONDS)
        yield server
    finally:
        component.stop()
