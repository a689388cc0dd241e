"""Tests of inputs from files of the worker, and from base64 in the request."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_flux.bfl.errors import FluxInputError, FluxRequestError
from airflow_provider_flux.bfl.inputs import InlineMedia
from airflow_provider_flux.object_store.backends import WriteOptions
from airflow_provider_flux.object_store.filesystem import open_path, run_sync
from airflow_provider_flux.object_store.objects import put
from tests.support.input_fetching import fetch_bytes, fetch_error
from tests.support.sample_media import MIB, encode_base64, make_image, make_large_image

PICTURE = make_image()


def test_a_file_of_the_worker_is_copied(tmp_path: Path) -> None:
    path = tmp_path / "a b ü.png"
    path.write_bytes(PICTURE)
    assert fetch_bytes(str(path), tmp_path) == PICTURE
    assert fetch_bytes(path.as_uri(), tmp_path) == PICTURE
    link = tmp_path / "link.png"
    link.symlink_to(path)
    assert fetch_bytes(str(link), tmp_path) == PICTURE


NAMES = ["a b.png", "a%20b.png", "a#1.png", "a?x=1.png", "100%.png", "ü.png", "[1].png"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", ["", "file://"])
def test_what_was_landed_can_be_read_by_the_same_name(
    tmp_path: Path, scheme: str, name: str
) -> None:
    uri = f"{scheme}{tmp_path}/{name}"
    open_path(uri)
    run_sync(put(uri, PICTURE, WriteOptions("image/png")))
    assert fetch_bytes(uri, tmp_path) == PICTURE


def test_a_path_is_read_literally_and_unquoted_only_if_no_such_file_exists(tmp_path: Path) -> None:
    (tmp_path / "a b.png").write_bytes(PICTURE)
    assert fetch_bytes(f"file://{tmp_path}/a%20b.png", tmp_path) == PICTURE
    (tmp_path / "a%20b.png").write_bytes(make_image(shade=1))
    assert fetch_bytes(f"file://{tmp_path}/a%20b.png", tmp_path) == make_image(shade=1)


@pytest.mark.parametrize(
    "path", ["/dev/zero", "/dev/null", "/no/such/file.png", "/", "/etc/hosts/a.png", "/a" * 2000]
)
def test_a_path_that_is_no_file_is_not_opened_and_may_be_retried(tmp_path: Path, path: str) -> None:
    message = fetch_error(FluxInputError, path, tmp_path)
    assert message.startswith("image (")
    assert message.endswith(").") or message.endswith("is not a file of this worker.")
    assert len(message) < 300


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is not a file of this worker" in fetch_error(
        FluxInputError, str(tmp_path / "pipe"), tmp_path
    )


@contextmanager
def nobody() -> Iterator[None]:
    """Drop the right to read every file, if the tests run as root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_file_without_read_permission_may_be_retried(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PICTURE)
    path.chmod(0)
    with nobody():
        message = fetch_error(FluxInputError, str(path), tmp_path)
    assert message.startswith(f"image ({path}) could not be read (PermissionError: ")


def test_a_file_that_is_too_large_is_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(make_large_image(MIB + 1))
    assert "is larger than the 1 MB" in fetch_error(FluxRequestError, str(path), tmp_path)
    assert not (tmp_path / "0").exists()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.binary(min_size=40, max_size=900),
    st.sampled_from(["", "\n", "\r\n", " "]),
    st.integers(1, 90),
)
def test_base64_may_be_broken_into_lines_anywhere(
    tmp_path: Path, data: bytes, end: str, width: int
) -> None:
    plain = encode_base64(b"GIF89a" + data)
    text = "".join(plain[at : at + width] + end for at in range(0, len(plain), width))
    assert fetch_bytes(InlineMedia(text), tmp_path) == b"GIF89a" + data


def test_large_base64_is_decoded_in_pieces(tmp_path: Path) -> None:
    for size in (MIB - 1, MIB):
        data = make_large_image(size)
        assert fetch_bytes(encode_base64(data), tmp_path) == data
        assert (
            fetch_bytes(InlineMedia(f" data:image/jpeg;base64,{encode_base64(data)}\n"), tmp_path)
            == data
        )
        assert fetch_bytes(base64.encodebytes(data).decode(), tmp_path) == data
    assert "larger than the 1 MB" in fetch_error(
        FluxRequestError, encode_base64(make_large_image(MIB + 1)), tmp_path
    )


PLAIN = encode_base64(PICTURE.ljust(len(PICTURE) // 3 * 3 + 4, b"x"))


@pytest.mark.parametrize(
    "text",
    [
        PLAIN[:-1],
        PLAIN.rstrip("="),
        PLAIN.rstrip("=") + "A",
        f"{PLAIN}====",
        f"{PLAIN[:80]}%{PLAIN[81:]}",
        f"{PLAIN[:80]}={PLAIN[81:]}",
        f"{encode_base64(PICTURE[:100])}{PLAIN}",
        f"{PLAIN}{PLAIN}",
        f"{PLAIN}\n{PLAIN}",
        f"data:image/png;base64,{PLAIN[:-1]}é",
    ],
)
def test_invalid_base64_is_refused_by_an_error_that_does_not_quote_it(
    tmp_path: Path, text: str
) -> None:
    assert (
        fetch_error(FluxRequestError, InlineMedia(text), tmp_path)
        == "image (base64) is not valid base64."
    )
