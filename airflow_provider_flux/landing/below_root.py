"""Decide whether a URI that a stranger may have written stays below a folder.

Whoever may write to the bucket of a ledger can plant a record, a journal, an index entry or a
sidecar. A URI in one of these is data: it counts only below the folder that a trusted source names.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.bfl.redaction import escape_control, hide_userinfo
from airflow_provider_flux.landing.output_path import check_output_path, has_jinja
from airflow_provider_flux.landing.suffixes import format_of_name
from airflow_provider_flux.media.info import MediaInfo

_LOCAL_PREFIX = re.compile(r"(?:file|local)://(?=/)")
#: Characters that a store, or a later reader, may take for another name.
_AMBIGUOUS = re.compile(r"[\x00-\x1f\x7f-\x9f\\]|\?versionId=")
#: A name in UTF-8 cannot have it: a request to the store would fail.
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_MAX_DECODINGS = 4
_MAX_SHOWN_CHARACTERS = 200


def is_below(uri: str, root: str) -> bool:
    """Whether a URI names an object below a folder, in the same store and by the same connection.

    :param uri: any text.
    :param root: the folder, with a slash at its end. Nothing is below an empty one.
    """
    return find_escape(uri, root) is None


def is_spelled_below(uri: str, root: str) -> bool:
    """Whether a URI names an object below a folder, if no link on the disk leads out of it.

    It reads no disk, so that it suits many URIs. What opens one of them asks :func:`is_below`.

    :param uri: any text.
    :param root: the folder, with a slash at its end. Nothing is below an empty one.
    """
    return find_escape(uri, root, follows_links=False) is None


def find_escape(uri: str, root: str, *, follows_links: bool = True) -> str | None:
    """Return how a URI leaves a folder; ``None`` if it stays below it.

    :param uri: any text.
    :param root: the folder, with a slash at its end. Nothing is below an empty one.
    :param follows_links: whether links on the disk count, ``True`` by default.
    :return: the end of a sentence about the URI.
    """
    uri, root = _LOCAL_PREFIX.sub("", uri), _LOCAL_PREFIX.sub("", root)
    decoded = _decode(uri)
    if _AMBIGUOUS.search(decoded):
        return "holds a character or an escape that stores read as another name"
    if {"..", "."} & set(decoded.split("/")):
        return "holds a folder '.' or '..'"
    is_local = root.startswith("/")
    if not is_local and _HALF_CHARACTER.search(uri):
        return "holds half a character, which no name in a store can have"
    if follows_links and is_local and uri.startswith("/"):
        # Also for links: a link below the folder may lead out of it, and the folder may be one.
        stays = _resolves_below(uri, root)
    else:
        stays = bool(root) and uri.startswith(root)
    if stays and uri.rstrip("/") != root.rstrip("/"):
        return None
    return f"is not below {hide_userinfo(root)}" if root else "may be anywhere"


def _decode(uri: str) -> str:
    """Return a URI without percent-encoding, also if it was encoded several times."""
    for _ in range(_MAX_DECODINGS):
        uri = unquote(uri)
    return uri


def _resolves_below(path: str, root: str) -> bool:
    try:
        return Path(path).resolve().is_relative_to(Path(root).resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name that is too long
        return False


def describe_uri(uri: str) -> str:
    """Return a URI from a record for a message: short, without secrets and escape sequences.

    :param uri: any text.
    """
    shown = escape_control(hide_userinfo(uri)).replace("\n", "\\n")
    return repr(shown[:_MAX_SHOWN_CHARACTERS])


class LandingGuard:
    """The limits of a landing whose target a stranger may have written.

    :param root: the folder below which the image may land, with a slash at its end.
    """

    def __init__(self, root: str) -> None:
        self._root = root

    def check_path(self, path: str) -> None:
        """Check the ``output_path`` of a record as that of an operator, and that it stays below.

        :param path: the path with its placeholders.
        :raises FluxRequestError: if it is no valid ``output_path``.
        :raises FluxStorageError: if it is a template, or leaves the folder.
        """
        check_output_path(path)
        if has_jinja(path):
            raise FluxStorageError(
                f"The output_path {describe_uri(path)} of its record is a template. "
                "Set --output-path."
            )
        self.check_below(path)

    def check_landing(self, uri: str, info: MediaInfo) -> None:
        """Check the name that an image gets, now that its format is known.

        :param uri: URI of the image.
        :param info: format of the image.
        :raises FluxStorageError: if the name leaves the folder, or has the suffix of something
            else.
        """
        self.check_below(uri)
        if "." in uri.rpartition("/")[2] and format_of_name(uri) != info.format:
            raise FluxStorageError(
                f"By its record, the image of format {info.format} would land as "
                f"{describe_uri(uri)}, which has another suffix. Set --output-path."
            )

    def check_below(self, uri: str) -> None:
        """Check that a name stays below the folder.

        :param uri: URI of an image, or of a file beside it.
        :raises FluxStorageError: if it leaves the folder.
        """
        if problem := find_escape(uri, self._root):
            raise FluxStorageError(
                f"The output_path {describe_uri(uri)} of its record {problem}. A record may not "
                "choose another place. Set --output-path, or begin --prefix as output_path does."
            )
