"""Text on pictures: how texts are compared, and what tesseract reads."""

from __future__ import annotations

import shutil

import pytest
from PIL import Image, ImageDraw, ImageFont

from airflow_provider_flux.checks.text import (
    MIN_SIMILARITY,
    find_missing_ocr,
    find_text_problem,
    normalize,
    similarity,
)
from tests.support.skips import needs_tesseract


def captioned(text: str, size: tuple[int, int] = (1024, 512)) -> Image.Image:
    """Return a picture with a text on it."""
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    draw = ImageDraw.Draw(image)
    draw.rectangle((30, size[1] // 2, size[0] - 30, size[1] - 30), fill=(20, 24, 40))
    font = ImageFont.load_default(size[0] // 20)
    draw.text((60, size[1] // 2 + 40), text, font=font, fill="white")
    return image


def test_case_spaces_punctuation_and_forms_of_letters_do_not_count() -> None:
    assert normalize("  Crème-Brûlée, №1! ") == normalize("CRÈME brûlée NO1")


@pytest.mark.parametrize(
    ("expected", "read", "is_legible"),
    [
        ("Summer Sale", "flux-pro seed 5 SUMMER  SALE 1024x768", True),
        ("Summer Sale", "SUMNER SALE now", True),
        ("Summer Sale", "Winter Deal", False),
        ("Summer Sale", "", False),
        ("Summer Sale", "s u m then much later m e r s a l e of all other letters", False),
        ("abc", "xyz abd", False),
        ("50", "50", True),
        ("50", "80", False),
        ("冬のセール", "冬のセール", True),
    ],
)
def test_a_text_is_legible_if_most_of_it_was_read_in_one_place(
    expected: str, read: str, is_legible: bool
) -> None:
    assert (similarity(expected, read) >= MIN_SIMILARITY) == is_legible


def test_a_long_text_is_compared_in_bounded_time() -> None:
    assert similarity("ab" * 5000, "ba" * 100_000) > 0


def test_a_row_without_text_fails_its_check() -> None:
    assert find_text_problem(Image.new("RGB", (8, 8)), " -- ") == (
        "The row has no text to compare with."
    )


def test_a_missing_program_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pytesseract")
    monkeypatch.setattr("pytesseract.pytesseract.tesseract_cmd", "/no/such/tesseract")
    assert "apt-get install tesseract-ocr" in str(find_missing_ocr())


@needs_tesseract
class TestTesseract:
    def test_tesseract_is_found(self) -> None:
        assert shutil.which("tesseract")
        assert find_missing_ocr() is None

    @pytest.mark.parametrize("text", ["Summer sale 2026", "ORGANIC COFFEE BEANS", "No. 5"])
    def test_a_legible_text_passes(self, text: str) -> None:
        assert find_text_problem(captioned(text), text) is None

    def test_a_number_of_the_row_counts_as_its_text(self) -> None:
        assert find_text_problem(captioned("SKU 48213"), 48213) is None

    def test_another_text_is_rejected_with_what_was_read(self) -> None:
        problem = find_text_problem(captioned("Winter deals"), "Organic coffee beans")
        assert problem is not None
        assert problem.startswith("The text 'Organic coffee beans' is not legible: ")
        assert "Winter" in problem

    def test_a_picture_without_text_is_rejected(self) -> None:
        assert find_text_problem(Image.new("RGB", (512, 512), "white"), "Summer sale")
