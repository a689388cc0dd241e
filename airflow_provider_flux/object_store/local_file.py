"""Write local files so that a reader sees the old file or the whole new one."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_file(target: Path, data: bytes, *, exclusive: bool = False) -> None:
    """Write a local file: first a hidden one beside it, then rename that in one step.

    Missing folders are created.

    :param target: path of the file.
    :param data: the whole content.
    :param exclusive: refuse to replace a file.
    :raises FileExistsError: if ``exclusive`` is set and the file exists.
    """
    with _hidden_file_beside(target) as hidden:
        with hidden.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if exclusive:
            _link(hidden, target)
        else:
            hidden.replace(target)


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


def _link(hidden: Path, target: Path) -> None:
    """Give the file its name unless the name is taken; a rename would replace the other file."""
    try:
        target.hardlink_to(hidden)
    except FileExistsError:
        raise
    except OSError:
        # This filesystem has no hard links. Another process can write between check and rename.
        if target.exists():
            raise FileExistsError(str(target)) from None
        hidden.replace(target)
