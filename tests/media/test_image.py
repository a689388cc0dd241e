"""Whole images are recognised, cut ones are not accepted."""

from __future__ import annotations

import hashlib
import io
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from airflow_provider_flux.bfl.errors import FluxImageError
from airflow_provider_flux.media.image import inspect_image


def picture(name: str, size: tuple[int, int] = (96, 64)) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(file, name.upper())
    return file.getvalue()


WHOLE = {name: picture(name) for name in ("jpeg", "png", "webp")}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_image_is_described(name: str) -> None:
    info = inspect_image(WHOLE[name])
    assert (info.format, info.width, info.height) == (name, 96, 64)
    assert info.content_type == f"image/{name}"
    assert info.sha256 == hashlib.sha256(WHOLE[name]).hexdigest()
    assert info.size == len(WHOLE[name])


@settings(max_examples=200)
@given(st.sampled_from(sorted(WHOLE)), st.floats(0, 1, exclude_max=True))
def test_an_image_cut_anywhere_is_refused(name: str, where: float) -> None:
    data = WHOLE[name]
    with pytest.raises(FluxImageError):
        inspect_image(data[: int(len(data) * where)])


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("missing", [1, 2, 4, 12])
def test_the_last_bytes_count(name: str, missing: int) -> None:
    with pytest.raises(FluxImageError):
        inspect_image(WHOLE[name][:-missing])


@given(st.integers(60, len(WHOLE["png"]) - 1))
def test_a_flipped_bit_in_a_png_is_noticed(at: int) -> None:
    data = bytearray(WHOLE["png"])
    data[at] ^= 1
    with pytest.raises(FluxImageError):
        inspect_image(bytes(data))


def test_a_jpeg_with_bytes_after_its_end_is_still_whole() -> None:
    assert inspect_image(WHOLE["jpeg"] + b"\0\0").format == "jpeg"
    with pytest.raises(FluxImageError):
        inspect_image(WHOLE["jpeg"][: len(WHOLE["jpeg"]) // 2] + b"\0\0")


def blank(size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("L", size).save(file, "PNG", compress_level=1)
    return file.getvalue()


def bomb() -> bytes:
    """A PNG header that claims 60000x60000 pixels."""
    data = bytearray(picture("png", (8, 8)))
    data[16:24] = (60_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"<html><body>Bad gateway</body></html>", "not an image"),
        (b"\xff\xd8\xff\xe0", "not an image"),
        (picture("gif")[:-8], "cut short"),
        (blank((8200, 8200)), "8200x8200"),
        (bomb(), "too many pixels to be an image"),
    ],
)
def test_what_is_not_a_whole_image_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(FluxImageError, match=said):
        inspect_image(data)


@pytest.mark.parametrize("name", ["gif", "bmp", "tiff"])
def test_an_image_of_an_unexpected_kind_is_paid_for_and_kept(name: str) -> None:
    info = inspect_image(picture(name))
    assert (info.format, info.content_type) == (name, f"image/{name}")
