"""A JSON body with files in it is the document that json.dumps would make, without having it in memory."""

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
from airflow_provider_flux.bfl.inputs import InlineMedia, MediaFile
from airflow_provider_flux.bfl.protocol import HttpRequest

MIB = 1024 * 1024


def media(size: int, *, really: int | None = None) -> MediaFile:
    """Return a file of so many bytes; ``really`` is what it has when it is read."""
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
def test_the_pieces_are_the_document_with_base64_in_place_of_the_files(
    document: dict[str, Any],
) -> None:
    expected = json.dumps(document, default=as_text).encode()
    body = encode_body(document)
    for _ in range(2):
        assert (body if isinstance(body, bytes) else b"".join(body)) == expected
    assert len(body) == len(expected)


@settings(max_examples=50, deadline=None)
@given(documents, files, st.integers(1, 4))
def test_all_is_handed_out_with_the_last_piece_only(
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
def test_a_file_that_changes_its_size_is_an_error_before_all_is_sent(
    size: int, change: int, tail: str
) -> None:
    if size + change < 0:
        change = -size
    body = encode_body({"image": media(size, really=size + change), "tail": tail})
    with pytest.raises(FluxRequestError, match="changed while it was sent"):
        list(body)
    assert not body.is_fully_read


def test_a_file_that_is_gone_is_an_error_before_all_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    body = encode_body({"image": MediaFile("a.png", "image/png", 3, "0", lambda: path.open("rb"))})
    with pytest.raises(FileNotFoundError):
        list(body)
    assert not body.is_fully_read


def test_files_are_closed_when_the_body_is_read_and_when_it_is_given_up() -> None:
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


def test_a_document_without_files_is_plain_bytes() -> None:
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
def test_what_is_not_json_is_refused_without_its_value(value: Any) -> None:
    with pytest.raises(FluxRequestError, match="cannot be sent as JSON") as caught:
        encode_body({"image": value})
    assert "aGlk" not in str(caught.value)


def test_a_large_file_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
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


def test_an_iteration_that_was_broken_off_says_nothing_any_more() -> None:
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


def test_a_request_that_is_sent_again_counts_as_sent_only_when_it_is() -> None:
    request = HttpRequest(
        "POST", "https://api.bfl.ai/v1/x", {}, encode_body({"image": media(9)}), is_billed=True
    )
    assert not request.is_fully_sent
    list(request.body)  # type: ignore[arg-type]
    assert request.is_fully_sent
    request.reset()
    assert not request.is_fully_sent
    assert HttpRequest("POST", "https://api.bfl.ai/v1/x", {}, b"{}", is_billed=True).is_fully_sent
