"""The EXIF orientation of an image, which viewers apply and stored pixels do not have."""

from __future__ import annotations

from PIL import ExifTags, Image


def read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an image, from 1 (upright) to 8.

    ``getexif`` would decode a PNG for it.

    :param image: the image, opened by Pillow.
    :return: 1 also for an image without EXIF data, or with damaged ones, which no viewer applies.
    """
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif") or b"")
        orientation = exif.get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF data raise many kinds
        return 1
    return orientation if orientation in range(1, 9) else 1
