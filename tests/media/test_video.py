"""Tests of the inspection of videos: whole, cut and damaged ones."""

from __future__ import annotations

import hashlib
import io
import struct

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_flux.bfl.errors import FluxImageError
from airflow_provider_flux.media.video import (
    DamagedVideoError,
    VideoInfo,
    inspect_video,
    is_mp4,
    read_video,
)
from tests.support.sample_media import make_image, make_video

WAYS = {"index at the end": False, "index first": True}
WHOLE = {way: make_video(1.0, index_first=first) for way, first in WAYS.items()}
every_way = pytest.mark.parametrize("way", WAYS)


def box(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


def large_box(kind: bytes, content: bytes = b"") -> bytes:
    """Return a box with a 64-bit size, which files of more than 4 GB need."""
    return struct.pack(">I4sQ", 1, kind, len(content) + 16) + content


def header(scale: int, duration: int, version: int = 0) -> bytes:
    times = (
        struct.pack(">IQQIQ", 1 << 24, 0, 0, scale, duration)
        if version
        else struct.pack(">IIIII", 0, 0, 0, scale, duration)
    )
    return box(b"mvhd", times + bytes(80))


def track(width: int, height: int, version: int = 0) -> bytes:
    before = bytes([version]) + bytes(87 if version else 75)
    return box(b"trak", box(b"tkhd", before + struct.pack(">II", width << 16, height << 16)))


FTYP = box(b"ftyp", b"isom\0\0\2\0isomiso2")
MDAT = box(b"mdat", bytes(100))


def read(data: bytes) -> VideoInfo:
    return read_video(io.BytesIO(data))


@every_way
@pytest.mark.parametrize(("seconds", "size"), [(1.0, (320, 192)), (2.5, (192, 320))])
def test_a_whole_video_is_described(way: str, seconds: float, size: tuple[int, int]) -> None:
    data = make_video(seconds, size, index_first=WAYS[way])
    info = inspect_video(data)
    assert (info.format, info.width, info.height, info.seconds) == ("mp4", *size, seconds)
    assert info.content_type == "video/mp4"
    assert (info.size, info.sha256) == (len(data), hashlib.sha256(data).hexdigest())


@every_way
@pytest.mark.parametrize("tenths", range(10))
def test_a_video_cut_at_a_tenth_is_refused(way: str, tenths: int) -> None:
    data = WHOLE[way]
    with pytest.raises(FluxImageError, match="not a whole video"):
        inspect_video(data[: len(data) * tenths // 10])


@settings(max_examples=300)
@given(st.sampled_from(sorted(WAYS)), st.floats(0, 1, exclude_max=True))
def test_a_video_cut_anywhere_is_refused(way: str, where: float) -> None:
    data = WHOLE[way]
    with pytest.raises(DamagedVideoError):
        read(data[: int(len(data) * where)])


@every_way
@pytest.mark.parametrize("missing", [1, 2, 7, 8, 9, 100])
def test_a_video_without_its_last_bytes_is_refused(way: str, missing: int) -> None:
    with pytest.raises(DamagedVideoError):
        read(WHOLE[way][:-missing])


@settings(max_examples=300)
@given(st.binary(max_size=400), st.booleans())
@example(b"", True)
@example(bytes(400), True)
@example(b"\xff" * 400, True)
def test_random_bytes_are_refused_as_a_damaged_video(data: bytes, starts_well: bool) -> None:
    with pytest.raises(DamagedVideoError):
        read(FTYP + data if starts_well else data)


@settings(max_examples=300)
@given(st.sampled_from(sorted(WAYS)), st.data())
def test_a_damaged_video_is_read_or_refused_as_a_damaged_video(
    way: str, data: st.DataObject
) -> None:
    damaged = bytearray(WHOLE[way])
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        info = read(bytes(damaged))
    except DamagedVideoError:
        return
    assert info.width > 0
    assert info.height > 0
    assert info.seconds >= 0


boxes = st.recursive(
    st.tuples(
        st.sampled_from([b"mvhd", b"tkhd", b"mdat", b"free", b"trak", b"moov"]),
        st.binary(max_size=120),
    ).map(lambda pair: box(*pair)),
    lambda inner: st.tuples(
        st.sampled_from([b"moov", b"trak"]), st.lists(inner, max_size=4).map(b"".join)
    ).map(lambda pair: box(*pair)),
)


@settings(max_examples=300)
@given(st.lists(boxes, max_size=5).map(b"".join))
def test_boxes_of_any_content_are_read_or_refused_as_a_damaged_video(data: bytes) -> None:
    try:
        read(FTYP + data)
    except DamagedVideoError:
        return


@pytest.mark.parametrize(
    "data",
    [
        make_image("jpeg"),
        make_image("png"),
        b"",
        b"ftyp",
        b"<html><body>Bad gateway</body></html>",
        b"RIFF\x24\x00\x00\x00AVI LIST",
        b"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01",  # matroska
    ],
)
def test_a_file_that_is_no_mp4_is_refused(data: bytes) -> None:
    assert not is_mp4(data[:12])
    with pytest.raises(DamagedVideoError, match="it is not an mp4 video"):
        read(data)


@pytest.mark.parametrize("version", [0, 1])
def test_both_versions_of_the_video_headers_are_read(version: int) -> None:
    index = box(b"moov", header(600, 1500, version) + track(640, 360, version))
    assert read(FTYP + index + MDAT) == VideoInfo(640, 360, 2.5)


def test_a_sound_track_does_not_change_the_size_of_a_video() -> None:
    index = box(b"moov", header(1000, 4000) + track(0, 0) + track(64, 48) + track(0, 0))
    assert read(FTYP + MDAT + index) == VideoInfo(64, 48, 4.0)


def test_a_file_with_sound_alone_is_refused() -> None:
    with pytest.raises(DamagedVideoError, match="it has no pictures"):
        read(FTYP + box(b"moov", header(1000, 4000) + track(0, 0)) + MDAT)
    with pytest.raises(DamagedVideoError, match="it has no pictures"):
        read(FTYP + box(b"moov", header(1000, 4000)) + MDAT)


def test_boxes_with_a_64_bit_size_are_read() -> None:
    index = large_box(b"moov", header(1000, 4000) + large_box(b"trak", track(64, 48)[8:]))
    assert read(FTYP + index + large_box(b"mdat", bytes(50))) == VideoInfo(64, 48, 4.0)
    with pytest.raises(DamagedVideoError):
        read(FTYP + index + large_box(b"mdat", bytes(50))[:-1])


def test_the_last_box_may_extend_to_the_end_of_the_file() -> None:
    index = box(b"moov", header(1000, 4000) + track(64, 48))
    assert read(FTYP + index + struct.pack(">I4s", 0, b"mdat") + bytes(50)).seconds == 4.0


def test_a_video_whose_header_names_no_length_has_a_length_of_0() -> None:
    assert read(FTYP + box(b"moov", header(0, 4000) + track(64, 48)) + MDAT).seconds == 0


@pytest.mark.parametrize("missing", ["moov", "mdat"])
def test_a_video_without_index_or_pictures_is_refused(missing: str) -> None:
    parts = {"moov": box(b"moov", header(1000, 4000) + track(64, 48)), "mdat": MDAT}
    with pytest.raises(DamagedVideoError, match="cut short or damaged"):
        read(FTYP + b"".join(part for name, part in parts.items() if name != missing))


def test_the_search_in_a_file_of_endless_small_boxes_ends() -> None:
    with pytest.raises(DamagedVideoError, match="it is damaged"):
        read(FTYP + box(b"free") * 20_000)


def test_an_error_holds_none_of_the_bytes() -> None:
    with pytest.raises(FluxImageError) as caught:
        inspect_video(FTYP + b"hidden bytes" * 9)
    assert "hidden" not in str(caught.value)
