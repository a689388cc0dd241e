"""A service that takes every request, and a large one to send."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.sample_media import make_large_image
from tests.support.scripted_host import ScriptedHost
from tests.support.submit_by_client import LARGE_BYTES, answer_accepted


@pytest.fixture
def service(connect: Callable[..., None]) -> Iterator[ScriptedHost]:
    """A host that takes every request, and the connection to it."""
    with ScriptedHost(answers={"*": answer_accepted}) as host:
        connect(host.url, private_input_hosts="127.0.0.1", read_timeout=10)
        yield host


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def large(tmp_path: Path) -> dict[str, Any]:
    """The parameters of a request with a large image."""
    path = tmp_path / "large.jpeg"
    path.write_bytes(make_large_image(LARGE_BYTES))
    return {"prompt": "x", "input_image": str(path)}
