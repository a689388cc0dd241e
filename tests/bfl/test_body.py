"""A JSON body with files equals the output of json.dumps, without being in memory."""

from __future__ import annotations

import base64
import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_flux.bfl.body import _PIECE_BYTES, JsonBody, encode_body
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.http_messages import HttpRequest
from airflow_provider_flux.bfl.inputs import InlineMedia, MediaFile

MIB = 1024 * 1024


def media(size: int, *, really: int | None = None) -> MediaFile:
    """Return a file of a declared size. ``really`` is its size when it is read."""
    data = (b"0123456789\xff\x00\n" * (_PIECE_BYTES // 4))[: size if really is None else really]
    assert len(data) == (size if really is None else really)
    return MediaFile("a.bin", "image/png", size, "0" * 64, lambda: io.BytesIO(data))


def as_text(file: Any) -> str:
    with file.open() as opened:
        return base64.b64encode(opened.read()).decode()


sizes = st.sampled_from(
    [
        0,
        1,
        2,
        3,
        4,
        _PIECE_BYTES - 1,
        _PIECE_BYTES,
        _PIECE_BYTES + 1,
        2 * _PIECE_BYTES + 2,
        3 * _PIECE_BYTES,
    ]
)
files = (sizes | st.integers(0, 3 * _PIECE_BYTES)).map(media)
plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9)
)
values = st.recursive(
    plain | files,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
documents = st.dictionaries(st.text(max_size=5), values, max_size=4)


@settings(max_examples=200, deadline=None)
@given(documents)
def test_a_json_body_contains_its_files_as_base64(
    document: dict[str, Any],
) -> None:
    expected = json.dumps(document, default=as_text).encode()
    body = encode_body(document)
    for _ in range(2):
        assert (body if isinstance(body, bytes) else b"".join(body)) == expected
    assert len(body) == len(expected)


@settings(max_examples=50, deadline=None)
@given(documents, files, st.integers(1, 4))
def test_a_json_body_is_fully_read_only_after_its_last_piece(
    document: dict[str, Any], file: MediaFile, count: int
) -> None:
    body = encode_body({**document, "file": file})
    assert isinstance(body, JsonBody)
    assert not body.is_fully_read
    total = len(list(body))
    assert body.is_fully_read
    for number, _ in zip(range(1, count + 1), body, strict=False):  # sent again, and broken off
        assert body.is_fully_read is (number >= total)


@pytest.mark.parametrize("size", [10, _PIECE_BYTES, _PIECE_BYTES + 1, 2 * _PIECE_BYTES + 7])
@pytest.mark.parametrize("change", [-10, -3, -1, 1, 2, 3, 4, _PIECE_BYTES])
@pytest.mark.parametrize("tail", ["", "x" * 40])
def test_a_file_that_changes_its_size_fails_before_the_whole_body_is_sent(
    size: int, change: int, tail: str
) -> None:
    if size + change < 0:
        change = -size
    body = encode_body({"image": media(size, really=size + change), "tail": tail})
    with pytest.raises(FluxRequestError, match="changed while it was sent"):
        list(body)
    assert not body.is_fully_read


def test_a_missing_file_fails_before_the_whole_body_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    body = encode_body({"image": MediaFile("a.png", "image/png", 3, "0", lambda: path.open("rb"))})
    with pytest.raises(FileNotFoundError):
        list(body)
    assert not body.is_fully_read


def test_the_files_of_a_body_are_closed_after_a_complete_and_an_aborted_iteration() -> None:
    opened: list[io.BytesIO] = []

    def open_it() -> io.BytesIO:
        opened.append(io.BytesIO(bytes(2 * _PIECE_BYTES)))
        return opened[-1]

    body = encode_body({"image": MediaFile("a.png", "image/png", 2 * _PIECE_BYTES, "0", open_it)})
    list(body)
    iterator: Iterator[bytes] = iter(body)
    next(iterator), next(iterator)
    iterator.close()  # type: ignore[attr-defined]
    assert [file.closed for file in opened] == [True, True]


def test_a_body_without_files_is_plain_bytes() -> None:
    assert (
        encode_body({"prompt": "ä \ud800", "width": 1})
        == rb'{"prompt": "\u00e4 \ud800", "width": 1}'
    )


@pytest.mark.parametrize(
    "value",
    [
        object(),
        b"bytes",
        {1, 2},
        float("nan"),
        float("inf"),
        InlineMedia("aGlkZGVu"),
        {MediaFile: 1},
    ],
)
def test_a_parameter_that_json_cannot_represent_is_refused_without_showing_it(value: Any) -> None:
    with pytest.raises(FluxRequestError, match="cannot be sent as JSON") as caught:
        encode_body({"image": value})
    assert "aGlk" not in str(caught.value)


def test_a_large_file_is_never_completely_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(20 * MIB))
    file = MediaFile("a.bin", "image/png", 20 * MIB, "0", lambda: path.open("rb"))
    tracemalloc.start()
    try:
        sent = sum(len(piece) for piece in encode_body({"image": file}))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sent > 26 * MIB
    assert peak < 2 * MIB


def test_an_aborted_iteration_does_not_mark_a_body_as_fully_read() -> None:
    body = encode_body({"image": media(2 * _PIECE_BYTES)})
    assert isinstance(body, JsonBody)
    old = iter(body)
    next(old)
    assert list(body)
    assert body.is_fully_read
    next(old)
    assert body.is_fully_read
    body.reset()
    list(old)
    assert not body.is_fully_read


def test_a_request_that_is_sent_again_is_fully_sent_only_after_the_second_iteration() -> None:
    request = HttpRequest(
        "POST", "https://api.bfl.ai/v1/x", {}, encode_body({"image": media(9)}), is_billed=True
    )
    assert not request.is_fully_sent
    list(request.body)  # type: ignore[arg-type]
    assert request.is_fully_sent
    request.reset()
    assert not request.is_fully_sent
    assert HttpRequest("POST", "https://api.bfl.ai/v1/x", {}, b"{}", is_billed=True).is_fully_sent
