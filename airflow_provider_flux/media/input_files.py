"""Input files that the parameters of a request name, for lineage. Nothing is opened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.inputs import map_inputs
from airflow_provider_flux.configured_models import known_models
from airflow_provider_flux.media.source import SourceKind, parse_source
from airflow_provider_flux.observability.task_files import InputFiles


def add_input_files(files: InputFiles, model: Any, parameters: Any) -> None:
    """Add the images and videos of a request.

    :param files: the files to add to.
    :param model: model of the request. The fields of an unknown model are not known.
    :param parameters: rendered parameters of the request.
    """
    entry = known_models().get(model) if isinstance(model, str) else None
    if entry is not None and isinstance(parameters, Mapping):
        add_files_of(files, entry, parameters)


def add_files_of(files: InputFiles, model: Model, parameters: Mapping[str, Any]) -> None:
    """Add the images and videos of a request whose model is known.

    :param files: the files to add to.
    :param model: model of the request.
    :param parameters: parameters of the request.
    """

    def add(value: Any) -> None:
        try:
            source = parse_source(value, name="input")
        except FluxRequestError:  # the operator reports it
            return
        if source.kind is not SourceKind.BASE64:
            files.add(source.text.strip())

    for name in model.media_fields:
        if value := parameters.get(name):
            map_inputs(value, add)
