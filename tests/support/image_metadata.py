"""Metadata of an image as other programs read it: Pillow, and exiftool if it is installed."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from typing import Any
from xml.etree import ElementTree

from PIL import ExifTags, Image

#: Programs that read metadata. None of them shares code with the package.
READERS = ("pillow", "exiftool") if shutil.which("exiftool") else ("pillow",)
_XMP_SOURCE = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
_XMP_TOOL = "{http://ns.adobe.com/xap/1.0/}CreatorTool"


def read_metadata(data: bytes, reader: str) -> dict[str, Any]:
    """Return what a program reads: ``source``, ``tool``, ``software``, ``orientation``, ``icc``.

    A member is ``None`` if the image does not have it. ``icc`` is the name of the color profile.
    """
    return _read_by_exiftool(data) if reader == "exiftool" else _read_by_pillow(data)


def _read_by_pillow(data: bytes) -> dict[str, Any]:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
        exif = image.getexif()
        profile = image.info.get("icc_profile")
    values: dict[str, Any] = dict.fromkeys(("source", "tool"))
    if packet:
        text = packet.decode() if isinstance(packet, bytes) else packet
        packet = text[text.index("<x:xmpmeta") : text.index("<?xpacket end")]
        tree = ElementTree.fromstring(packet)  # noqa: S314 - written by the package under test
        values = {
            "source": tree.findtext(f".//{_XMP_SOURCE}"),
            "tool": tree.findtext(f".//{_XMP_TOOL}"),
        }
    values["software"] = exif.get(ExifTags.Base.Software)
    values["orientation"] = exif.get(ExifTags.Base.Orientation)
    values["icc"] = _name_of_profile(profile) if profile else None
    return values


def _name_of_profile(profile: bytes) -> str:
    from PIL import ImageCms

    return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip()


def _read_by_exiftool(data: bytes) -> dict[str, Any]:
    command = ["exiftool", "-json", "-n", "-G0", "-warning", "-error", "-all", "-"]
    answer = subprocess.run(command, input=data, capture_output=True, check=True)
    (found,) = json.loads(answer.stdout)
    problems = {name for name in found if name in {"ExifTool:Warning", "ExifTool:Error"}}
    assert not problems, found
    return {
        "source": found.get("XMP:DigitalSourceType"),
        "tool": found.get("XMP:CreatorTool"),
        "software": found.get("EXIF:Software"),
        "orientation": found.get("EXIF:Orientation"),
        "icc": found.get("ICC_Profile:ProfileDescription"),
    }
