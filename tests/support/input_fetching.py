"""Fetch an input as the operators do, and return its bytes or its error."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.media.fetch import fetch_input
from airflow_provider_flux.media.source import parse_source
from tests.support.sample_media import MIB


def fetch_bytes(
    value: object,
    target: Path,
    *,
    private: tuple[str, ...] = ("127.0.0.1",),
    max_bytes: int = MIB,
    seconds: float = 5,
    proxy: str | None = None,
) -> bytes:
    """Fetch an input to the file ``0`` of a folder, check its SHA-256, and return its bytes."""
    source = parse_source(value, name="image")
    account = FluxSettings(
        "bfl_x",
        private_input_hosts=private,
        connect_timeout=seconds,
        read_timeout=seconds,
        proxy=proxy,
    )
    sha256 = fetch_input(
        source, target / "0", max_bytes=max_bytes, label=f"image ({source})", settings=account
    )
    data = (target / "0").read_bytes()
    assert hashlib.sha256(data).hexdigest() == sha256
    return data


def fetch_error(error: type[FluxError], value: object, target: Path, **options: object) -> str:
    """Return the message of the error that fetching an input raises."""
    with pytest.raises(FluxError) as caught:
        fetch_bytes(value, target, **options)  # type: ignore[arg-type]
    assert type(caught.value) is error
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)
