"""Inputs measured as they are displayed, and files that are no JPEG, PNG or WebP."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from airflow_provider_flux.bfl.catalog import MediaKind
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.request import build_request
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.media.prepare import prepare_inputs
from airflow_provider_flux.media.probe import probe_input
from tests.support.memory_use import MAX_GROWTH_MIB, measure
from tests.support.sample_media import make_image, make_video


def write_turned(path: Path, orientation: int, kind: str = "jpeg") -> str:
    """Write an image of 400x300 stored pixels with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (400, 300), "red").save(path, kind, exif=exif)
    return str(path)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_measured_as_it_is_displayed(
    tmp_path: Path, orientation: int, kind: str
) -> None:
    """Fault 30: orientations 5 to 8 exchange the sides."""
    path = Path(write_turned(tmp_path / "a", orientation, kind))
    facts = probe_input(path, MediaKind.IMAGE, "image")
    assert (facts.width, facts.height) == ((300, 400) if orientation >= 5 else (400, 300))
    assert facts.orientation == orientation


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_ignored(tmp_path: Path, orientation: int) -> None:
    path = Path(write_turned(tmp_path / "a", orientation))
    facts = probe_input(path, MediaKind.IMAGE, "image")
    assert (facts.width, facts.height, facts.orientation) == (400, 300, 1)


def prepare(image: str, mask: str) -> tuple[str, ...]:
    """Prepare an inpainting, and return its warnings."""
    request = build_request("flux-pro-1.0-fill", {"prompt": "x", "image": image, "mask": mask})
    with prepare_inputs(request, FluxSettings("bfl_x")) as prepared:
        return prepared.warnings


@pytest.mark.parametrize("size", [(300, 400), (400, 300)])
def test_a_mask_may_have_the_displayed_or_the_stored_size_of_its_image(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    """Fault 30: a mask drawn as displayed was refused."""
    image = write_turned(tmp_path / "photo.jpg", 6)
    (tmp_path / "mask.png").write_bytes(make_image("png", size))
    (warning,) = prepare(image, str(tmp_path / "mask.png"))
    assert "has EXIF orientation 6: it is displayed as 300x400 and stored as 400x300" in warning
    assert "magick input.jpg -auto-orient output.jpg" in warning


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    image = write_turned(tmp_path / "photo.jpg", 6)
    (tmp_path / "mask.png").write_bytes(make_image("png", (300, 300)))
    with pytest.raises(FluxRequestError, match="Mask must have the size of image"):
        prepare(image, str(tmp_path / "mask.png"))


def test_an_upright_image_has_no_warning(tmp_path: Path) -> None:
    image = write_turned(tmp_path / "photo.jpg", 1)
    (tmp_path / "mask.png").write_bytes(make_image("png", (400, 300)))
    assert prepare(image, str(tmp_path / "mask.png")) == ()


def _heif(*brands: bytes) -> bytes:
    content = b"ftyp" + brands[0] + bytes(4) + b"".join(brands[1:])
    return (len(content) + 4).to_bytes(4, "big") + content + bytes(64)


def _avif() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "AVIF")
    return file.getvalue()


OTHER_FORMATS: dict[str, tuple[bytes, str]] = {
    "iphone.heic": (_heif(b"heic", b"mif1", b"heic"), "is HEIC"),
    "samsung.heif": (_heif(b"mif1", b"mif1", b"heic"), "is HEIC"),
    "a.avif": (_heif(b"avif", b"mif1"), "is AVIF"),
    "mif1.avif": (_heif(b"mif1", b"avif", b"mif1"), "is AVIF"),
    "a.cr3": (_heif(b"crx ", b"isom"), "is a raw photo (CR3)"),
    "a.jxl": (b"\xff\x0a" + bytes(30), "is JPEG XL"),
    "boxes.jxl": (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "is JPEG XL"),
    "a.jp2": (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "is JPEG 2000"),
    "a.psd": (b"8BPS\x00\x01" + bytes(30), "is PSD (Photoshop)"),
    "a.pdf": (b"%PDF-1.7\n%", "is PDF"),
    "a.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "is SVG"),
    "xml.svg": (b'\xef\xbb\xbf<?xml version="1.0"?>\n<svg/>', "is SVG"),
    "login.jpg": (b"<!DOCTYPE html><title>Log in</title>", "is a web page (HTML)"),
}


@pytest.mark.parametrize("kind", [MediaKind.IMAGE, MediaKind.MASK, MediaKind.FILE, MediaKind.VIDEO])
@pytest.mark.parametrize("name", OTHER_FORMATS)
def test_a_file_of_another_format_is_named_with_the_way_out(
    tmp_path: Path, name: str, kind: MediaKind
) -> None:
    """Fault 30: HEIC and AVIF were called no image, or a damaged video."""
    data, message = OTHER_FORMATS[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FluxRequestError) as caught:
        probe_input(tmp_path / name, kind, f"image ({name})")
    assert f"image ({name}) {message}" in str(caught.value)
    assert ("magick input output.png" in str(caught.value)) == (name != "login.jpg")


def test_an_avif_that_pillow_can_read_is_refused_too(tmp_path: Path) -> None:
    """Fault 30: whether it is sent does not depend on the version of Pillow."""
    pytest.importorskip("PIL._avif")
    (tmp_path / "a").write_bytes(_avif())
    with pytest.raises(FluxRequestError, match="is AVIF"):
        probe_input(tmp_path / "a", MediaKind.IMAGE, "image")


def test_a_video_is_still_a_video(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(make_video())
    assert probe_input(tmp_path / "a.mp4", MediaKind.VIDEO, "video").media_type == "video/mp4"


def test_no_header_of_an_input_fills_the_memory(tmp_path: Path) -> None:
    """Fault 9: an image that claims many pixels, or has large texts, is not decoded."""
    texts = PngInfo()
    for number in range(60):
        texts.add_text(f"text{number}", "x" * 1_000_000, zip=True)
    Image.new("1", (30000, 5000)).save(tmp_path / "a", "png")
    Image.new("1", (8, 8)).save(tmp_path / "b", "png", pnginfo=texts)
    run = measure(_probe_all, str(tmp_path))
    assert run.outcome == ["image/png 30000x5000", "image/png 8x8"]
    assert run.grown_mib < MAX_GROWTH_MIB


def _probe_all(folder: str) -> list[str]:
    results = [
        probe_input(path, MediaKind.IMAGE, "image") for path in sorted(Path(folder).iterdir())
    ]
    return [f"{facts.media_type} {facts.width}x{facts.height}" for facts in results]
