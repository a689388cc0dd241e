"""Decode a compressed body, up to a limit: a few kilobytes can expand to gigabytes."""

from __future__ import annotations

import zlib

#: Header of requests. BFL's answers are small, and results are compressed already.
ACCEPT_ENCODING = "identity"
#: Window bits by which zlib recognises gzip and zlib by their headers.
_GZIP_OR_ZLIB = 47
_RAW_DEFLATE = -15
_WINDOW_BITS = {
    "gzip": (_GZIP_OR_ZLIB,),
    "x-gzip": (_GZIP_OR_ZLIB,),
    "deflate": (_GZIP_OR_ZLIB, _RAW_DEFLATE),
}


class UndecodableBodyError(ValueError):
    """A body that cannot be decoded, or that is larger than its limit.

    The message is a clause whose subject is the body.
    """


def decode_body(data: bytes, encoding: str | None, *, max_bytes: int) -> bytes:
    """Decode a body that a server compressed although the request asked it not to.

    :param data: the bytes as they arrived.
    :param encoding: header ``Content-Encoding``. ``None`` and ``identity`` return the bytes as they
        are; ``gzip`` and ``deflate`` are decoded.
    :param max_bytes: largest size of the decoded body.
    :raises UndecodableBodyError: if the encoding is another, the bytes are damaged, or the decoded
        body is larger than ``max_bytes``.
    """
    name = (encoding or "identity").strip().lower()
    if name in {"identity", ""}:
        return data
    if name not in _WINDOW_BITS:
        raise UndecodableBodyError(f"has the unexpected Content-Encoding {name[:40]!r}")
    for window_bits in _WINDOW_BITS[name]:
        decoder = zlib.decompressobj(wbits=window_bits)
        try:
            decoded = decoder.decompress(data, max_bytes)
        except zlib.error:
            continue
        if decoder.unconsumed_tail:
            raise UndecodableBodyError(f"expands to more than {max_bytes} bytes")
        if not decoder.eof:
            raise UndecodableBodyError(f"is truncated {name}")
        return decoded
    raise UndecodableBodyError(f"is damaged {name}")
