"""The XMP mark: its position in each format, its content, and unchanged pixels."""

from __future__ import annotations

import io
import logging
import struct
import zlib
from functools import cache
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, JpegImagePlugin

from airflow_provider_flux.bfl.errors import FluxImageError
from airflow_provider_flux.landing.sidecar import DIGITAL_SOURCE_TYPE
from airflow_provider_flux.landing.xmp import embed_xmp
from airflow_provider_flux.media.image import inspect_image
from airflow_provider_flux.media.info import MediaInfo
from airflow_provider_flux.media.video import inspect_video
from tests.support.emulator_media import DecodedVideo, encode_image, quarters_image
from tests.support.sample_media import decode, make_video

MODEL, REQUEST = "flux-2-pro", "6f9619ff-8b86-d011-b42d-00cf4fc964ff"
SIZE = (97, 64)
OLD_XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><!-- what was there before --></x:xmpmeta>'
PACKET_BEGINS = b"<?xpacket begin="
XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0"
MORE_XMP_SEGMENT = b"http://ns.adobe.com/xmp/extension/\0"
XMP_UUID = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")
NAMES = {
    "source": "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType",
    "tool": "{http://ns.adobe.com/xap/1.0/}CreatorTool",
    "identifier": "{http://purl.org/dc/elements/1.1/}identifier",
}


def noise(mode: str = "RGB") -> Image.Image:
    bands = [Image.effect_noise(SIZE, 40 + 20 * number) for number in range(len(mode))]
    return Image.merge(mode, bands) if len(mode) > 1 else bands[0]


def animation(name: str) -> bytes:
    frames = [noise("RGBA") for _ in range(3)]
    return encode_image(frames[0], name, save_all=True, append_images=frames[1:], duration=40)


def exif_with_thumbnail() -> bytes:
    """Return Exif with a thumbnail: a JPEG with an end marker of its own in a segment."""
    small = encode_image(quarters_image((32, 24)), "JPEG")
    first = struct.pack(">H HHIHH I", 1, 0x0112, 3, 1, 1, 0, 8 + 18)
    second = struct.pack(
        ">H HHII HHII I", 2, 0x0201, 4, 1, 8 + 18 + 30, 0x0202, 4, 1, len(small), 0
    )
    return b"Exif\0\0MM\0\x2a\0\0\0\x08" + first + second + small


def segment(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, kind, 2 + len(content)) + content


def after_start(data: bytes, *segments: bytes) -> bytes:
    return data[:2] + b"".join(segments) + data[2:]


@cache
def images() -> dict[str, bytes]:
    """Return one image of each kind, by names that begin with their format."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif, plain, alpha = exif_with_thumbnail(), noise(), noise("RGBA")
    jpeg = encode_image(plain, "JPEG", quality=80)
    riff = encode_image(plain, "WEBP", quality=80)
    return {
        "jpeg": jpeg,
        "jpeg progressive": encode_image(plain, "JPEG", progressive=True),
        "jpeg grey": encode_image(noise("L"), "JPEG"),
        "jpeg CMYK": encode_image(noise("CMYK"), "JPEG"),
        "jpeg Exif, profile": encode_image(plain, "JPEG", exif=exif, icc_profile=profile),
        "jpeg Exif, XMP": encode_image(plain, "JPEG", exif=exif, xmp=OLD_XMP),
        "jpeg XMP first, in two": after_start(
            jpeg,
            segment(0xE1, XMP_SEGMENT + OLD_XMP),
            segment(0xE1, MORE_XMP_SEGMENT + OLD_XMP),
            segment(0xE1, exif),
        ),
        "jpeg fill bytes": after_start(jpeg, b"\xff\xff\xff" + segment(0xFE, b"a comment")[1:]),
        "jpeg more after its end": jpeg + b"\xff\xe1 and more",
        "png": encode_image(plain),
        "png alpha": encode_image(alpha),
        "png palette": encode_image(plain.quantize(16), transparency=3),
        "png profile": encode_image(plain, icc_profile=profile),
        "png XMP": with_png_chunk(
            encode_image(plain), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + OLD_XMP
        ),
        "png other text": with_png_chunk(encode_image(plain), b"iTXt", b"Comment\0\0\0\0\0hello"),
        "png animated": animation("PNG"),
        "png more after its end": encode_image(plain) + b"and more",
        "webp lossy": riff,
        "webp lossless": encode_image(plain, "WEBP", lossless=True),
        "webp lossy, alpha": encode_image(alpha, "WEBP", quality=80),
        "webp lossless, alpha": encode_image(alpha, "WEBP", lossless=True),
        "webp profile, Exif": encode_image(plain, "WEBP", icc_profile=profile, exif=exif),
        "webp XMP": encode_image(plain, "WEBP", xmp=OLD_XMP, lossless=True),
        "webp XMP, Exif": encode_image(alpha, "WEBP", xmp=OLD_XMP + b" ", exif=exif),
        "webp animated": animation("WEBP"),
        "webp more after its end": riff + b"and more",
    }


def with_png_chunk(data: bytes, kind: bytes, content: bytes) -> bytes:
    """Return a PNG with a chunk before its last one."""
    chunk = (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )
    return data[:-12] + chunk + data[-12:]


def box(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I4s", len(content) + 8, kind) + content


def large_box(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I4sQ", 1, kind, len(content) + 16) + content


@cache
def videos() -> dict[str, bytes]:
    plain = make_video(0.5, index_first=False)
    old = XMP_UUID + OLD_XMP
    return {
        "index at the end": plain,
        "index first": make_video(0.5, index_first=True),
        "old XMP at the end": plain + box(b"uuid", old),
        "old XMP, large": plain + large_box(b"uuid", old),
        "old XMP before others": plain
        + box(b"uuid", old)
        + large_box(b"uuid", old)
        + box(b"skip", b"x"),
        "old XMP twice at the end": plain + box(b"uuid", old) + box(b"uuid", old),
        "another uuid": plain + box(b"uuid", bytes(16) + b"stays"),
    }


IMAGES = sorted(images())
VIDEOS = sorted(videos())
every_image = pytest.mark.parametrize("name", IMAGES)
every_video = pytest.mark.parametrize("name", VIDEOS)


def file_of(name: str) -> tuple[bytes, str]:
    """Return an image or a video, and its format."""
    return (videos()[name], "mp4") if name in VIDEOS else (images()[name], name.split()[0])


def embed_mark(
    data: bytes, format_name: str, model: str = MODEL, request_id: str = REQUEST
) -> bytes:
    return embed_xmp(data, format_name, model=model, request_id=request_id)


def inspect_whole(data: bytes, format_name: str) -> MediaInfo:
    if format_name == "mp4":
        return inspect_video(data)
    decode(data)
    return inspect_image(data)


def pixels(data: bytes) -> list[tuple[str, bytes]]:
    """Return every frame, decoded."""
    with Image.open(io.BytesIO(data)) as image:
        frames = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            frames.append((image.mode, image.tobytes()))
        return frames


def packet_of(data: bytes) -> bytes:
    """Return the XMP packet as Pillow reads it: before 11, a PNG's has no name of its own."""
    with Image.open(io.BytesIO(data)) as image:
        found = image.info.get("xmp") or image.info["XML:com.adobe.xmp"]
    return found if isinstance(found, bytes) else found.encode()


def video_packet_of(data: bytes) -> bytes:
    at = data.rindex(b"uuid" + XMP_UUID)
    assert at - 4 + struct.unpack(">I", data[at - 4 : at])[0] == len(data)
    return data[at + 20 :]


def values(packet: bytes) -> dict[str, str | None]:
    root = ElementTree.fromstring(packet)  # noqa: S314 - ours
    return {name: root.find(f".//{tag}").text for name, tag in NAMES.items()}  # type: ignore[union-attr]


EXPECTED = {"source": DIGITAL_SOURCE_TYPE, "tool": f"FLUX {MODEL}", "identifier": REQUEST}


@every_image
def test_a_marked_image_names_its_model_and_keeps_its_pixels(name: str) -> None:
    data, format_name = file_of(name)
    after = embed_mark(data, format_name)
    assert values(packet_of(after)) == EXPECTED
    assert pixels(after) == pixels(data)
    before, now = inspect_whole(data, format_name), inspect_whole(after, format_name)
    assert (now.format, now.width, now.height) == (before.format, before.width, before.height)


@every_image
def test_a_marked_image_keeps_its_other_metadata(name: str) -> None:
    data, format_name = file_of(name)
    kept = (
        "exif",
        "icc_profile",
        "Comment",
        "comment",
        "transparency",
        "duration",
        "loop",
        "jfif",
        "adobe",
    )
    with (
        Image.open(io.BytesIO(data)) as before,
        Image.open(io.BytesIO(embed_mark(data, format_name))) as after,
    ):
        before.load(), after.load()
        assert {key: after.info.get(key) for key in kept} == {
            key: before.info.get(key) for key in kept
        }
        assert after.getexif() == before.getexif()


@every_video
def test_a_marked_video_names_its_model_and_keeps_its_frames(name: str) -> None:
    data, _ = file_of(name)
    after = embed_mark(data, "mp4")
    assert values(video_packet_of(after)) == EXPECTED
    before, now = DecodedVideo(data), DecodedVideo(after)
    assert [frame.tobytes() for frame in now.frames] == [frame.tobytes() for frame in before.frames]
    assert (now.times, now.seconds) == (before.times, before.seconds)
    assert len(now.frames) == 4
    first, second = inspect_whole(data, "mp4"), inspect_whole(after, "mp4")
    assert (second.width, second.height, second.seconds) == (
        first.width,
        first.height,
        first.seconds,
    )


@pytest.mark.parametrize("name", IMAGES + VIDEOS)
def test_a_second_xmp_mark_replaces_the_first(name: str) -> None:
    data, format_name = file_of(name)
    once = embed_mark(data, format_name, "flux-dev", "the first one")
    twice = embed_mark(once, format_name)
    assert once.count(PACKET_BEGINS) == twice.count(PACKET_BEGINS) == 1
    assert b"what was there before" not in once
    assert b"the first one" not in twice
    assert twice == embed_mark(data, format_name)


@pytest.mark.parametrize("name", IMAGES + VIDEOS)
def test_an_xmp_mark_is_written_without_a_warning(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    data, format_name = file_of(name)
    assert embed_mark(data, format_name) != data
    assert not caplog.records


def jpeg_order(data: bytes) -> list[bytes]:
    with Image.open(io.BytesIO(data)) as image:
        assert isinstance(image, JpegImagePlugin.JpegImageFile)
        return [name.encode() + b" " + content[:4] for name, content in image.applist]


def test_a_marked_jpeg_keeps_its_jfif_and_exif_segments_first() -> None:
    order = jpeg_order(embed_mark(images()["jpeg Exif, profile"], "jpeg"))
    assert order == [b"APP0 JFIF", b"APP1 Exif", b"APP1 http", b"APP2 ICC_"]
    assert jpeg_order(embed_mark(images()["jpeg XMP first, in two"], "jpeg"))[:2] == [
        b"APP1 Exif",
        b"APP0 JFIF",
    ]


def test_a_marked_png_has_its_mark_right_after_the_header() -> None:
    after = embed_mark(images()["png"], "png")
    assert after[33 + 4 : 33 + 8 + 22] == b"iTXtXML:com.adobe.xmp\0\0\0\0\0"
    assert after[:33] == images()["png"][:33]


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("webp lossy", 0x04),
        ("webp lossless", 0x04),
        ("webp lossy, alpha", 0x14),
        ("webp lossless, alpha", 0x14),
        ("webp profile, Exif", 0x2C),
        ("webp animated", 0x16),
    ],
)
def test_a_marked_webp_has_the_xmp_flag_in_its_header(name: str, flags: int) -> None:
    after = embed_mark(images()[name], "webp")
    assert struct.unpack_from("<4sI4s4sI", after) == (b"RIFF", len(after) - 8, b"WEBP", b"VP8X", 10)
    assert after[20] == flags
    assert (
        int.from_bytes(after[24:27], "little") + 1,
        int.from_bytes(after[27:30], "little") + 1,
    ) == SIZE
    assert len(after) % 2 == 0


def test_a_thumbnail_in_the_exif_is_not_taken_for_the_picture() -> None:
    after = embed_mark(images()["jpeg Exif, profile"], "jpeg")
    with Image.open(io.BytesIO(after)) as image:
        at, length = (image.getexif().get_ifd(ExifTags.IFD.IFD1)[tag] for tag in (0x0201, 0x0202))
        thumbnail = image.info["exif"][6 + at :][:length]
    assert inspect_whole(thumbnail, "jpeg").width == 32
    assert after.index(thumbnail) < after.index(XMP_SEGMENT)


def test_both_kinds_of_simple_webp_are_among_the_samples() -> None:
    assert [images()[name][12:16] for name in ("webp lossy", "webp lossless")] == [b"VP8 ", b"VP8L"]
    assert images()["webp lossless, alpha"][12:16] == b"VP8L"


def test_a_marked_video_keeps_all_its_offsets() -> None:
    for name in ("index at the end", "index first", "another uuid"):
        assert embed_mark(videos()[name], "mp4").startswith(videos()[name])


HARD = st.text() | st.text(st.characters(codec=None, exclude_categories=()))
SAMPLES = ["jpeg", "png", "webp lossy", "webp lossless, alpha", "index at the end"]


@pytest.mark.parametrize("name", SAMPLES)
@settings(max_examples=50, deadline=None)
@given(model=HARD, request_id=HARD)
@example(
    model="</xmp:CreatorTool> & <!-- ]]> {source}",
    request_id="\"'\r\n\t\0\x1f\ufffe\ud800 é \U0001f600",
)
def test_a_mark_with_any_text_is_well_formed_xml(name: str, model: str, request_id: str) -> None:
    data, format_name = file_of(name)
    after = embed_mark(data, format_name, model, request_id)
    found = values(video_packet_of(after) if format_name == "mp4" else packet_of(after))
    assert found["source"] == DIGITAL_SOURCE_TYPE
    for text, sent in ((found["tool"], f"FLUX {model}"), (found["identifier"] or "", request_id)):
        assert text is not None
        assert len(text) == len(sent)
        assert all(one in (other, "\ufffd") for one, other in zip(text, sent, strict=True))


def test_a_mark_keeps_every_character_that_xml_can_represent() -> None:
    text = "<a href='x'>&amp;\r\n\t{tool} é \U0001f600</a> "
    assert values(packet_of(embed_mark(images()["png"], "png", text, text))) == {
        "source": DIGITAL_SOURCE_TYPE,
        "tool": f"FLUX {text}",
        "identifier": text,
    }


def refuse(
    data: bytes, format_name: str, reason: str, caplog: pytest.LogCaptureFixture, **facts: str
) -> None:
    caplog.clear()
    assert embed_mark(data, format_name, **facts) is data
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert reason in record.getMessage()
    assert REQUEST in record.getMessage()


@pytest.mark.parametrize("format_name", ["gif", "mpo", "JPEG", "", "avif"])
def test_a_file_of_an_unknown_format_is_not_marked(
    format_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(images()["jpeg"], format_name, "this format is not supported", caplog)


@pytest.mark.parametrize("format_name", ["jpeg", "png", "webp", "mp4"])
def test_bytes_of_another_format_are_not_marked(
    format_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    others = [file_of(name)[0] for name in SAMPLES if file_of(name)[1] != format_name]
    for data in [b"", b"\0", bytes(100), b"\xff" * 100, *others]:
        refuse(data, format_name, "is not marked", caplog)


@pytest.mark.parametrize(
    ("format_name", "data"),
    [
        ("jpeg", b"\xff\xd8\xff\xd9"),  # no picture
        ("jpeg", b"\xff\xd8\xff\xe0\0\0\xff\xda\0\2"),  # a segment shorter than its own length
        ("jpeg", b"\xff\xd8\xff\xd0\0\2\xff\xda\0\2"),  # a restart before the picture
        ("jpeg", b"\xff\xd8\xff\xe0\xff\0\xff\xda\0\2"),  # a segment longer than the file
        ("png", encode_image(noise())[:8] + encode_image(noise())[33:]),  # no header
        ("png", encode_image(noise())[:-12]),  # no end
        ("webp", b"RIFF\x04\0\0\0WEBP"),  # nothing in it
        ("webp", b"RIFF\x0c\0\0\0WEBPJUNK\0\0\0\0"),  # no picture
        ("webp", b"RIFF\x10\0\0\0WEBPVP8X\xff\0\0\0abcd"),  # a chunk longer than the file
        ("mp4", box(b"ftyp", b"isom") + struct.pack(">I4s", 100, b"mdat")),
        ("mp4", box(b"ftyp", b"isom") + struct.pack(">I4s", 7, b"mdat")),
        ("mp4", box(b"ftyp", b"isom") + struct.pack(">I4sQ", 1, b"mdat", 15)),
        ("mp4", box(b"ftyp", b"isom") + b"\0\0\0"),
    ],
)
def test_a_file_with_a_wrong_structure_is_not_marked(
    format_name: str, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    refuse(data, format_name, "is not marked", caplog)


def test_a_video_whose_last_box_has_no_end_is_not_marked(caplog: pytest.LogCaptureFixture) -> None:
    data = make_video(0.5, index_first=True)
    at = data.index(b"mdat") - 4
    data = data[:at] + bytes(4) + data[at + 4 :]
    assert len(DecodedVideo(data).frames) == 4
    refuse(data, "mp4", "its last box has no end", caplog)


def test_a_mark_that_is_too_long_for_a_jpeg_is_not_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refuse(images()["jpeg"], "jpeg", "too long", caplog, model="x" * 65_000)
    assert b"x" * 64_000 in embed_mark(images()["jpeg"], "jpeg", model="x" * 64_000)


def bit_flips(data: bytes) -> st.SearchStrategy[bytes]:
    """Draw bytes with changes, mostly in the structure near the start, sometimes truncated."""
    offsets = st.integers(0, min(len(data), 256) - 1) | st.integers(0, len(data) - 1)
    changes = st.dictionaries(
        offsets, st.integers(0, 255) | st.sampled_from([0, 1, 0xFF]), max_size=6
    )

    def change(at: dict[int, int], length: int) -> bytes:
        changed = bytearray(data)
        for offset, value in at.items():
            changed[offset] = value
        return bytes(changed[:length])

    return st.builds(change, changes, st.just(len(data)) | st.integers(0, len(data)))


def still_shows(before: bytes, after: bytes, format_name: str) -> bool:
    """Whether a file that was readable before is readable now, with the same pixels."""
    try:
        was = inspect_whole(before, format_name)
    except (FluxImageError, OSError):
        return True
    now = inspect_whole(after, format_name)
    same = (now.format, now.width, now.height) == (was.format, was.width, was.height)
    return same and (format_name == "mp4" or pixels(after) == pixels(before))


@pytest.mark.parametrize(
    "name", [name for name in IMAGES if "animated" not in name] + ["index first", "old XMP, large"]
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # what Pillow says of damaged Exif
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_file_is_marked_or_returned_unchanged_without_an_exception(
    name: str, draw: st.DataObject
) -> None:
    data, format_name = file_of(name)
    damaged = draw.draw(bit_flips(data))
    after = embed_mark(damaged, format_name)
    assert after == damaged or after.count(PACKET_BEGINS) == 1
    assert still_shows(damaged, after, format_name)


@pytest.mark.parametrize("format_name", ["jpeg", "png", "webp", "mp4"])
@settings(deadline=None)
@given(rest=st.binary(max_size=200))
def test_marking_arbitrary_bytes_raises_no_exception(format_name: str, rest: bytes) -> None:
    starts = {
        "jpeg": b"\xff\xd8\xff",
        "png": b"\x89PNG\r\n\x1a\n",
        "webp": b"RIFF\x10\0\0\0WEBP",
        "mp4": b"\0\0\0\x08ftyp",
    }
    for data in (rest, starts[format_name] + rest):
        after = embed_mark(data, format_name)
        assert after == data or after.count(PACKET_BEGINS) == 1


def c2pa_box() -> bytes:
    return box(b"jumb", box(b"jumd", b"c2pa\0\x11\0\x10\x80\0\0\xaa\0\x38\x9b\x71\x03c2pa\0"))


def test_marking_a_file_with_content_credentials_logs_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cases = {
        "jpeg": after_start(images()["jpeg"], segment(0xEB, b"JP\0\x01\0\0\0\x01" + c2pa_box())),
        "png": with_png_chunk(images()["png"], b"caBX", c2pa_box()),
        "mp4": make_video(0.5)
        + box(b"uuid", bytes.fromhex("D8FEC3D61B0E483C92975828877EC481") + c2pa_box()),
    }
    for format_name, data in cases.items():
        caplog.clear()
        after = embed_mark(data, format_name)
        assert c2pa_box() in after
        assert after.count(PACKET_BEGINS) == 1
        [record] = caplog.records
        assert record.levelno == logging.WARNING
        assert "assertion.dataHash.mismatch" in record.getMessage()
        assert "C2PA" in record.getMessage()


def test_a_file_that_is_not_marked_keeps_valid_content_credentials(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refuse(c2pa_box(), "jpeg", "is not marked", caplog)
    refuse(c2pa_box(), "gif", "not supported", caplog)
