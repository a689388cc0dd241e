"""The file of the index: in a folder that only this user may read and write.

An index in a bucket could be forged by whoever may write there. One in a shared temporary folder
could be, too, so the folder must belong to this user, and nobody else may enter it.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from airflow.providers.common.compat.sdk import conf
from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed

from airflow_provider_flux.accounting.costs.index import CostIndex
from airflow_provider_flux.bfl.errors import FluxConfigurationError

_FOLDER_NAME = "airflow-provider-flux"
_FILE_NAME = "costs.sqlite"
#: Ends of the names of the files that SQLite keeps beside the index.
_COMPANIONS = ("", "-wal", "-shm")
_PRIVATE = 0o700
#: Seconds to wait for another process that creates the file.
_LOCKED_SECONDS = 10.0


def open_index(folder: Path | None = None) -> CostIndex:
    """Open the index of this user. A damaged one, or one of another version, is built anew.

    :param folder: its folder; that of :func:`cache_folder` by default.
    :raises FluxConfigurationError: if no folder can be used.
    """
    path = (folder or cache_folder()) / _FILE_NAME
    try:
        return _open_when_free(path)
    except sqlite3.DatabaseError as error:
        if _is_locked(error):
            raise FluxConfigurationError(
                f"The index of costs {path} is locked by another process. Run the command again."
            ) from None
    try:
        for end in _COMPANIONS:
            path.with_name(f"{path.name}{end}").unlink(missing_ok=True)
        return CostIndex(path)
    except (OSError, sqlite3.Error) as error:
        raise FluxConfigurationError(
            f"The index of costs {path} cannot be written ({error}). Set [flux] cache_folder to a "
            "local folder with free space."
        ) from None


@retry(
    retry=retry_if_exception(lambda error: _is_locked(error)),
    stop=stop_after_delay(_LOCKED_SECONDS),
    wait=wait_fixed(0.05),
    reraise=True,
)
def _open_when_free(path: Path) -> CostIndex:
    """Open an index. SQLite does not wait while another process creates the file."""
    return CostIndex(path)


def _is_locked(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


def cache_folder() -> Path:
    """Return the private folder of this user for caches, which it creates.

    It is ``[flux] cache_folder``, or ``airflow-provider-flux`` below ``$XDG_CACHE_HOME`` or
    ``~/.cache``. If that cannot be created, it is a folder of this user in the temporary folder.

    :raises FluxConfigurationError: if no folder is private to this user.
    """
    configured = conf.get("flux", "cache_folder", fallback="") or ""
    if configured:
        return _make_private(Path(configured).expanduser())
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    with suppress(OSError, RuntimeError, FluxConfigurationError):
        folder = Path(home).expanduser()
        if folder.is_absolute():
            folder.mkdir(parents=True, exist_ok=True)
            return _make_private(folder / _FOLDER_NAME)
    return _make_private(Path(tempfile.gettempdir()) / f"{_FOLDER_NAME}-{os.getuid()}")


def _make_private(folder: Path) -> Path:
    """Create a folder for this user alone, or check that there is one."""
    try:
        folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        info = folder.lstat()
    except OSError as error:
        raise FluxConfigurationError(
            f"The folder {folder} for the index of costs cannot be created ({error.strerror}). "
            "Set [flux] cache_folder to a local folder that this user may write to."
        ) from None
    is_own = stat.S_ISDIR(info.st_mode) and info.st_uid == os.getuid()
    if not is_own or stat.S_IMODE(info.st_mode) & 0o022:
        raise FluxConfigurationError(
            f"The folder {folder} for the index of costs is a link, belongs to another user, or "
            "others may write to it. Remove it, or set [flux] cache_folder to a folder of this "
            "user, with chmod 700."
        )
    if stat.S_IMODE(info.st_mode) & 0o077:
        folder.chmod(_PRIVATE)
    return folder
