"""Files of a task: of many inputs only the folders are kept."""

from __future__ import annotations

from airflow_provider_flux.media.input_files import add_input_files
from airflow_provider_flux.observability.task_files import InputFiles


def test_inputs_are_listed_once_and_in_their_order() -> None:
    files = InputFiles()
    for uri in ("s3://b/2.png", "s3://b/1.png", "s3://b/2.png"):
        files.add(uri)
    assert files.uris() == ["s3://b/2.png", "s3://b/1.png"]


def test_of_more_than_a_hundred_inputs_the_folders_are_listed() -> None:
    files = InputFiles()
    for number in range(101):
        files.add(f"https://host.example/{number % 3}/{number}.png?sig=a/b")
    assert files.uris() == [f"https://host.example/{number}/" for number in range(3)]


def test_inputs_in_a_thousand_folders_take_little_memory() -> None:
    files = InputFiles()
    for number in range(1000):
        files.add(f"s3://b/{number}/in.png")
    assert len(files.uris()) == 100


def test_base64_and_unknown_parameters_are_no_input_files() -> None:
    files = InputFiles()
    parameters = {
        "input_image": "s3://conn@b/in.png",
        "input_image_2": "data:image/png;base64,iVBORw0KGgo=",
        "prompt": "/not/a/file.png",
        "input_image_3": "no source",
    }
    add_input_files(files, "flux-2-pro", parameters)
    add_input_files(files, "no-such-model", {"input_image": "s3://b/x.png"})
    add_input_files(files, "flux-2-pro", None)
    assert files.uris() == ["s3://conn@b/in.png"]
