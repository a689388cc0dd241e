"""The suffix of ``output_path`` chooses the format, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from PIL import Image

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.emulator import EmulatorServer
from tests.support.batch_tries import batch, quick
from tests.support.image_task import image_task, run_task

__all__ = ["quick"]

IMAGE_FORMATS = {"png": "PNG", "jpg": "JPEG", "JPEG": "JPEG", "webp": "WEBP"}


@pytest.mark.parametrize("suffix", IMAGE_FORMATS)
@pytest.mark.parametrize("name", ["hero.{}", "{{{{ x }}}}.{}", "hero{{{{ '.{}' }}}}"])
def test_a_result_has_the_format_that_the_suffix_names(
    emulator: EmulatorServer, tmp_path: Path, suffix: str, name: str
) -> None:
    """Fault 28: a JPEG landed under the name of a PNG."""
    task = image_task(f"{tmp_path}/{name.format(suffix)}")
    task.render_template_fields({"x": "hero"})
    generation = run_task(task)
    assert generation["image"]["uri"] == f"{tmp_path}/hero.{suffix}"
    with Image.open(tmp_path / f"hero.{suffix}") as image:
        assert image.format == IMAGE_FORMATS[suffix]


@pytest.mark.parametrize(
    "model", ["flux-2-pro", "flux-kontext-pro", "flux-pro-1.1-ultra", "flux-3-image-klein"]
)
@pytest.mark.parametrize("suffix", ["png", "jpeg"])
def test_other_models_are_asked_for_the_format_of_the_suffix(
    emulator: EmulatorServer, tmp_path: Path, model: str, suffix: str
) -> None:
    """Fault 28: the default of a model differs from that of another."""
    generation = run_task(image_task(f"{tmp_path}/hero.{suffix}", model=model))
    assert generation["image"]["content_type"] == f"image/{suffix}"


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        (
            "x.png",
            {"output_format": "jpeg"},
            r"ends in .png, but the result is a jpeg. Set output_format='png', or write .{ext}",
        ),
        (
            "x.jpg",
            {"parameters": {"output_format": "png"}},
            "ends in .jpg, but the result is a png",
        ),
        ("x.webp", {"output_format": "png"}, "Set output_format='webp'"),
        ("x.mp4", {}, "ends in .mp4, but flux-pro-1.1 generates images"),
        ("{{ ds }}.png", {"output_format": "jpeg"}, "the result is a jpeg"),
        (
            "x.jpg",
            {"model": "flux-3-image"},
            "ends in .jpg, but flux-3-image delivers png. Write .{ext}",
        ),
        ("x.tif", {}, "ends in .tif, but a result is a jpeg, png, webp or mp4"),
        ("x.json", {}, "ends in .json, but a result is a jpeg"),
        (
            "x.png",
            {"model": "flux-3-video", "parameters": {"mode": "t2v", "duration": 5}},
            "ends in .png, but flux-3-video generates videos",
        ),
    ],
)
def test_a_suffix_of_another_format_is_refused_at_parse(
    name: str, arguments: dict[str, Any], problem: str
) -> None:
    """Fault 28: it was found after the payment, as a warning."""
    with pytest.raises(FluxRequestError) as error:
        image_task(f"/data/{name}", **arguments)
    assert problem in error.value.message


@pytest.mark.parametrize("name", ["x.{ext}", "x", "x.v2", "{key}", "x.2026-11-29", ".png", "x."])
def test_a_path_whose_suffix_names_no_format_is_accepted(name: str) -> None:
    """Fault 28: run ids and versions have dots, too."""
    assert image_task(f"/data/{name}", output_format="png").output_format == "png"


def test_an_image_of_flux_3_lands_as_png(emulator: EmulatorServer, tmp_path: Path) -> None:
    """Fault 28: the route has no `output_format`, and delivers PNG."""
    generation = run_task(image_task(f"{tmp_path}/hero.png", model="flux-3-image"))
    assert generation["image"]["content_type"] == "image/png"


def test_a_rendered_suffix_of_another_format_is_refused_before_the_submit(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    """Fault 28: templates are checked when they are rendered."""
    task = image_task(f"{tmp_path}/{{{{ x }}}}", output_format="{{ y }}")
    task.render_template_fields({"x": "hero.png", "y": "jpeg"})
    with pytest.raises(AirflowFailException, match="the result is a jpeg"):
        run_task(task)
    assert emulator.stats()["submits"] == 0


def test_a_model_that_is_not_validated_may_land_under_any_suffix(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    """Fault 28: this version does not know what an unknown model delivers."""
    task = image_task(f"{tmp_path}/hero.png", output_format="jpeg", validate=False)
    assert run_task(task)["image"]["content_type"] == "image/jpeg"


@pytest.mark.usefixtures("quick")
class TestBatch:
    def test_rows_are_asked_for_the_format_of_the_suffix(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        """Fault 28: the suffix stands for all rows, whatever their model."""
        rows = ["a fox", {"prompt": "a hare", "model": "flux-2-pro"}]
        task = batch(tmp_path, rows, output_path=f"{tmp_path}/out/{{key}}.png")
        assert task.retry()["landed"] == 2
        assert {row["content_type"] for row in task.manifest()} == {"image/png"}

    @pytest.mark.parametrize(
        ("row", "name", "problem"),
        [
            ({"output_format": "jpeg"}, "{key}.png", "the result is a jpeg"),
            ({"key": "shoe.png"}, "{key}", "the result is a jpeg. Set output_format='png'"),
            ({"key": "shoe.mp4"}, "{key}", "flux-pro-1.1 generates images"),
            ({"key": "shoe.tif"}, "{key}", "ends in .tif"),
        ],
    )
    def test_a_row_whose_suffix_names_another_format_is_invalid(
        self,
        emulator: EmulatorServer,
        tmp_path: Path,
        row: dict[str, Any],
        name: str,
        problem: str,
    ) -> None:
        """Fault 28: each row has a name and a format of its own."""
        rows = [{"prompt": "a fox", **row}]
        task = batch(tmp_path, rows, output_path=f"{tmp_path}/out/{name}")
        assert problem in task.fail(AirflowFailException)
        assert emulator.stats()["submits"] == 0
