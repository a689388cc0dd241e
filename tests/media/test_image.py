"""Whole images are recognised, cut ones are not accepted."""

from __future__ import annotations

import contextlib
import hashlib
import io
import random
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from airflow_provider_flux.bfl.errors import FluxImageError
from airflow_provider_flux.media.image import inspect_image
from tests.support.memory_use import MAX_GROWTH_MIB, measure
from tests.support.sample_media import decode

TRIALS = 200


def drawn(size: tuple[int, int] = (96, 64), seed: int = 1, mode: str = "RGB") -> Image.Image:
    """Return a picture that compresses neither to nothing nor not at all."""
    few = random.Random(seed).randbytes(12 * 8 * len(mode))
    return Image.frombytes(mode, (12, 8), few).resize(size, Image.Resampling.BICUBIC)


def picture(
    name: str, size: tuple[int, int] = (96, 64), seed: int = 1, mode: str = "RGB", **options: object
) -> bytes:
    file = io.BytesIO()
    drawn(size, seed, mode).save(file, name.upper(), **options)
    return file.getvalue()


def with_segment(jpeg: bytes, marker: int, content: bytes) -> bytes:
    """Put a segment right behind the start of a JPEG."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + jpeg[2:]


def with_thumbnail(seed: int) -> bytes:
    """A JPEG with a whole small one in its EXIF data."""
    return with_segment(
        picture("jpeg", seed=seed), 0xE1, b"Exif\0\0" + picture("jpeg", (32, 24), seed)
    )


def with_credentials(seed: int) -> bytes:
    """A JPEG with C2PA-like boxes in APP11 segments, of which one holds a whole JPEG."""
    jpeg = picture("jpeg", seed=seed, progressive=True)
    for _ in range(2):
        jpeg = with_segment(jpeg, 0xEB, b"JP\0\x01jumbc2pa" + picture("jpeg", (48, 48), seed))
    return jpeg


def animated(seed: int) -> bytes:
    file = io.BytesIO()
    drawn(seed=seed).save(
        file, "WEBP", save_all=True, append_images=[drawn(seed=seed + 1)], duration=50, method=0
    )
    return file.getvalue()


KINDS = {
    "jpeg": lambda seed: picture("jpeg", seed=seed),
    "progressive jpeg": lambda seed: picture("jpeg", seed=seed, progressive=True),
    "grey jpeg with restarts": lambda seed: picture(
        "jpeg", seed=seed, mode="L", restart_marker_rows=1
    ),
    "cmyk jpeg": lambda seed: picture("jpeg", seed=seed, mode="CMYK"),
    "jpeg with thumbnail": with_thumbnail,
    "jpeg with credentials": with_credentials,
    "png": lambda seed: picture("png", seed=seed),
    "png with alpha": lambda seed: picture("png", seed=seed, mode="RGBA", compress_level=1),
    "webp": lambda seed: picture("webp", seed=seed, method=0),
    "lossless webp": lambda seed: picture("webp", seed=seed, method=0, lossless=True),
    "webp with alpha": lambda seed: picture("webp", seed=seed, method=0, mode="RGBA"),
    "animated webp": animated,
}
kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
def test_two_hundred_whole_images_of_a_kind_are_described(kind: str) -> None:
    name = kind.replace("animated ", "").split(" ")
    name = next(one for one in ("jpeg", "png", "webp") if one in name)
    for seed in range(TRIALS):
        data = KINDS[kind](seed)
        info = inspect_image(data)
        assert (info.format, info.width, info.height, info.size) == (name, 96, 64, len(data))
        assert info.content_type == f"image/{name}"
        assert info.sha256 == hashlib.sha256(data).hexdigest()


@kinds
@pytest.mark.parametrize("lenient", [False, True])
def test_two_hundred_cut_images_of_a_kind_are_refused(
    kind: str, lenient: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DAG may have set Pillow, for the whole process, to load truncated images."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    chance, accepted = random.Random(kind), []
    for seed in range(TRIALS):
        data = KINDS[kind](seed % 20)
        near_an_end = [
            chance.randrange(len(data)),
            len(data) - chance.randint(1, 40),
            chance.randint(0, 40),
        ]
        at = chance.choice(near_an_end)
        try:
            inspect_image(data[:at])
        except FluxImageError:
            continue
        accepted.append((at, len(data)))
    assert accepted == []


@pytest.mark.parametrize(
    "kind", ["jpeg with thumbnail", "jpeg with credentials", "progressive jpeg", "png", "webp"]
)
@pytest.mark.parametrize("lenient", [False, True])
def test_an_image_cut_at_a_marker_or_near_its_end_is_refused(
    kind: str, lenient: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cuts are at each byte pair that could look like an end, and at each of the last bytes."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    data = KINDS[kind](5)
    ends = [
        at + 2
        for at in range(len(data) - 2)
        if data[at : at + 2] in {b"\xff\xd9", b"\xff\xda", b"\xff\xc4"}
    ]
    assert ends or not kind.startswith("jpeg with")
    accepted = []
    for at in {*ends, *range(len(data) - 64, len(data)), *range(0, len(data), 37)}:
        try:
            inspect_image(data[:at])
        except FluxImageError:
            continue
        accepted.append(at)
    assert accepted == []


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(KINDS)),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 9),
)
def test_an_image_cut_anywhere_is_refused(kind: str, where: float, seed: int) -> None:
    data = KINDS[kind](seed)
    with pytest.raises(FluxImageError):
        inspect_image(data[: int(len(data) * where)])


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_changed_bytes_are_described_or_refused_as_an_image_error(
    kind: str, data: st.DataObject
) -> None:
    """An error of struct or pydantic would not be retried."""
    body = bytearray(KINDS[kind](1))
    for _ in range(data.draw(st.integers(1, 8))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(FluxImageError):
        inspect_image(bytes(body))


@given(st.integers(60, len(KINDS["png"](1)) - 1))
def test_a_flipped_bit_in_a_png_is_noticed(at: int) -> None:
    data = bytearray(KINDS["png"](1))
    data[at] ^= 1
    with pytest.raises(FluxImageError):
        inspect_image(bytes(data))


def test_a_jpeg_with_bytes_after_its_end_is_still_whole() -> None:
    whole = KINDS["jpeg"](1)
    assert inspect_image(whole + b"\0\0").format == "jpeg"
    with pytest.raises(FluxImageError):
        inspect_image(whole[: len(whole) // 2] + b"\0\0")


def test_damage_that_only_decoding_would_show_is_not_found() -> None:
    """Decoding takes 10 to 100 ms for each image, and finds only some of the damage in a JPEG."""
    whole = KINDS["png"](1)
    at = whole.index(b"IDAT")
    (length,) = struct.unpack(">I", whole[at - 4 : at])
    chunk = b"IDAT" + bytes(length)
    damaged = whole[:at] + chunk + struct.pack(">I", zlib.crc32(chunk)) + whole[at + 8 + length :]
    assert inspect_image(damaged).format == "png"
    with pytest.raises(OSError, match="cannot decode"):
        decode(damaged)


def test_a_jpeg_for_stereo_viewers_is_a_jpeg() -> None:
    """Pillow calls a JPEG with a table of further pictures MPO."""
    file = io.BytesIO()
    drawn().save(file, "MPO", save_all=True, append_images=[drawn(seed=2)])
    assert inspect_image(file.getvalue()).content_type == "image/jpeg"


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


REFUSED = [
    (b"", "empty"),
    (b"<html><body>Bad gateway</body></html>", "not an image"),
    (b"\xff\xd8\xff\xe0", "not an image"),
    (picture("gif")[:-200], "cut short"),
    (blank((8200, 8200)), "8200x8200"),
    (bomb(), "more pixels than any image|60000x60000"),
]


@pytest.mark.parametrize(("data", "message"), REFUSED)
@pytest.mark.parametrize("limit", [Image.MAX_IMAGE_PIXELS, None])
def test_what_is_not_a_whole_image_is_refused(
    data: bytes, message: str, limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(FluxImageError, match=message):
        inspect_image(data)


@pytest.mark.parametrize("name", ["gif", "bmp", "tiff"])
def test_an_image_of_an_unexpected_kind_is_paid_for_and_kept(name: str) -> None:
    info = inspect_image(picture(name))
    assert (info.format, info.content_type) == (name, f"image/{name}")


def test_no_small_result_fills_the_memory() -> None:
    """Fault 9: a result of few bytes that claims many pixels is not decoded."""
    files = [
        encode((8000, 8000), "jpeg") + b"trailing bytes",
        encode((8000, 8000), "gif"),
        encode((8000, 8000), "tiff"),
    ]
    assert max(map(len, files)) < 8_100_000
    run = measure(_inspect_all, files)
    assert run.grown_mib < MAX_GROWTH_MIB
    assert [outcome.partition(" result")[0] for outcome in run.outcome] == [
        "The jpeg",
        "The gif",
        "The tiff",
    ]


def encode(size: tuple[int, int], kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("1" if kind == "tiff" else "L", size).save(file, kind.upper())
    return file.getvalue()


def _inspect_all(files: list[bytes]) -> list[str]:
    outcomes = []
    for data in files:
        try:
            outcomes.append(str(inspect_image(data)))
        except FluxImageError as error:
            outcomes.append(str(error))
    return outcomes
