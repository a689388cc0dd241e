"""Rules for names of objects: characters and lengths that every store keeps, and safe values."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

#: Bytes of the longest value of a placeholder. The hash at the end of a shortened one counts.
MAX_VALUE_BYTES = 128
_UNSAFE = re.compile(r"[^\w.\-]")
_HASH_DIGITS = 16
#: Texts that a store, or the library that reads it, takes for another name, with their meaning.
_AMBIGUOUS = {
    "\\": "a separator of folders on Windows and Azure",
    "?": "the beginning of a query",
    "#": "the beginning of a fragment",
    "::": "the chain of two filesystems",
}
#: Unicode categories of characters that listings of a store cannot hold or that hide in a message.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cn", "Cs", "Zl", "Zp"})
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True)
class _Limits:
    """The longest names of one kind of store.

    :param store: name of the store, for messages.
    :param path: longest name below the bucket, or longest path of a local file.
    :param part: longest name of a folder or file; ``None`` if only the whole name is limited.
    :param counts_characters: whether the store counts characters. All others count bytes in UTF-8.
    """

    store: str
    path: int
    part: int | None = None
    counts_characters: bool = False

    def measure(self, text: str) -> int:
        """Return the length of a text in the unit of the store."""
        return len(text) if self.counts_characters else len(text.encode(errors="surrogatepass"))

    @property
    def unit(self) -> str:
        """Name of the unit."""
        return "characters" if self.counts_characters else "bytes"


#: A value that is safe as it is, as nearly all are.
_SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
#: Sources: the documentation of S3, GCS and Azure; NAME_MAX and PATH_MAX of Linux.
_LOCAL = _Limits("a local disk", 4095, 255)
_LIMITS = {
    **dict.fromkeys(("s3", "s3a", "s3n"), _Limits("S3", 1024)),
    **dict.fromkeys(("gs", "gcs"), _Limits("Google Cloud Storage", 1024)),
    **dict.fromkeys(
        ("abfs", "abfss", "adl"), _Limits("Azure Blob Storage", 1024, counts_characters=True)
    ),
    **dict.fromkeys(("", "file", "local"), _LOCAL),
}


def safe_name(value: Any, max_bytes: int = MAX_VALUE_BYTES) -> Any:
    """Return a value that can neither change the folder nor hide the file, nor is too long.

    :param value: the value of a placeholder. Integers are returned as they are.
    :param max_bytes: longest result in UTF-8. A longer one is cut, and ends in a hash.
    """
    if isinstance(value, int):
        return value
    if isinstance(value, str) and len(value) <= max_bytes and _SAFE.fullmatch(value):
        return value
    text = "unknown" if value is None else _replace_unsafe(str(value))
    return shorten(re.sub(r"^\.+", "_", text) or "_", max_bytes)


def shorten(text: str, max_bytes: int) -> str:
    """Return a text that fits into a number of bytes; a shortened one ends in a hash of the text.

    :param text: the text.
    :param max_bytes: longest result in UTF-8; more than the 17 bytes of the hash.
    """
    data = text.encode()
    if len(data) <= max_bytes:
        return text
    digest = hashlib.sha256(data).hexdigest()[:_HASH_DIGITS]
    return f"{cut(text, max_bytes - _HASH_DIGITS - 1)}-{digest}"


def cut(text: str, max_bytes: int) -> str:
    """Return the beginning of a text that fits into a number of bytes.

    A letter is not parted from its combining marks.

    :param text: the text.
    :param max_bytes: longest result in UTF-8.
    """
    data = text.encode()
    if len(data) <= max_bytes:
        return text
    end = len(data[:max_bytes].decode(errors="ignore"))
    while end and unicodedata.category(text[end]).startswith("M"):
        end -= 1
    return text[:end]


def find_character_problem(text: str) -> str | None:
    """Return what is wrong with the characters of a path or URI.

    :param text: the path or URI.
    :return: the rest of a sentence about it; ``None`` if all stores keep it as it is.
    """
    for part, meaning in _AMBIGUOUS.items():
        if part in text:
            return f"holds {part}, which stores read as {meaning}, so as another name. Remove it"
    for character in text:
        if unicodedata.category(character) in _REFUSED_CATEGORIES or character in _BIDI_CONTROLS:
            return (
                f"holds a line break or another control character (U+{ord(character):04X}). "
                "Remove it"
            )
    return None


def find_length_problem(uri: str) -> str | None:
    """Return what is wrong with the length of a name.

    :param uri: URI or local path.
    :return: the rest of a sentence about it, with the name, its length and the limit; ``None`` if
        the store can keep it, or if the limits of the store are not known.
    """
    limits = _LIMITS.get(uri.partition("://")[0] if "://" in uri else "")
    if limits is None:
        return None
    name = uri.partition("://")[2] or uri
    is_local = limits is _LOCAL
    name = name if is_local else name.partition("/")[2]
    if name.isascii() and len(name) <= (limits.part or limits.path):
        return None
    length = limits.measure(name)
    if length > limits.path:
        return (
            f"gives the name {_abbreviate(name)} of {length} {limits.unit}. The limit of "
            f"{limits.store} is {limits.path}"
        )
    longest = max(name.split("/"), key=limits.measure)
    if limits.part is not None and limits.measure(longest) > limits.part:
        return (
            f"gives the name {_abbreviate(longest)} of {limits.measure(longest)} {limits.unit}. "
            f"The limit of {limits.store} is {limits.part}"
        )
    return None


def _replace_unsafe(text: str) -> str:
    """Replace all but letters, marks, numbers, ``_``, ``.`` and ``-``, in normal form C.

    A combining mark is a part of a word in many scripts, and ``\\w`` does not match it.
    """
    return _UNSAFE.sub(
        lambda match: match[0] if unicodedata.category(match[0]).startswith("M") else "_",
        unicodedata.normalize("NFC", text),
    )


def _abbreviate(name: str) -> str:
    return repr(name if len(name) <= 60 else f"{name[:30]}...{name[-25:]}")
