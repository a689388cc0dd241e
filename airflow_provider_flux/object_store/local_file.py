"""Write local files so that a reader sees the old file or the whole new one."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def write_file(target: Path | str, data: bytes, *, exclusive: bool = False) -> None:
    """Write a local file: first a hidden one beside it, then rename that in one step.

    Missing folders are created.

    :param target: path of the file.
    :param data: the whole content.
    :param exclusive: refuse to replace a file.
    :raises FileExistsError: if ``exclusive`` is set and the file exists.
    """
    folder, name = os.path.split(target)
    hidden = os.path.join(folder, f".{uuid.uuid4().hex}.tmp")
    try:
        _write_new(hidden, data)
        if exclusive:
            _link(hidden, os.path.join(folder, name))
        else:
            os.replace(hidden, target)
            return
    except BaseException:
        _unlink(hidden)
        raise
    _unlink(hidden)


def _write_new(file: str, data: bytes) -> None:
    """Write a file that does not exist, to the disk, by the fewest calls of the system."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(file, flags, 0o666)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(file), exist_ok=True)
        descriptor = os.open(file, flags, 0o666)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_file(source: Path, target: Path) -> None:
    """Copy a local file in the same way; an existing file is replaced.

    :param source: path of the file to copy.
    :param target: path of the copy.
    """
    with _hidden_file_beside(target) as hidden:
        shutil.copyfile(source, hidden)
        hidden.replace(target)


@contextmanager
def _hidden_file_beside(target: Path) -> Iterator[Path]:
    """Yield a path for a temporary file in the same folder, and remove what is left of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    hidden = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        yield hidden
    finally:
        hidden.unlink(missing_ok=True)


def _unlink(hidden: str) -> None:
    with suppress(OSError):  # it is gone, or could never be written
        os.unlink(hidden)


def _link(hidden: str, target: str) -> None:
    """Give the file its name unless the name is taken; a rename would replace the other file."""
    try:
        os.link(hidden, target)
    except FileExistsError:
        raise
    except OSError:
        # This filesystem has no hard links. Another process can write between check and rename.
        if os.path.exists(target):
            raise FileExistsError(target) from None
        os.replace(hidden, target)
