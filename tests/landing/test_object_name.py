"""Names that every store keeps: characters, lengths and shortened values."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.landing.object_name import (
    MAX_VALUE_BYTES,
    cut,
    find_character_problem,
    find_length_problem,
    safe_name,
    shorten,
)

#: Words whose letters take one to four bytes, with and without combining marks.
SCRIPTS = st.sampled_from("aé한漢字กี่นாகிが😀-.")
LONG_TEXT = st.text(SCRIPTS, max_size=300) | st.text(max_size=300)


@given(LONG_TEXT)
def test_a_safe_name_fits_into_its_bytes_and_is_safe_already(value: str) -> None:
    """Fault 15: names were measured in characters, and stores count bytes."""
    name = safe_name(value)
    assert 0 < len(name.encode()) <= MAX_VALUE_BYTES
    assert safe_name(name) == name


@given(st.lists(LONG_TEXT, min_size=2, max_size=2))
def test_shortened_texts_differ_if_the_texts_do(texts: list[str]) -> None:
    """Fault 15: keys with the same first 128 characters became one name."""
    first, second = (text.encode(errors="replace").decode() for text in texts)
    assert (shorten(first, 40) == shorten(second, 40)) == (first == second)


@given(LONG_TEXT, st.integers(20, 200))
def test_a_shortened_text_parts_no_letter_from_its_marks(text: str, size: int) -> None:
    """Fault 15: a cut between a letter and its combining mark makes another word of it."""
    text = unicodedata.normalize("NFC", text.encode(errors="replace").decode())
    start = cut(text, size)
    assert text.startswith(start)
    assert len(start.encode()) <= size
    rest = text[len(start) :]
    assert not rest or not start or not unicodedata.category(rest[0]).startswith("M")


def test_a_short_value_keeps_its_name_and_a_long_one_ends_in_a_hash() -> None:
    """Fault 15: the name of an image must not change without need."""
    assert safe_name("x" * 128) == "x" * 128
    assert safe_name("sku-1.jpeg") == "sku-1.jpeg"
    assert safe_name("x" * 129).startswith("x" * 111 + "-")
    assert safe_name("ä" * 100) != safe_name("ä" * 101)


def local(name: str) -> str:
    return f"file:///data/{name}"


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        (local("x" * 255), None),
        (local("x" * 256), "of 256 bytes. The limit of a local disk is 255"),
        ("/data/" + "漢" * 86 + "/x", "of 258 bytes. The limit of a local disk is 255"),
        ("/x" * 2048, "of 4096 bytes. The limit of a local disk is 4095"),
        ("s3://c@bucket/" + "x" * 1024, None),
        ("s3://c@bucket/" + "ü" * 513, "of 1026 bytes. The limit of S3 is 1024"),
        ("gs://bucket/" + "漢" * 342, "of 1026 bytes. The limit of Google Cloud Storage is 1024"),
        ("abfs://c@box/" + "漢" * 1024, None),
        ("abfs://c@box/" + "x" * 1025, "of 1025 characters. The limit of Azure Blob Storage"),
        ("memory://" + "x" * 9999, None),
    ],
)
def test_the_length_of_a_name_is_measured_as_its_store_measures_it(
    uri: str, problem: str | None
) -> None:
    """Fault 15: 86 Chinese characters are 258 bytes, and no file."""
    found = find_length_problem(uri)
    assert (found is None) == (problem is None)
    assert (problem or "") in (found or "")


@pytest.mark.parametrize("part", ["?", "#", "\\", "::", "\x7f", "\x85", "\u2028", "\ud800"])
def test_a_character_that_some_store_reads_as_another_name_is_a_problem(part: str) -> None:
    """Fault 31: an object landed under another name than the XCom said."""
    assert find_character_problem(f"s3://b/a{part}b.png")
    assert find_character_problem(f"s3://b/a.png{part}")


def test_a_direction_mark_that_hides_a_suffix_is_a_problem() -> None:
    """Fault 31: such a name reads ``gnp.json`` where it is ``nosj.png``."""
    assert find_character_problem("s3://b/a\u202egnp.json")


@pytest.mark.parametrize("part", ["%20", " ", "+", ":", "@", "&=", "//", "-", "~", "é", "क\u200dष"])
def test_a_character_that_all_stores_keep_is_no_problem(part: str) -> None:
    """Fault 31: run ids, for example, have colons and plus signs."""
    assert find_character_problem(f"s3://b/{part}/a{part}b.png") is None
