"""The signature of a picture: equal for its copies, and for nothing else."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from airflow_provider_flux.checks.find_copies import SignatureIndex
from airflow_provider_flux.checks.picture import open_picture
from airflow_provider_flux.checks.signature import ImageSignature, sign
from tests.support.check_pictures import KINDS, copies_of, encode

PICTURES = 20


def _sign(data: bytes) -> ImageSignature:
    return sign(open_picture(data, smallest=128))


@pytest.mark.parametrize("name", KINDS)
def test_copies_that_are_compressed_resized_or_converted_are_found(name: str) -> None:
    for seed in range(6):
        image = KINDS[name](seed)
        original = _sign(encode(image, quality=92))
        missed = [kind for kind, data in copies_of(image) if not _sign(data).is_copy_of(original)]
        assert not missed, f"{name} {seed}: {missed}"


def test_different_pictures_are_no_copies_of_each_other() -> None:
    signatures = {
        (name, seed): _sign(encode(draw(seed)))
        for name, draw in KINDS.items()
        for seed in range(PICTURES)
    }
    pairs = itertools.combinations(signatures.items(), 2)
    assert not [(a, b) for (a, first), (b, second) in pairs if first.is_copy_of(second)]


def test_one_product_in_two_colours_is_two_pictures() -> None:
    red, blue = Image.new("RGB", (512, 512), "white"), Image.new("RGB", (512, 512), "white")
    red.paste((190, 40, 40), (160, 120, 350, 400))
    blue.paste((40, 60, 190), (160, 120, 350, 400))
    assert not _sign(encode(red)).is_copy_of(_sign(encode(blue)))


def test_a_picture_and_its_mirror_are_two_pictures() -> None:
    image = KINDS["product"](3)
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert not _sign(encode(image)).is_copy_of(_sign(encode(mirrored)))


@given(st.integers(0, 2**64 - 1), st.binary(min_size=192, max_size=192))
def test_a_signature_is_the_same_after_the_journal(bits: int, colours: bytes) -> None:
    signature = ImageSignature(bits, colours)
    assert ImageSignature.decode(signature.encode()) == signature


@pytest.mark.parametrize("text", [None, "", "x", "é", "AAAA", "A" * 100_000])
def test_a_text_of_a_stranger_is_no_signature(text: Any) -> None:
    assert ImageSignature.decode(text) is None


class TestIndex:
    def test_the_earlier_row_is_found_and_the_row_itself_is_not(self) -> None:
        first, second = (_sign(encode(KINDS["cloudy"](seed))) for seed in (1, 2))
        stored = {10: first, 11: second}
        index = SignatureIndex(stored.get)
        for row, signature in stored.items():
            index.add(row, signature)
        assert index.find_copy(12, second) == 11
        assert index.find_copy(11, second) is None
        assert index.find_copy(12, _sign(encode(KINDS["cloudy"](3)))) is None

    def test_a_hash_alone_is_no_copy(self) -> None:
        signature = _sign(encode(KINDS["cloudy"](1)))
        other = ImageSignature(signature.hash, bytes(192))
        index = SignatureIndex({0: other}.get)
        index.add(0, other)
        assert index.find_copy(1, signature) is None
        assert len(index) == 1
