"""Copy an input into a file of the worker.

No more bytes are read than the field allows, and no private host unless the connection names it.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urljoin

import requests
from requests_hardened.ip_filter import InvalidIPAddress  # type: ignore[import-untyped]

from airflow_provider_flux.bfl import delivery
from airflow_provider_flux.bfl.catalog.model import MIB
from airflow_provider_flux.bfl.content_encoding import UndecodableBodyError, decode_body
from airflow_provider_flux.bfl.errors import (
    FluxError,
    FluxImageError,
    FluxInputError,
    FluxRequestError,
)
from airflow_provider_flux.bfl.redaction import describe_url
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.bfl.urls import host_of, matches_any
from airflow_provider_flux.client.debug_log import hide_signatures
from airflow_provider_flux.client.transport import read_chunks
from airflow_provider_flux.media.public_hosts import is_private_literal, make_adapter
from airflow_provider_flux.media.source import Source, SourceKind
from airflow_provider_flux.object_store.errors import describe_error
from airflow_provider_flux.object_store.filesystem import open_path

hide_signatures()

_CHUNK_BYTES = 256 * 1024
_MAX_REDIRECTS = 5


def fetch_input(
    source: Source, target: Path, *, max_bytes: int, label: str, settings: FluxSettings
) -> str:
    """Copy an input to ``target`` and return the SHA-256 of its bytes.

    :param source: the input.
    :param target: file to write.
    :param max_bytes: largest allowed size.
    :param label: field and source, with which error messages begin.
    :param settings: settings of the connection: proxy, timeouts and ``private_input_hosts``.
    :return: the SHA-256 in hexadecimal.
    :raises FluxInputError: if it is missing or cannot be read. A retry may help.
    :raises FluxRequestError: if it is larger than ``max_bytes``, or on a private address.
    :raises FluxConfigurationError: if its store cannot be used.
    """
    if source.kind is SourceKind.URL:
        return _write(_download(source.text, label, settings), target, max_bytes, label)
    if source.kind is SourceKind.BASE64:
        return _write(_decode(source, label), target, max_bytes, label)
    try:
        if source.kind is SourceKind.FILE:
            path = _find_file(source.text)
            if not path.is_file():  # a device or a pipe has no end
                raise FluxInputError(f"{label} is not a file of this worker.")
            _check_size(path.stat().st_size, max_bytes, label)
            shutil.copyfile(path, target)
        else:
            _copy_object(source.text, target, max_bytes, label)
        _check_size(target.stat().st_size, max_bytes, label)
        with target.open("rb") as file:  # missing, if the store took the path for a folder
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FluxError:
        raise
    except Exception as error:
        raise FluxInputError(f"{label} could not be read ({describe_error(error)}).") from None


def _find_file(text: str) -> Path:
    """Return the path of a file: the text itself, or unquoted like a URI if there is none."""
    path = Path(text)
    return path if "%" not in text or path.is_file() else Path(unquote(text))


def _copy_object(uri: str, target: Path, max_bytes: int, label: str) -> None:
    """Copy an object in one stream: ``open()`` would cache blocks of up to 50 MB in memory."""
    path = open_path(uri, field=label.partition(" ")[0])
    _check_size(path.stat().st_size, max_bytes, label)
    path.fs.get_file(path.path, str(target))


def _write(chunks: Iterable[bytes], target: Path, max_bytes: int, label: str) -> str:
    """Write the chunks to a file, and return the SHA-256 of their bytes."""
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as file:
        for chunk in chunks:
            size += len(chunk)
            _check_size(size, max_bytes, label)
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _decode(source: Source, label: str) -> Iterator[bytes]:
    """Decode base64 in chunks, so that memory never holds the whole input twice.

    Line breaks in it are ignored.
    """
    rest = ""
    try:
        for at in range(source.start, len(source.text), _CHUNK_BYTES):
            text = rest + "".join(source.text[at : at + _CHUNK_BYTES].split())
            split = (len(text) - 1) // 4 * 4  # only the end may be padded: keep it for last
            text, rest = text[:split], text[split:]
            if "=" in text:
                raise ValueError("padded in the middle")
            yield base64.b64decode(text, validate=True)
        yield base64.b64decode(rest, validate=True)
    except ValueError:
        raise FluxRequestError(f"{label} is not valid base64.") from None


def _download(url: str, label: str, settings: FluxSettings) -> Iterator[bytes]:
    """Read a URL. Each host it redirects to must be public, or in ``private_input_hosts``."""
    with requests.Session() as session:
        session.auth = lambda request: request  # no credentials of a .netrc file
        for _ in range(_MAX_REDIRECTS + 1):
            try:
                with closing(_get(session, url, label, settings)) as response:
                    location = response.headers.get("Location")
                    if response.is_redirect and location:
                        url = urljoin(url, location)
                        continue
                    _check_status(response, label)
                    yield from _read_body(response, label)
                    return
            except FluxError:
                raise
            except InvalidIPAddress:
                raise _private_error(label) from None
            except Exception as error:
                raise FluxInputError(
                    f"{label} could not be downloaded ({type(error).__name__})."
                ) from None
    raise FluxRequestError(f"{label} redirects more than {_MAX_REDIRECTS} times.")


def _read_body(response: requests.Response, label: str) -> Iterator[bytes]:
    """Yield the body. The caller limits its size, and nothing can expand on the way."""
    chunks = read_chunks(response, _CHUNK_BYTES)
    encoding = response.headers.get("Content-Encoding")
    if not encoding:
        yield from chunks
        return
    data = delivery.BodyBuffer(delivery.MAX_DECODED_BYTES)
    try:
        for chunk in chunks:
            data.add(chunk)
        yield decode_body(data.get(), encoding, max_bytes=delivery.MAX_DECODED_BYTES)
    except (UndecodableBodyError, FluxImageError):
        raise FluxRequestError(
            f"{label} arrives compressed (Content-Encoding {encoding[:40]!r}), and cannot be "
            f"decoded or has more than {delivery.MAX_DECODED_BYTES // MIB} MiB. Serve the file as "
            "it is."
        ) from None


def _private_error(label: str) -> FluxRequestError:
    return FluxRequestError(
        f"{label} is on a private address. To allow it, add its host to 'private_input_hosts' of "
        "the connection."
    )


def _get(
    session: requests.Session, url: str, label: str, settings: FluxSettings
) -> requests.Response:
    host = host_of(url)
    if host is None:
        raise FluxRequestError(
            f"{label} redirects to {describe_url(url)}, which is not an http(s) URL."
        )
    is_private = matches_any(host, settings.private_input_hosts)
    if not is_private and is_private_literal(host):
        raise _private_error(label)
    for scheme in ("http", "https"):
        adapter = make_adapter(scheme, settings.read_timeout, is_private=is_private)
        session.mount(f"{scheme}://", adapter)
    proxy = None if is_private else settings.proxy
    proxies = {"http": proxy, "https": proxy} if proxy else None
    return session.get(
        url,
        proxies=proxies,
        timeout=(settings.connect_timeout, settings.read_timeout),
        headers=delivery.HEADERS,
        allow_redirects=False,
        stream=True,
    )


def _check_status(response: requests.Response, label: str) -> None:
    if response.status_code != 200:
        raise FluxInputError(f"{label} could not be downloaded (HTTP {response.status_code}).")


def _check_size(size: int, max_bytes: int, label: str) -> None:
    if size > max_bytes:
        raise FluxRequestError(
            f"{label} is larger than the {max_bytes // MIB} MB that the service accepts."
        )
