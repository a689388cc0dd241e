"""Prepare a request for its submit: read its inputs into files, and check them."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from airflow_provider_flux.bfl.catalog import MediaField, MediaKind
from airflow_provider_flux.bfl.inputs import MediaFile, map_inputs
from airflow_provider_flux.bfl.request import GenerationRequest
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.bfl.urls import host_of, matches_any
from airflow_provider_flux.media.fetch import fetch_input
from airflow_provider_flux.media.probe import probe_input
from airflow_provider_flux.media.source import Source, SourceKind, parse_source

log = logging.getLogger(__name__)


@contextmanager
def prepare_inputs(
    request: GenerationRequest, settings: FluxSettings
) -> Iterator[GenerationRequest]:
    """Yield the request with its inputs in files, which are removed at the end.

    A URL is passed through if the service can fetch it: the field takes URLs, and the host is not
    in ``private_input_hosts``. A request without inputs, or whose inputs are files already, is
    yielded unchanged.

    :param request: the request.
    :param settings: settings of the connection: proxy, timeouts and ``private_input_hosts``.
    :raises FluxRequestError: if an input is of the wrong kind, or breaks a limit.
    :raises FluxInputError: if an input is missing or cannot be read. A retry may help.
    """
    inputs = {
        name: value for name in request.media_fields if (value := request.parameters.get(name))
    }
    if not inputs or request.is_prepared:
        yield request
        return
    with tempfile.TemporaryDirectory(prefix="flux-inputs-", ignore_cleanup_errors=True) as folder:
        names = (Path(folder) / str(number) for number in count())
        readers = {
            name: partial(_read, request.media_fields[name], names, settings) for name in inputs
        }
        yield request.with_inputs(
            {name: map_inputs(value, readers[name]) for name, value in inputs.items()}
        )


def _read(spec: MediaField, names: Iterator[Path], settings: FluxSettings, value: Any) -> Any:
    if isinstance(value, MediaFile):
        return value
    source = parse_source(value, name=spec.name, kind=spec.kind)
    if source.kind is SourceKind.URL and spec.takes_url and not _is_private(source, settings):
        return source.text
    path = next(names)
    label = f"{spec.name} ({source})"
    sha256 = fetch_input(source, path, max_bytes=spec.max_bytes, label=label, settings=settings)
    facts = probe_input(path, _kind_of(source, spec.kind), label)
    file = MediaFile(
        source=str(source),
        media_type=facts.media_type,
        size=path.stat().st_size,
        sha256=sha256,
        open=partial(_open, path),
        width=facts.width,
        height=facts.height,
        seconds=facts.seconds,
        orientation=facts.orientation,
    )
    log.info("%s: %s", spec.name, file)
    return file


def _kind_of(source: Source, kind: MediaKind) -> MediaKind:
    """Return the kind of an input.

    In a field that is not known, base64 and ``.bin`` files are not checked, as a draft cache is
    not: their kind cannot be determined.
    """
    is_unchecked = source.kind is SourceKind.BASE64 or source.text.lower().endswith(".bin")
    return MediaKind.DRAFT if kind is MediaKind.FILE and is_unchecked else kind


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _is_private(source: Source, settings: FluxSettings) -> bool:
    host = host_of(source.text)
    return host is not None and matches_any(host, settings.private_input_hosts)
