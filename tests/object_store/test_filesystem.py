"""Checks of a store before the submit."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from airflow_provider_flux.object_store import filesystem


def test_a_missing_top_folder_of_a_blocking_filesystem_is_no_missing_bucket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The write may create it, so a task must not be refused before its submit."""
    path = SimpleNamespace(path="new/{key}.png", protocol="ftp", fs=MemoryFileSystem())
    monkeypatch.setattr(filesystem, "reopen_path", lambda uri: path)
    filesystem.check_writable("ftp://new/{key}.png")
