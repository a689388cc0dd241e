"""Files that people take for images, and that BFL is not known to read: their names, by content."""

from __future__ import annotations

import re

#: Bytes of a file that are enough to name its format.
HEAD_BYTES = 1024
_AVIF_BRANDS = (b"avif", b"avis")
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_SIGNATURES = (
    (b"\xff\x0a", "JPEG XL"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "PSD (Photoshop)"),
    (b"%PDF-", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\x00\x00\x01\x00", "an icon (ICO)"),
    (b"gimp xcf", "XCF (GIMP)"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"qoif", "QOI"),
)
_SVG = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml|<!--|<!DOCTYPE svg|<svg)", re.IGNORECASE)
_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|head)", re.IGNORECASE)
_CONVERT = "Convert it to JPEG or PNG, for example with ImageMagick: magick input output.png"


def describe_other_format(head: bytes) -> str:
    """Name the format of a file that is neither a JPEG, PNG or WebP nor a video, and the remedy.

    :param head: first :data:`HEAD_BYTES` of the file.
    :return: the rest of a sentence about the file; empty if the format is not one of these.
    """
    if _HTML.match(head):
        return "is a web page (HTML). Check that the source needs no login and is the file itself"
    name = _name_format(head)
    return f"is {name}, which BFL is not known to read. {_CONVERT}" if name else ""


def _name_format(head: bytes) -> str:
    if head[4:8] == b"ftyp":
        return _name_heif(head)
    if _SVG.match(head) and b"<svg" in head.lower():
        return "SVG"
    return next((name for signature, name in _SIGNATURES if head.startswith(signature)), "")


def _name_heif(head: bytes) -> str:
    """Return the name of an image with the boxes of an mp4; empty for a video.

    The box begins with its size. Its brands are texts of four bytes: the major one, a version, and
    those that the file is compatible with.
    """
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = [head[at : at + 4] for at in range(8, size, 4)]
    if head[8:12] == b"crx ":
        return "a raw photo (CR3)"
    if head[8:12] not in (*_AVIF_BRANDS, *_HEIC_BRANDS):
        return ""
    return "AVIF" if any(brand in _AVIF_BRANDS for brand in brands) else "HEIC"
