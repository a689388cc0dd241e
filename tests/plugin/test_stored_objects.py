"""Objects that the gallery opens for a browser."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from airflow_provider_flux.landing.rendition_options import RenditionOptions
from airflow_provider_flux.landing.renditions import make_marked
from airflow_provider_flux.plugin.stored_objects import open_thumb


def write_thumb(folder: Path, file_format: str, request_id: str) -> str:
    """Write the thumbnail of an image, and return its path."""
    image = io.BytesIO()
    Image.new("RGB", (64, 64), "navy").save(image, "JPEG")
    options = RenditionOptions.model_validate({"width": 32, "format": file_format})
    data, _ = make_marked(image.getvalue(), options, model="flux-2-pro", request_id=request_id)
    path = folder / f"thumb.{file_format}"
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize("file_format", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("request_id", ["6f1c-22", "<&>"])
def test_a_thumbnail_is_that_of_its_own_request_alone(
    tmp_path: Path, file_format: str, request_id: str
) -> None:
    uri = write_thumb(tmp_path, file_format, request_id)
    own = open_thumb(uri, request_id)
    assert own is not None
    assert own.content_type == f"image/{file_format}"
    assert open_thumb(uri, None) is not None
    assert open_thumb(uri, "6f1c-2") is None


def test_a_thumbnail_that_is_gone_or_no_image_is_none(tmp_path: Path) -> None:
    (tmp_path / "page.webp").write_text("<script>alert(1)</script>")
    assert open_thumb(f"{tmp_path}/page.webp", "x") is None
    assert open_thumb(f"{tmp_path}/gone.webp", "x") is None
