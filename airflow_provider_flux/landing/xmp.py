"""Mark an image or a video as AI-generated, without a change to its pixels.

The mark is an XMP packet, for which every supported format has a place (XMP specification, part 3).
It is inserted between the existing parts, and nothing is encoded again. It does not hold the
prompt.
"""

from __future__ import annotations

import logging
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from html import escape
from itertools import takewhile

from airflow_provider_flux.landing.sidecar import DIGITAL_SOURCE_TYPE
from airflow_provider_flux.media.video import is_mp4

log = logging.getLogger(__name__)

_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/">
   <Iptc4xmpExt:DigitalSourceType>{source}</Iptc4xmpExt:DigitalSourceType>
   <xmp:CreatorTool>{tool}</xmp:CreatorTool>
   <dc:identifier>{identifier}</dc:identifier>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_JPEG_START = b"\xff\xd8"
_JPEG_PICTURE, _JPEG_FILL = 0xDA, 0xFF
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
#: Segments in which a long packet continues. Without its first segment they have no use.
_JPEG_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_JPEG_MAX_SEGMENT_BYTES = 0xFFFF
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_XMP = b"XML:com.adobe.xmp\0"
_WEBP_HAS_XMP, _WEBP_HAS_ALPHA = 0x04, 0x10
_WEBP_VP8_START = b"\x9d\x01\x2a"
_MP4_XMP = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")


def embed_xmp(data: bytes, format_name: str, *, model: str, request_id: str) -> bytes:
    """Return bytes with the mark; an existing XMP packet is replaced, not merged.

    :param data: a whole image or video.
    :param format_name: its format: ``jpeg``, ``png``, ``webp`` or ``mp4``.
    :param model: name of the model.
    :param request_id: id of the request.
    :return: the marked bytes. A file that cannot be marked is returned unchanged, with a warning,
        since BFL billed it.
    """
    result = f"The {format_name} result of request {request_id}"
    try:
        if format_name not in _MARKERS:
            raise ValueError("this format is not supported")
        marked = _MARKERS[format_name](data, _packet(model, request_id))
    except Exception as error:  # damaged bytes raise many kinds
        reason = error if isinstance(error, ValueError) else f"it is truncated or damaged ({error})"
        log.warning("%s is not marked as AI-generated: %s", result, reason)
        return data
    if b"jumb" in data and b"c2pa" in data:
        log.warning(
            "%s has C2PA Content Credentials, which are no longer valid: embed_metadata changed "
            "the file (assertion.dataHash.mismatch)",
            result,
        )
    return marked


def has_request_id(data: bytes, request_id: str) -> bool:
    """Whether an image has the mark of a request.

    :param data: an image that :func:`embed_xmp` may have marked.
    :param request_id: id of the request.
    """
    return f"<dc:identifier>{_xml(request_id)}</dc:identifier>".encode() in data


def _packet(model: str, request_id: str) -> bytes:
    values = {"source": DIGITAL_SOURCE_TYPE, "tool": f"FLUX {model}", "identifier": request_id}
    return _PACKET.format_map({name: _xml(value) for name, value in values.items()}).encode()


def _xml(text: str) -> str:
    """Return a text escaped for XML; a character that XML cannot represent becomes U+FFFD."""
    return escape(_NOT_IN_XML.sub("\ufffd", text), quote=False).replace("\r", "&#13;")


def _mark_jpeg(data: bytes, packet: bytes) -> bytes:
    """Insert the packet after the JFIF and Exif segments, which readers expect at the start."""
    size = 2 + len(_JPEG_XMP) + len(packet)
    if size > _JPEG_MAX_SEGMENT_BYTES:
        raise ValueError("the mark is too long")
    segments, picture = _jpeg_segments(data)
    kept = [
        segment
        for segment in segments
        if not (
            segment[:2] == b"\xff\xe1" and segment[4:].startswith((_JPEG_XMP, _JPEG_EXTENDED_XMP))
        )
    ]
    first = len(list(takewhile(_is_jpeg_head, kept)))
    ours = struct.pack(">2sH", b"\xff\xe1", size) + _JPEG_XMP + packet
    return b"".join([_JPEG_START, *kept[:first], ours, *kept[first:], picture])


def _is_jpeg_head(segment: bytes) -> bool:
    return segment[:2] == b"\xff\xe0" or (
        segment[:2] == b"\xff\xe1" and segment[4:10] == b"Exif\0\0"
    )


def _jpeg_segments(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the segments before the picture, and the rest from the picture on."""
    segments: list[bytes] = []
    at = len(_JPEG_START)
    while data.startswith(_JPEG_START) and data[at : at + 1] == b"\xff":
        kind, length = struct.unpack_from(">BH", data, at + 1)
        if kind == _JPEG_FILL:
            at += 1
            continue
        if kind == _JPEG_PICTURE:
            return segments, data[at:]
        has_no_length = kind < 0xC0 or 0xD0 <= kind <= 0xD9
        if has_no_length or length < 2:
            break
        segments.append(data[at : at + 2 + length])
        at += 2 + length
    raise ValueError("it does not have the structure of a JPEG")


def _mark_png(data: bytes, packet: bytes) -> bytes:
    """Insert the packet after the header, where readers that stop at the pixels find it."""
    if not data.startswith(_PNG_SIGNATURE):
        raise ValueError("it is not a PNG")
    kept, at, kind = [], len(_PNG_SIGNATURE), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        chunk = data[at : at + 12 + length]
        if len(chunk) < 12 + length or (at == len(_PNG_SIGNATURE) and kind != b"IHDR"):
            raise ValueError("it does not have the structure of a PNG")
        if not (kind == b"iTXt" and chunk[8:].startswith(_PNG_XMP)):
            kept.append(chunk)
        at += len(chunk)
    # The four zeros: not compressed (two), no language, no translated keyword.
    content = b"iTXt" + _PNG_XMP + bytes(4) + packet
    ours = struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
    return b"".join([_PNG_SIGNATURE, kept[0], ours, *kept[1:], data[at:]])


def _mark_webp(data: bytes, packet: bytes) -> bytes:
    """Append the packet and set its flag in the header, which a simple file gets first."""
    riff, size, webp = struct.unpack_from("<4sI4s", data)
    end = 8 + size
    if (riff, webp) != (b"RIFF", b"WEBP") or end > len(data):
        raise ValueError("it is not a whole WebP")
    chunks = [(kind, content) for kind, content in _webp_chunks(data[:end]) if kind != b"XMP "]
    if not chunks:
        raise ValueError("it is empty")
    if chunks[0][0] != b"VP8X":
        chunks.insert(0, (b"VP8X", _webp_header(*chunks[0])))
    header = chunks[0][1]
    chunks[0] = (b"VP8X", bytes([header[0] | _WEBP_HAS_XMP]) + header[1:])
    body = b"".join(
        struct.pack("<4sI", kind, len(content)) + content + bytes(len(content) % 2)
        for kind, content in [*chunks, (b"XMP ", packet)]
    )
    return struct.pack("<4sI4s", b"RIFF", 4 + len(body), b"WEBP") + body + data[end:]


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    while at < len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        content = data[at + 8 : at + 8 + length]
        if len(content) < length:
            raise ValueError("it does not have the structure of a WebP")
        yield kind, content
        at += 8 + length + length % 2


def _webp_header(kind: bytes, content: bytes) -> bytes:
    """Return a header for a simple file: its flags, and each side minus one in 24 bits."""
    if kind == b"VP8L" and content[:1] == b"\x2f":
        (bits,) = struct.unpack_from("<I", content, 1)
        flags = _WEBP_HAS_ALPHA if bits >> 28 & 1 else 0
        width, height = bits & 0x3FFF, bits >> 14 & 0x3FFF
    elif kind == b"VP8 " and content[3:6] == _WEBP_VP8_START:
        flags = 0
        width, height = ((side & 0x3FFF) - 1 for side in struct.unpack_from("<HH", content, 6))
    else:
        raise ValueError("it does not have the structure of a WebP")
    return struct.pack("<II", flags, width)[:7] + struct.pack("<I", height)[:3]


def _mark_mp4(data: bytes, packet: bytes) -> bytes:
    """Append the packet, so that no offset changes.

    An older packet that other boxes follow is overwritten with zeros.
    """
    marked = bytearray(data)
    for start, content, end in reversed(list(_mp4_boxes(data))):
        if data[start + 4 : start + 8] != b"uuid" or not data.startswith(_MP4_XMP, content, end):
            continue
        if end == len(marked):
            del marked[start:]
        else:
            marked[start + 4 : start + 8] = b"free"
            marked[content:end] = bytes(end - content)
    ours = _MP4_XMP + packet
    return bytes(marked) + struct.pack(">I4s", 8 + len(ours), b"uuid") + ours


def _mp4_boxes(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the offsets of each top-level box: its start, its content and its end."""
    if not is_mp4(data[:12]):
        raise ValueError("it is not an mp4 video")
    start = 0
    while start < len(data):
        (size,) = struct.unpack_from(">I", data, start)
        content = start + 8
        if size == 0:
            raise ValueError("its last box has no end before that of the file")
        if size == 1:
            (size,), content = struct.unpack_from(">Q", data, start + 8), start + 16
        if start + size < content or start + size > len(data):
            raise ValueError("it does not have the structure of an mp4 video")
        yield start, content, start + size
        start += size


_MARKERS: dict[str, Callable[[bytes, bytes], bytes]] = {
    "jpeg": _mark_jpeg,
    "png": _mark_png,
    "webp": _mark_webp,
    "mp4": _mark_mp4,
}
