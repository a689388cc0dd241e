"""Texts of BFL that quote a request: the prompt and other values are removed from them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote_plus

#: Text in place of one that quotes a request.
REMOVED = "<text that quotes the request removed>"
#: Text in place of one that may quote a prompt that nobody here knows.
HIDDEN = "<text hidden by hide_prompt>"
#: Reasons of a moderation that BFL uses (source: its error page and published answers).
_KNOWN_REASONS = frozenset(
    {
        *("violence", "sexual content", "self harm", "hate", "safety filter"),
        *("derivative works filter", "content policy violation"),
    }
)
#: Letters and digits in a row that a text and a value have to share. It may be a part of the value.
_FRAGMENT_CHARACTERS = 14
#: Characters of a text that are compared and kept. A refusal may quote inputs of megabytes.
_MAX_TEXT_CHARACTERS = 64 * 1024
#: Shorter texts, for example ``png``, are options and no secrets. A prompt always counts.
_MIN_CHARACTERS = 16
_ESCAPE = re.compile(r"\\+(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|[nrt])")
_WORD = re.compile(r"\w+")
_DETAIL = re.compile(r"(HTTP \d{3}): .*", re.DOTALL)


def texts_of(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the texts of a request that no message may quote: the prompt and long values.

    URLs are left out, because a message may name the URL at fault.

    :param parameters: parameters of the request.
    """
    prompt = parameters.get("prompt")
    others = [text for text in _find_texts(parameters) if len(text) >= _MIN_CHARACTERS]
    texts = [prompt] if isinstance(prompt, str) and prompt.strip() else []
    return (*texts, *(text for text in others if "://" not in text[:10]))


def remove_quotes(text: str, values: Iterable[str]) -> str:
    """Return a text, or a placeholder if it quotes a value, also escaped, cut or in other case.

    :param text: a text of the service. A very long one is cut.
    :param values: texts of the request.
    """
    text = text[:_MAX_TEXT_CHARACTERS]
    words = _words_of(text)
    is_quoting = bool(words) and any(_quotes(words, _words_of(value)) for value in values)
    return REMOVED if is_quoting else text


def hide_reason(reason: str) -> str:
    """Return the reason of a moderation if it is one of BFL's own, else a placeholder.

    :param reason: a reason that may quote the prompt.
    """
    return reason if " ".join(_WORD.findall(reason)).casefold() in _KNOWN_REASONS else HIDDEN


def hide_detail(message: str) -> str:
    """Return a message of an error without the text that BFL gave with its HTTP status.

    :param message: message of an error.
    """
    return _DETAIL.sub(rf"\1: {HIDDEN}", message)


def _find_texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _find_texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _find_texts(item)


def _words_of(text: str) -> list[str]:
    """Return the words of a text without its escapes: of JSON, of HTML and of URLs."""
    plain = html.unescape(unquote_plus(text)) if "%" in text or "&" in text else text
    plain = _ESCAPE.sub(_unescape, plain)
    return _WORD.findall(plain.casefold())


def _unescape(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    return chr(int(code, 16)) if code else " "


def _quotes(words: list[str], value: list[str]) -> bool:
    """Whether a text has a whole short value, or a fragment of a long one."""
    whole = "".join(value)
    if not whole:
        return False
    if len(whole) < _FRAGMENT_CHARACTERS:
        return f" {' '.join(value)} " in f" {' '.join(words)} "
    fragments = set(_fragments_of("".join(words)))
    return any(fragment in fragments for fragment in _fragments_of(whole))


def _fragments_of(text: str) -> Iterator[str]:
    last = len(text) - _FRAGMENT_CHARACTERS
    return (text[start : start + _FRAGMENT_CHARACTERS] for start in range(last + 1))
