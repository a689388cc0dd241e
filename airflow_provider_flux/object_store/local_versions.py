"""Compare and swap a local file: a lock file beside it, and a rename in one step.

The version of a file is the hash of its bytes. Readers need no lock, because a rename shows the old
file or the whole new one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from airflow_provider_flux.object_store.local_file import write_file


class LockBusyError(Exception):
    """Another process or thread holds the lock of the file at this moment."""


def read_local(target: Path, max_bytes: int) -> tuple[bytes, str] | None:
    """Read a file and its version.

    :param target: path of the file.
    :param max_bytes: number of bytes to read at most.
    :return: ``None`` if there is no file.
    :raises OSError: if it cannot be read, or is something else, for example a pipe.
    """
    try:
        # Without waiting: whoever may write to the folder could put a pipe there.
        descriptor = os.open(target, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise IsADirectoryError(f"{target} is not a regular file")
        data = file.read(max_bytes)
    return data, hash_version(data)


def replace_local(target: Path, data: bytes, version: str | None) -> str:
    """Replace a file if it still has a version. It is on the disk when this returns.

    :param target: path of the file. Missing folders are created.
    :param data: its new content.
    :param version: the version that it must have; ``None`` if there must be no file.
    :return: the new version.
    :raises LockBusyError: if the lock is held. Try again in a moment.
    :raises FileExistsError: if the file has another version.
    """
    with lock_beside(target):
        if _read_version(target) != version:
            raise FileExistsError(str(target))
        write_file(target, data)
        _sync_folder(target.parent)
    return hash_version(data)


@contextmanager
def lock_beside(target: Path) -> Iterator[None]:
    """Hold the lock of a file, which ends with the process at the latest.

    :param target: path of the file. The lock file stays beside it: removing it would let two
        processes hold the lock, one of the old file and one of the new.
    :raises LockBusyError: if another process or thread holds it.
    :raises OSError: if this filesystem has no locks.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(f".{target.name}.lock")
    # Each holder opens the file anew, so that threads of one process exclude each other too.
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockBusyError(str(lock)) from None
        if not _is_same_file(descriptor, lock):  # somebody removed it after it was opened
            raise LockBusyError(str(lock))
        yield
    finally:
        os.close(descriptor)


def hash_version(data: bytes) -> str:
    """Return the version of a file with these bytes.

    :param data: the whole content.
    """
    return hashlib.sha256(data).hexdigest()


def _read_version(target: Path) -> str | None:
    with suppress(FileNotFoundError), target.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
    return None


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    """Write the new name of a file to the disk; some network filesystems refuse that."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
