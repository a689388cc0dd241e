"""The folder of the index: private to its reader."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from airflow_provider_flux.accounting.costs.index_file import cache_folder, open_index
from airflow_provider_flux.bfl.errors import FluxConfigurationError


def test_the_folder_is_that_of_the_configuration_and_nobody_else_may_enter_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__FLUX__CACHE_FOLDER", str(tmp_path / "a" / "b"))
    assert cache_folder() == tmp_path / "a" / "b"
    assert stat.S_IMODE(os.stat(tmp_path / "a" / "b").st_mode) == 0o700


def test_a_home_that_cannot_be_written_is_replaced_by_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.delenv("AIRFLOW__FLUX__CACHE_FOLDER")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cache_folder().parent == tmp_path


@pytest.mark.parametrize("trap", ["writable", "link"])
def test_a_folder_that_others_may_write_to_or_a_link_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: str
) -> None:
    folder, elsewhere = tmp_path / "cache", tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    if trap == "link":
        folder.symlink_to(elsewhere)
    else:
        folder.mkdir()
        folder.chmod(0o777)
    monkeypatch.setenv("AIRFLOW__FLUX__CACHE_FOLDER", str(folder))
    with pytest.raises(FluxConfigurationError, match=r"\[flux\] cache_folder"):
        cache_folder()


def test_an_index_that_cannot_be_replaced_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "costs.sqlite").mkdir()
    with pytest.raises(FluxConfigurationError, match=r"cannot be written"):
        open_index(tmp_path)
