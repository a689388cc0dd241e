"""Texts for logs, without keys, signatures, passwords and image bytes.

Airflow writes messages to task logs, to its database and to the UI.
"""

from __future__ import annotations

import json
import re
from urllib.parse import quote

from airflow_provider_flux.bfl.urls import split_url

_REMOVED = "<long value removed>"
#: A whole URL up to the next space or quote, so that each character is looked at once. The slashes
#: may be escaped, as in JSON, and the scheme may be missing. A control character does not end it.
_URL = re.compile(r"(?i)(?:https?:|(?<![:/\\\w]))(?:\\*/){2}[^ \t\n'\"]+")
_ENCODED_URL = re.compile(r"(?i)https?%(?:25)*3a(?:%(?:25)*2f){2}[^ \t\n'\"&]+")
_USERINFO = re.compile(r"(?i)^((?:https?:)?(?:\\*/){2})[^\\/?#]*@")
_ENCODED_USERINFO = re.compile(
    r"(?i)^(https?%(?:25)*3a(?:%(?:25)*2f){2})(?:(?!%(?:25)*2f).)*%(?:25)*40"
)
_QUERY = re.compile(r"[?#]|\\u003f|\\u0023")
_ENCODED_QUERY = re.compile(r"(?i)%(?:25)*(?:3f|23)")
_USERINFO_OF_STORE = re.compile(r"://[^/\s@:]*:[^/\s]*@")
_SECRET_PATTERNS = (
    # Members of signed queries, wherever they are.
    (
        re.compile(
            r"(?i)\b(sig|signature|access_token|x-(?:amz|goog)-[a-z\-]{1,40})(=|%(?:25)*3d)"
            r"(?!<)[^ \t\n&'\"]+"
        ),
        r"\1\2***",
    ),
    (re.compile(r"bfl_[A-Za-z0-9_\-]+"), "bfl_***"),
    (
        re.compile(r"(?i)data:[^ \t\n'\",]{0,200}?;base64,[A-Za-z0-9+/=_%\\\-]*"),
        "<base64 data removed>",
    ),
)
#: Text that looks like base64. A URI is checked folder by folder, because a deep path is not a
#: secret.
_URI_OR_LONG = re.compile(r"[a-z][a-z0-9+.\-]{0,30}://[^\s'\"]*|[A-Za-z0-9+/=_\-]{80,}")
#: Longest name, and largest mean, in a local path. Base64 has a slash every 64 characters.
_MAX_NAME = 64
_MEAN_NAME = 24
_LONG_SEGMENT = re.compile(r"[A-Za-z0-9+=_\-]{80,}")
#: Characters that move the cursor of a terminal, start an escape sequence or turn the direction of
#: the text, and lone surrogates, which no file accepts. Line feeds and tabs are not among them.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def redact(text: str, *secrets: str | None) -> str:
    """Remove keys, passwords, signed queries, base64 and control characters from a text.

    :param text: a text that may quote the service, a URL or a parameter.
    :param secrets: further texts to remove, for example a webhook secret; ``None`` is ignored.
    :return: the text with a placeholder for each removed part. A control character is replaced by
        its escape, for example ``\\x1b``; line feeds and tabs stay.
    """
    for secret in secrets:
        for form in _written_forms(secret) if secret else ():
            text = text.replace(form, "***")
    text = _URL.sub(lambda match: _shorten(match[0], _USERINFO, _QUERY), text)
    text = _ENCODED_URL.sub(
        lambda match: _shorten(match[0], _ENCODED_USERINFO, _ENCODED_QUERY), text
    )
    text = hide_userinfo(text)
    for pattern, replacement in _SECRET_PATTERNS:
        text = pattern.sub(replacement, text)
    text = _URI_OR_LONG.sub(lambda match: _shorten_long(match[0]), text)
    return escape_control(text)


def escape_control(text: str) -> str:
    """Replace the control characters of a text by their escapes, for example for a terminal.

    :param text: a text from outside, for example of a stored record.
    :return: the text with escapes such as ``\\x1b``. Line feeds and tabs stay.
    """
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def redact_line(text: str, *secrets: str | None) -> str:
    """Redact a text of the service, and write it as one line.

    A line feed of the service could otherwise begin a line that looks like one of the task log.

    :param text: a text of the service.
    :param secrets: see :func:`redact`.
    """
    return " ".join(redact(text, *secrets).split())


def _shorten_long(text: str) -> str:
    """Return a URI without long parts, a local path as it is, and a placeholder for other texts."""
    if "://" in text:
        return _LONG_SEGMENT.sub(_REMOVED, text)
    lengths = [len(part) for part in text.split("/")]
    is_path = text.startswith("/") and not {"+", "="} & set(text)
    has_short_names = max(lengths) <= _MAX_NAME and len(text) <= _MEAN_NAME * len(lengths)
    return text if is_path and has_short_names else _REMOVED


def _written_forms(secret: str) -> list[str]:
    """Return a secret as it may be quoted: plain, in JSON, and in a URL. The longest is first."""
    in_json = json.dumps(secret)[1:-1]
    forms = {secret, in_json, in_json.replace("/", "\\/"), quote(secret, safe="")}
    return sorted(forms, key=len, reverse=True)


def _shorten(url: str, userinfo: re.Pattern[str], query: re.Pattern[str]) -> str:
    """Return a URL without its user and password, and without query and fragment."""
    url = userinfo.sub(r"\1***@", url)
    mark = query.search(url)
    return f"{url[: mark.end()]}<query removed>" if mark else url


def describe_url(url: str) -> str:
    """Return scheme, host and path of a URL. The signature of a signed URL is in its query.

    :param url: any text.
    :return: the shortened URL, or ``<not a URL>``.
    """
    parts = split_url(url)
    if parts is None:
        return "<not a URL>"
    return redact(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


def hide_userinfo(uri: str) -> str:
    """Replace user and password in front of the host of a URI by ``***``.

    :param uri: a URI of an object store. A connection id alone (``s3://my_conn@bucket``) stays.
    """
    return _USERINFO_OF_STORE.sub("://***@", uri)
