"""Signed URLs of results in the shape of an Azure shared access signature."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from urllib.parse import urlencode

_gmt = partial(format_datetime, usegmt=True)
_VERSION = "2024-11-04"
_SIGNED = ("se", "sp", "sv", "sr", "rsct")
#: Below this many seconds of life, whole seconds would be too coarse for ``se``.
_COARSE = 60.0


class LinkSigner:
    """Sign paths for a while, and check what comes back.

    :param secret: key of the signatures.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, path: str, *, content_type: str, now: float, lifetime: float) -> str:
        """Return ``path`` with a signed query that expires ``lifetime`` seconds after ``now``."""
        expiry = datetime.fromtimestamp(now + lifetime, UTC).replace(tzinfo=None)
        precision = "seconds" if lifetime >= _COARSE else "milliseconds"
        query = {
            "se": f"{expiry.isoformat(timespec=precision)}Z",
            "sp": "r",
            "sv": _VERSION,
            "sr": "b",
            "rsct": content_type,
        }
        return f"{path}?{urlencode(query | {'sig': self._signature(path, query)})}"

    def refusal(self, path: str, query: Mapping[str, str], *, now: float) -> str | None:
        """Return why a link is refused, or ``None`` if it is good."""
        expected = self._signature(path, query)
        if not hmac.compare_digest(expected.encode(), query.get("sig", "").encode()):
            return "Signature did not match."
        expiry = datetime.fromisoformat(query["se"])
        current = datetime.fromtimestamp(now, UTC)
        if current >= expiry:
            return f"Signature not valid in the specified time frame: Expiry [{_gmt(expiry)}] - Current [{_gmt(current)}]"
        return None

    def _signature(self, path: str, query: Mapping[str, str]) -> str:
        text = "\n".join([path, *(query.get(name, "") for name in _SIGNED)])
        return base64.b64encode(hmac.digest(self._secret, text.encode(), hashlib.sha256)).decode()
