"""The end of an image or a video is found whatever stands behind it."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from airflow_provider_flux.landing.xmp import embed_xmp
from airflow_provider_flux.media.trailing import ends_before
from tests.support.planted import jpeg_with_a_zip
from tests.support.sample_media import make_image, make_video


def progressive_jpeg() -> bytes:
    """Return a JPEG with several scans, restart markers and a thumbnail with an end of its own."""
    file = io.BytesIO()
    thumbnail = make_image("jpeg", (16, 16))
    Image.effect_noise((300, 200), 90).convert("RGB").save(
        file, "JPEG", progressive=True, restart_marker_rows=1, comment=thumbnail
    )
    return file.getvalue()


FILES = {
    "jpeg": make_image("jpeg"),
    "jpeg progressive": progressive_jpeg(),
    "png": make_image("png"),
    "webp": make_image("webp"),
    "mp4": make_video(),
    "mp4 with its index first": make_video(index_first=True),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("is_marked", [False, True])
def test_nothing_follows_a_whole_file_also_if_it_is_marked(name: str, is_marked: bool) -> None:
    """Fault 1: a whole image is no suspect."""
    data, media_format = FILES[name], name.partition(" ")[0]
    if is_marked:
        data = embed_xmp(data, media_format, model="flux-2-pro", request_id="r")
    assert not ends_before(data, media_format)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("tail", [b"\0", b"PK\x03\x04 code", b"\xff\xd9", b"#!/bin/sh\n\xff\xd9"])
def test_bytes_behind_the_end_are_found(name: str, tail: bytes) -> None:
    """Fault 1: an archive behind a picture was copied with it."""
    if name.startswith("mp4") and len(tail) < 8:
        tail = tail.ljust(8, b"\0")
    assert ends_before(FILES[name] + tail, name.partition(" ")[0])


def test_a_zip_whose_comment_ends_as_a_jpeg_does_is_found() -> None:
    """Fault 1: the last two bytes of a file prove nothing."""
    assert ends_before(jpeg_with_a_zip(), "jpeg")
