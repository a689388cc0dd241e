"""Open an image within limits, and judge what is on it: blank, too small, of another shape."""

from __future__ import annotations

import io
import warnings

from PIL import Image, ImageStat

from airflow_provider_flux.checks.check import Check

#: Pixels of the largest image that is decoded. BFL's largest have 4 million.
MAX_PIXELS = 64_000_000
_FORMATS = ("JPEG", "PNG", "WEBP")
#: Pixels of each side of the copy on which blank images are found.
_COPY_SIDE = 64
#: An image is flat if no colour channel deviates more from its mean: levels of 255.
FLAT_DEVIATION = 2.0
#: An image is black if no part of it is brighter: level of 255.
BLACK_LEVEL = 16
#: Share by which the ratio of the sides may differ: models round sides to multiples of 16 or 32.
RATIO_TOLERANCE = 0.02


class PictureError(Exception):
    """The bytes are no image that may be decoded."""


def open_picture(data: bytes, *, smallest: int | None = None) -> Image.Image:
    """Decode an image to RGB.

    :param data: a whole image.
    :param smallest: pixels that each side needs at least, so that a JPEG may be decoded to a
        smaller copy, which takes an eighth of the time; ``None`` decodes all pixels.
    :raises PictureError: if it is no JPEG, PNG or WebP, or has too many pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=_FORMATS)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise PictureError(
                f"The image has {width} x {height} pixels, more than {MAX_PIXELS:,}."
            )
        if smallest is not None:
            image.draft("RGB", (smallest, smallest))
        return image.convert("RGB")
    except PictureError:
        raise
    except Exception as error:
        raise PictureError(f"The image cannot be decoded ({type(error).__name__}).") from None


def find_blank(image: Image.Image) -> str | None:
    """Return why an image shows nothing; ``None`` if it shows something.

    :param image: an RGB image.
    """
    copy = image.resize((_COPY_SIDE, _COPY_SIDE), Image.Resampling.BOX)
    brightest = copy.convert("L").getextrema()[1]
    if isinstance(brightest, (int, float)) and brightest < BLACK_LEVEL:
        return "The image is black."
    if max(ImageStat.Stat(copy).stddev) < FLAT_DEVIATION:
        return "The image is flat: it has one colour."
    return None


def find_size_problem(check: Check, size: tuple[int, int]) -> str | None:
    """Return how the size of an image breaks a check; ``None`` if it does not.

    :param check: a check of kind ``min_size`` or ``ratio``.
    :param size: width and height of the image.
    """
    (width, height), (first, second) = size, check.numbers
    if check.kind == "min_size":
        if width >= first and height >= second:
            return None
        return f"The image has {width} x {height} pixels, fewer than {first} x {second}."
    expected = first / second
    if abs(width / height - expected) <= RATIO_TOLERANCE * expected:
        return None
    return (
        f"The image has {width} x {height} pixels, a ratio of {width / height:.3f}. "
        f"{first}:{second} is {expected:.3f}."
    )
