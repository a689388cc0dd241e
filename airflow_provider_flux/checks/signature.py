"""The signature of an image: equal for copies that were resized or compressed again.

It has a perceptual hash of 64 bits, by which candidates are found, and 8 x 8 colours, by which
they are confirmed. A hash alone takes two products before the same white wall for one picture.
"""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass
from functools import cache

from PIL import Image

#: Bits in which the hashes of two copies may differ.
MAX_DISTANCE = 8
#: Levels of 255 by which the colours of two copies may differ: on average, and at one place.
MAX_MEAN_DIFFERENCE = 4.0
MAX_DIFFERENCE = 24
#: Sides of the copy whose frequencies are hashed, of the frequencies, and of the colours.
_COPY_SIDE = 32
_HASH_SIDE = 8
_COLOUR_SIDE = 8
_COLOUR_BYTES = 3 * _COLOUR_SIDE * _COLOUR_SIDE
_HASH_BYTES = _HASH_SIDE * _HASH_SIDE // 8
#: Amplitude of a frequency below which compression may change its sign, so that it counts as 0.
_MIN_AMPLITUDE = 3.0


@dataclass(frozen=True)
class ImageSignature:
    """The signature of an image.

    :param hash: one bit for each of 64 low frequencies of its brightness.
    :param colours: red, green and blue of 8 x 8 parts of it.
    """

    hash: int
    colours: bytes

    def encode(self) -> str:
        """Return the signature as text, for a journal."""
        return base64.b64encode(self.hash.to_bytes(_HASH_BYTES) + self.colours).decode()

    @classmethod
    def decode(cls, text: str | None) -> ImageSignature | None:
        """Return the signature of a text of :meth:`encode`; ``None`` if it is anything else.

        :param text: text from a journal, which a stranger may have written.
        """
        try:
            data = base64.b64decode(text or "", validate=True)
        except (binascii.Error, ValueError):
            return None
        if len(data) != _HASH_BYTES + _COLOUR_BYTES:
            return None
        return cls(int.from_bytes(data[:_HASH_BYTES]), data[_HASH_BYTES:])

    def distance(self, other_hash: int) -> int:
        """Return the number of bits in which another hash differs.

        :param other_hash: the hash of another image.
        """
        return (self.hash ^ other_hash).bit_count()

    def is_copy_of(self, other: ImageSignature) -> bool:
        """Whether two images look the same.

        :param other: signature of another image.
        """
        if self.distance(other.hash) > MAX_DISTANCE:
            return False
        differences = [abs(a - b) for a, b in zip(self.colours, other.colours, strict=True)]
        mean = sum(differences) / len(differences)
        return mean <= MAX_MEAN_DIFFERENCE and max(differences) <= MAX_DIFFERENCE


def sign(image: Image.Image) -> ImageSignature:
    """Return the signature of an image.

    :param image: an RGB image of any size.
    """
    copy = image.resize((_COPY_SIDE, _COPY_SIDE), Image.Resampling.BOX)
    colours = copy.resize((_COLOUR_SIDE, _COLOUR_SIDE), Image.Resampling.BOX).tobytes()
    levels = copy.convert("L").tobytes()
    rows = [
        _lowest_frequencies(levels[start : start + _COPY_SIDE])
        for start in range(0, len(levels), _COPY_SIDE)
    ]
    amplitudes = [
        amplitude for column in zip(*rows, strict=True) for amplitude in _lowest_frequencies(column)
    ]
    bits = 0
    for amplitude in amplitudes[1:]:  # the first is the mean brightness
        bits = bits << 1 | (amplitude > _MIN_AMPLITUDE)
    return ImageSignature(bits, colours)


def _lowest_frequencies(values: bytes | tuple[float, ...]) -> tuple[float, ...]:
    """Return the lowest frequencies of a row, by the discrete cosine transform (DCT-II)."""
    return tuple(
        sum(value * factor for value, factor in zip(values, wave, strict=True)) for wave in _waves()
    )


@cache
def _waves() -> tuple[tuple[float, ...], ...]:
    """Return the cosine waves of the transform, with a norm of 1."""
    return tuple(
        tuple(
            math.sqrt((2 if frequency else 1) / _COPY_SIDE)
            * math.cos(math.pi * (2 * position + 1) * frequency / (2 * _COPY_SIDE))
            for position in range(_COPY_SIDE)
        )
        for frequency in range(_HASH_SIDE)
    )
