"""Legible text: what OCR reads on an image, compared with the expected text."""

from __future__ import annotations

import unicodedata
from difflib import SequenceMatcher
from typing import Any

from PIL import Image

#: Share of the expected text that must be read, by the ratio of ``difflib``.
MIN_SIMILARITY = 0.8
#: Characters that are compared. A longer expected text counts by its beginning.
MAX_TEXT = 400
_MAX_READ = 8000
#: Pixels of the longer side for which tesseract is most exact with usual captions.
_MIN_SIDE, _MAX_SIDE = 1400, 2600
#: Ways in which tesseract looks for text: blocks, as on a page, then words anywhere.
_MODES = (3, 11)


def normalize(text: str) -> str:
    """Return the letters and digits of a text, in lower case and one form of Unicode.

    :param text: any text.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in plain if character.isalnum())


def similarity(expected: str, read: str) -> float:
    """Return how much of a text was read somewhere in another, 0 to 1.

    Case, spaces and punctuation do not count, and neither does other text around it.

    :param expected: the text that must be there.
    :param read: all text that was read.
    """
    wanted, found = normalize(expected)[:MAX_TEXT], normalize(read)[:_MAX_READ]
    if not wanted:
        return 1.0
    if wanted in found:
        return 1.0
    matcher = SequenceMatcher(None, wanted, found, autojunk=False)
    starts = {max(block.b - block.a, 0) for block in matcher.get_matching_blocks()}
    return max(
        (_ratio(wanted, found[start : start + len(wanted)]) for start in starts), default=0.0
    )


def find_text_problem(image: Image.Image, expected: Any) -> str | None:
    """Return why a text is not legible on an image; ``None`` if it is.

    :param image: an RGB image.
    :param expected: value of the column of the row. Numbers count as their text.
    """
    text = "" if expected is None else str(expected)
    if not normalize(text):
        return "The row has no text to compare with."
    best, best_text = 0.0, ""
    for mode in _MODES:
        read = read_text(image, mode)
        share = similarity(text, read)
        if share >= MIN_SIMILARITY:
            return None
        if share >= best:
            best, best_text = share, read
    shown = " ".join(best_text.split())[:80]
    return (
        f"The text {text[:80]!r} is not legible: {best:.0%} of it was read, and "
        f"{MIN_SIMILARITY:.0%} is needed. OCR read {shown!r}."
    )


def read_text(image: Image.Image, mode: int) -> str:
    """Read the text on an image with tesseract.

    :param image: an RGB image.
    :param mode: page segmentation mode of tesseract.
    """
    import pytesseract

    text = pytesseract.image_to_string(_scale(image.convert("L")), config=f"--psm {mode}")
    return str(text)


def find_missing_ocr() -> str | None:
    """Return what is missing to read text; ``None`` if nothing is."""
    try:
        import pytesseract
    except ImportError:
        return (
            "The check text needs pytesseract. Run pip install 'airflow-provider-flux[ocr]', and "
            "install tesseract (Debian: tesseract-ocr)."
        )
    try:
        pytesseract.get_tesseract_version()
    except Exception:  # its own error, and whatever a broken program raises
        return (
            "The check text needs the program tesseract on PATH. Install it on the worker (Debian: "
            "apt-get install tesseract-ocr)."
        )
    return None


def _scale(image: Image.Image) -> Image.Image:
    longer = max(image.size)
    target = min(max(longer, _MIN_SIDE), _MAX_SIDE)
    if target == longer:
        return image
    factor = target / longer
    size = (max(round(image.width * factor), 1), max(round(image.height * factor), 1))
    return image.resize(size, Image.Resampling.LANCZOS)


def _ratio(first: str, second: str) -> float:
    return SequenceMatcher(None, first, second, autojunk=False).ratio()
