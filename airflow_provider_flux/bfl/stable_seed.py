"""Seeds that follow from a request, so that the same picture comes again."""

from __future__ import annotations

import hashlib
import json
from typing import Any

#: Seeds have 31 bits, which every model and every database takes.
_MAX_SEED = 2**31 - 1


def reroll_seed(seed: int | None, number: int, fingerprint: str) -> int:
    """Return the seed of another attempt at a picture. The same arguments give the same seed.

    :param seed: seed of the first attempt; ``None`` if BFL drew it.
    :param number: number of the attempt, from 1.
    :param fingerprint: fingerprint of the request.
    :return: a number from 0 to 2,147,483,647, which is not ``seed``.
    """
    rerolled = _hash(["reroll", seed, number, fingerprint])
    return rerolled if rerolled != seed else (rerolled + 1) & _MAX_SEED


def _hash(value: Any) -> int:
    canonical = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str
    )
    digest = hashlib.sha256(canonical.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:4]) & _MAX_SEED
