"""Input files of a recorded request."""

from __future__ import annotations

from airflow_provider_flux.landing.provenance import RequestSummary
from airflow_provider_flux.landing.recorded_inputs import add_recorded_inputs
from airflow_provider_flux.observability.task_files import InputFiles


def recorded(**parameters: object) -> list[str]:
    files = InputFiles()
    add_recorded_inputs(files, RequestSummary(model="flux-2-pro", parameters=parameters))
    return files.uris()


def test_a_recorded_request_names_its_files_and_not_its_base64() -> None:
    assert recorded(
        input_image={"uri": "s3://conn@b/1.png", "sha256": "x"},
        input_image_2=[{"uri": "https://host.example/2.png"}, 5],
        input_image_3={"uri": "base64"},
        seed={"uri": "/no/input"},
    ) == ["s3://conn@b/1.png", "https://host.example/2.png"]


def test_a_record_without_a_known_model_names_no_files() -> None:
    files = InputFiles()
    add_recorded_inputs(files, RequestSummary(parameters={"input_image": {"uri": "/x.png"}}))
    assert files.uris() == []
