"""Alt text of an image, from the prompt that it was generated from."""

from __future__ import annotations

import unicodedata

#: Characters after which some screen readers split an alt text.
MAX_CHARACTERS = 125
#: Characters without a glyph: controls, direction marks, halves of a character.
_LEFT_OUT = {"Cc", "Cs"}
_DIRECTION = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_CUT_OFF = " ,;:-\u2013\u2014("


def alt_text_of(prompt: str | None) -> str | None:
    """Return the alt text of an image: its prompt in one line, cut at a word to 125 characters.

    :param prompt: prompt that was submitted; ``None`` if it is not known, or hidden.
    :return: ``None`` without a prompt.
    """
    text = " ".join("".join(map(_without_controls, prompt or "")).split())
    if len(text) > MAX_CHARACTERS:
        begin = text[: MAX_CHARACTERS + 1]
        words = begin.rpartition(" ")[0].rstrip(_CUT_OFF)
        text = words or begin[:MAX_CHARACTERS]
    return text or None


def _without_controls(character: str) -> str:
    if character.isspace():
        return " "
    is_left_out = unicodedata.category(character) in _LEFT_OUT or character in _DIRECTION
    return "" if is_left_out else character
