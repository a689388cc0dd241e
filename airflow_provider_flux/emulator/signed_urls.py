"""Signed URLs of results, in the shape of an Azure shared access signature."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from urllib.parse import urlencode

_format_gmt = partial(format_datetime, usegmt=True)
_VERSION = "2024-11-04"
_SIGNED_PARAMETERS = ("se", "sp", "sv", "sr", "rsct")
#: A URL that lives for fewer seconds has milliseconds in ``se``: whole seconds are too coarse.
_MIN_LIFETIME_IN_WHOLE_SECONDS = 60.0


class UrlSigner:
    """Signs paths for a limited time, and checks the signatures of requests.

    :param secret: key of the signatures.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, path: str, *, content_type: str, now: float, lifetime: float) -> str:
        """Return a path with a signed query.

        :param path: the path to sign.
        :param content_type: the media type that the URL delivers.
        :param now: epoch seconds.
        :param lifetime: seconds after ``now`` at which the URL expires.
        """
        expiry = datetime.fromtimestamp(now + lifetime, UTC).replace(tzinfo=None)
        is_long = lifetime >= _MIN_LIFETIME_IN_WHOLE_SECONDS
        query = {
            "se": f"{expiry.isoformat(timespec='seconds' if is_long else 'milliseconds')}Z",
            "sp": "r",
            "sv": _VERSION,
            "sr": "b",
            "rsct": content_type,
        }
        return f"{path}?{urlencode(query | {'sig': self._signature(path, query)})}"

    def explain_refusal(self, path: str, query: Mapping[str, str], *, now: float) -> str | None:
        """Return why a URL is refused, or ``None`` if it is valid.

        :param path: path of the request.
        :param query: query of the request.
        :param now: epoch seconds.
        """
        expected = self._signature(path, query)
        if not hmac.compare_digest(expected.encode(), query.get("sig", "").encode()):
            return "Signature did not match."
        expiry = datetime.fromisoformat(query["se"])
        current = datetime.fromtimestamp(now, UTC)
        if current < expiry:
            return None
        return (
            "Signature not valid in the specified time frame: "
            f"Expiry [{_format_gmt(expiry)}] - Current [{_format_gmt(current)}]"
        )

    def _signature(self, path: str, query: Mapping[str, str]) -> str:
        text = "\n".join([path, *(query.get(name, "") for name in _SIGNED_PARAMETERS)])
        return base64.b64encode(hmac.digest(self._secret, text.encode(), hashlib.sha256)).decode()
