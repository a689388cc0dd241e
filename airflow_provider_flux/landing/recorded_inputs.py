"""Input files that the recorded summary of a request names, for lineage after a deferral."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow_provider_flux.configured_models import known_models

if TYPE_CHECKING:
    from airflow_provider_flux.landing.provenance import RequestSummary
    from airflow_provider_flux.observability.task_files import InputFiles


def add_recorded_inputs(files: InputFiles, request: RequestSummary) -> None:
    """Add the images and videos of a request that was submitted before a deferral.

    :param files: the files to add to.
    :param request: the summary of the request. The fields of an unknown model are not known.
    """
    model = known_models().get(request.model or "")
    for name in model.media_fields if model else ():
        for uri in _uris_in(request.parameters.get(name)):
            files.add(uri)


def _uris_in(value: Any) -> Iterator[str]:
    """Yield the location of each input in the summary of a field. Base64 has none."""
    if isinstance(value, list):
        for item in value:
            yield from _uris_in(item)
    uri = value.get("uri") if isinstance(value, dict) else None
    if isinstance(uri, str) and (uri.startswith("/") or "://" in uri):
        yield uri
