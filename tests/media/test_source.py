"""Tests of the source of an input, and of hiding its base64."""

from __future__ import annotations

import base64
import json
import pathlib
from contextlib import suppress
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.bfl.catalog import MODELS, MediaKind
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.inputs import InlineMedia
from airflow_provider_flux.media.source import (
    Source,
    SourceKind,
    find_source_problems,
    parse_source,
    wrap_base64,
)
from tests.support.sample_media import encode_base64, make_image, make_video

JPEG = encode_base64(make_image("jpeg"))
IMAGES = {kind: encode_base64(make_image(kind)) for kind in ("jpeg", "png", "webp", "gif", "tiff")}


def read(value: Any, kind: MediaKind = MediaKind.IMAGE) -> Source:
    return parse_source(value, name="input_image", kind=kind)


@pytest.mark.parametrize(
    ("value", "kind", "text", "shown"),
    [
        ("https://a.b/c.png?sig=x", SourceKind.URL, "https://a.b/c.png?sig=x", "https://a.b/c.png"),
        ("HTTP://a.b/c.png", SourceKind.URL, "HTTP://a.b/c.png", "http://a.b/c.png"),
        ("https://u:pass@a.b/c", SourceKind.URL, "https://u:pass@a.b/c", "https://a.b/c"),
        ("s3://my_conn@bucket/a b/ü.png", SourceKind.STORE, "s3://my_conn@bucket/a b/ü.png", None),
        ("gs://bucket/key", SourceKind.STORE, "gs://bucket/key", None),
        ("abfs://container/key", SourceKind.STORE, "abfs://container/key", None),
        ("/data/a.png", SourceKind.FILE, "/data/a.png", None),
        ("  /data/a.png\n", SourceKind.FILE, "/data/a.png", "/data/a.png"),
        (
            "https://a.b/ü c.png?x=ü",
            SourceKind.URL,
            "https://a.b/%C3%BC%20c.png?x=%C3%BC",
            "https://a.b/%C3%BC%20c.png",
        ),
        ("file:///data/a%20b#1.png", SourceKind.FILE, "/data/a%20b#1.png", "/data/a%20b#1.png"),
        ("file://localhost/data/a.png", SourceKind.FILE, "/data/a.png", "/data/a.png"),
        ("FILE:///data/a.png", SourceKind.FILE, "/data/a.png", "/data/a.png"),
        ("local:///data/a.png", SourceKind.FILE, "/data/a.png", "/data/a.png"),
        (pathlib.PurePosixPath("/data/a.png"), SourceKind.FILE, "/data/a.png", None),
        (
            ObjectStoragePath("s3://my_conn@bucket/a.png"),
            SourceKind.STORE,
            "s3://my_conn@bucket/a.png",
            None,
        ),
        (ObjectStoragePath("file:///data/a.png"), SourceKind.FILE, "/data/a.png", None),
    ],
)
def test_the_kind_of_an_input_is_recognized_by_its_text(
    value: Any, kind: SourceKind, text: str, shown: str | None
) -> None:
    source = read(value)
    assert (source.kind, source.text) == (kind, text)
    assert str(source) == (shown or text)


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("form", ["plain", "data", "lines", "spaced", "spaced data"])
def test_base64_of_an_image_is_recognized_in_every_form(kind: str, form: str) -> None:
    plain = IMAGES[kind]
    lines = base64.encodebytes(base64.b64decode(plain)).decode()
    data = f"data:image/{kind};charset=x;base64,{plain}"
    text = {
        "plain": plain,
        "data": data,
        "lines": lines,
        "spaced": f"\n  {plain}\n",
        "spaced data": f" \n{data} ",
    }[form]
    source = read(text)
    assert source.kind is SourceKind.BASE64
    assert "".join(source.text[source.start :].split()) == plain
    hidden = wrap_base64(text)
    assert isinstance(hidden, InlineMedia)
    assert read(hidden).kind is SourceKind.BASE64


def test_base64_of_a_video_is_recognized_by_its_beginning() -> None:
    text = encode_base64(make_video())
    assert read(text, MediaKind.VIDEO).kind is SourceKind.BASE64
    assert isinstance(wrap_base64(text), InlineMedia)


def test_base64_of_a_jpeg_is_not_mistaken_for_a_path() -> None:
    assert JPEG.startswith("/9j/")
    assert read(JPEG).kind is SourceKind.BASE64
    assert read("/9j/a.png").kind is SourceKind.FILE
    assert read("/9j/4AAQ/photo.jpeg").kind is SourceKind.FILE


def test_base64_of_a_draft_cache_is_recognized_by_its_length() -> None:
    text = encode_base64(bytes(range(256)) * 3)
    assert read(text, MediaKind.DRAFT).kind is SourceKind.BASE64
    assert isinstance(wrap_base64(text, MediaKind.DRAFT), InlineMedia)
    # The field of a value from a template is not known.
    assert isinstance(wrap_base64(text), InlineMedia)
    with pytest.raises(FluxRequestError, match="It is a text of 1024 characters"):
        read(text, MediaKind.IMAGE)
    assert read("/data/a.draft.bin", MediaKind.DRAFT).kind is SourceKind.FILE


@pytest.mark.parametrize(
    "value",
    [
        "images/a.png",
        "./a.png",
        "../a.png",
        "~/a.png",
        "a.png",
        "",
        "C:\\a.png",
        "s3:/bucket/key",
        "data:image/png,x",
        7,
    ],
)
def test_text_that_is_no_source_is_refused_with_the_forms_that_are(value: Any) -> None:
    with pytest.raises(FluxRequestError, match="neither a URI") as caught:
        read(value)
    assert str(caught.value).startswith("input_image is neither")
    assert repr(str(value)) in str(caught.value)


@pytest.mark.parametrize(
    "value",
    ["file://images/a.png", "file://./a.png", "local://data/a.png", "file://", "file://[x/a.png"],
)
def test_a_relative_file_uri_is_refused(value: str) -> None:
    with pytest.raises(FluxRequestError, match=r"is relative. Write file:///absolute/path"):
        read(value)


@pytest.mark.parametrize(
    "text",
    [
        encode_base64(b"no image at all" * 99),
        # JPEG XL, whose base64 starts like a path as well.
        encode_base64(b"\xff\x0a" + bytes(range(256)) * 40),
        encode_base64(b"\xff\x0a" + bytes(range(256)) * 2),
        f"data:image/png;base32,{encode_base64(bytes(99))}",
    ],
)
def test_an_error_never_quotes_text_that_may_be_base64(text: str) -> None:
    try:
        shown = str(read(text))
    except FluxRequestError as error:
        shown = str(error)
    middle = text[len(text) // 3 :][:40]
    assert middle not in shown
    assert len(shown) < 400


def test_an_error_never_quotes_the_signature_of_a_url() -> None:
    with pytest.raises(FluxRequestError) as caught:
        read("https//a.b/c.png see https://a.b/c.png?sig=c2VjcmV0")
    assert "c2VjcmV0" not in str(caught.value)


def test_a_source_has_no_base64_in_its_repr() -> None:
    assert JPEG[:40] not in repr(read(JPEG))
    assert str(read(JPEG)) == "base64"
    assert JPEG[:40] not in repr(wrap_base64({"a": [JPEG]}))


@given(st.text(max_size=300) | st.binary(max_size=300).map(encode_base64))
def test_any_text_is_a_source_or_refused(text: str) -> None:
    for kind in MediaKind:
        with suppress(FluxRequestError):
            assert read(text, kind).kind in SourceKind
    wrap_base64(text)


def test_base64_is_hidden_wherever_it_is() -> None:
    value = {
        "images": [JPEG, "s3://a/b"],
        "frames": [[0.5, f"data:image/jpeg;base64,{JPEG}"]],
        "deep": {"x": (JPEG,)},
    }
    hidden = wrap_base64(value)
    assert JPEG[:60] not in json.dumps(hidden, default=str)
    assert hidden["images"][1] == "s3://a/b"
    assert hidden["frames"][0][1].text.endswith(JPEG)
    assert hidden["deep"]["x"][0].text == JPEG


@pytest.mark.parametrize(
    "value",
    [
        *(
            "a red fox",
            "/data/a.png",
            "s3://bucket/key",
            "https://a.b/c?x=iVBORw0KGgo",
            "jpeg",
            "1024",
            "",
        ),
        *(None, 7, 1.5, True, "data: what it is", "an unpunctuated prompt of many words " * 40),
        "https://a.b/" + "x" * 900,
    ],
)
def test_text_other_than_base64_is_not_hidden(value: Any) -> None:
    assert wrap_base64(value) == value
    assert wrap_base64([value]) == [value]


def test_a_mistake_in_an_input_names_its_field_and_opens_nothing() -> None:
    video, fill = MODELS["flux-3-video"], MODELS["flux-pro-1.0-fill"]
    assert (
        find_source_problems(fill.media, {"image": "/no/such.png", "mask": "s3://no_conn@b/k"})
        == []
    )
    [message] = find_source_problems(
        fill.media, {"image": "a.png", "mask": "/b.png", "prompt": "c.png"}
    )
    assert message.startswith("image is neither a URI")
    said_of_frames = find_source_problems(
        video.media, {"keyframes": [[0, "/a.png"], [1, "b.png"], [2, "c.png"]]}
    )
    assert [sentence.partition(" ")[0] for sentence in said_of_frames] == ["keyframes", "keyframes"]
