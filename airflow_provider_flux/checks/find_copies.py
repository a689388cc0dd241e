"""Find the earlier image that another one looks like, among all images of a batch."""

from __future__ import annotations

from array import array
from collections.abc import Callable

from airflow_provider_flux.checks.signature import MAX_DISTANCE, ImageSignature


class SignatureIndex:
    """The hashes of the images of a batch: 64 bits each in memory, whatever their number.

    :param load: returns the whole signature of a row that was added; ``None`` if it is gone.
    """

    def __init__(self, load: Callable[[int], ImageSignature | None]) -> None:
        self._load = load
        self._hashes = array("Q")
        self._rows = array("L")

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, row: int, signature: ImageSignature) -> None:
        """Add the image of a row.

        :param row: index of the row in the input.
        :param signature: the signature of its image.
        """
        self._hashes.append(signature.hash)
        self._rows.append(row)

    def find_copy(self, row: int, signature: ImageSignature) -> int | None:
        """Return the row whose image looks the same; ``None`` if there is none.

        :param row: index of the row, whose own image does not count.
        :param signature: the signature of its image.
        """
        wanted = signature.hash
        for position, other in enumerate(self._hashes):
            if (wanted ^ other).bit_count() > MAX_DISTANCE or self._rows[position] == row:
                continue
            stored = self._load(self._rows[position])
            if stored is not None and signature.is_copy_of(stored):
                return self._rows[position]
        return None
