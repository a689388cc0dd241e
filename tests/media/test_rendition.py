"""Renditions of images: size, fit, colors, orientation and metadata."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageOps

from airflow_provider_flux.media.rendition import RenditionError, make_rendition
from airflow_provider_flux.media.rendition_shape import RenditionShape
from tests.support.image_metadata import READERS, read_metadata

FORMATS = ("jpeg", "png", "webp")
#: Largest difference of a channel of a flat color after a lossy format.
TOLERANCE = 12


def encode(image: Image.Image, image_format: str = "jpeg", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def quarters(size: tuple[int, int] = (640, 480)) -> Image.Image:
    """Return an image with red, green, blue and white quarters, which shows every turn."""
    image = Image.new("RGB", size, "white")
    half = (size[0] // 2, size[1] // 2)
    image.paste((255, 0, 0), (0, 0, *half))
    image.paste((0, 255, 0), (half[0], 0, size[0], half[1]))
    image.paste((0, 0, 255), (0, half[1], half[0], size[1]))
    return image


def render(data: bytes, **members: Any) -> Image.Image:
    image = Image.open(io.BytesIO(make_rendition(data, RenditionShape(**members))))
    image.load()
    return image


def corners(image: Image.Image) -> list[Any]:
    """Return the pixels in the middle of each quarter."""
    width, height = image.size
    points = [(x, y) for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)]
    return [image.convert("RGB").getpixel(point) for point in points]


def is_close(one: Any, other: Any) -> bool:
    return all(abs(a - b) <= TOLERANCE for a, b in zip(one, other, strict=True))


class TestSize:
    @pytest.mark.parametrize(
        ("members", "size"),
        [
            ({"width": 320}, (320, 240)),
            ({"height": 120}, (160, 120)),
            ({"width": 100, "height": 100}, (100, 75)),
            ({"width": 2000}, (640, 480)),
            ({"width": 1, "height": 1}, (1, 1)),
            ({"width": 100, "height": 100, "fit": "crop"}, (100, 100)),
            ({"width": 1000, "height": 200, "fit": "crop"}, (1000, 200)),
            ({"width": 100, "height": 100, "fit": "pad"}, (100, 100)),
            ({"width": 1200, "height": 1200, "fit": "pad"}, (1200, 1200)),
        ],
    )
    @pytest.mark.parametrize("image_format", FORMATS)
    def test_a_rendition_has_the_size_that_its_fit_gives(
        self, image_format: str, members: dict[str, Any], size: tuple[int, int]
    ) -> None:
        assert render(encode(quarters(), image_format), **members).size == size

    @given(
        sides=st.tuples(st.integers(1, 700), st.integers(1, 700)),
        width=st.none() | st.integers(1, 900),
        height=st.none() | st.integers(1, 900),
        fit=st.sampled_from(["contain", "crop", "pad"]),
        image_format=st.sampled_from(FORMATS),
    )
    @settings(max_examples=30, deadline=None)
    def test_no_size_of_an_image_and_a_rendition_is_refused(
        self,
        sides: tuple[int, int],
        width: int | None,
        height: int | None,
        fit: str,
        image_format: str,
    ) -> None:
        if width is None and height is None:
            width = 320
        if fit != "contain":
            width, height = width or 320, height or 320
        shape = {"width": width, "height": height, "fit": fit}
        image = render(encode(Image.new("RGB", sides, "teal"), image_format), **shape)
        if fit != "contain":
            assert image.size == (width, height)
            return
        assert image.width <= min(width or 900, sides[0])
        assert image.height <= min(height or 900, sides[1])
        assert image.width == width or image.height == height or image.size == sides

    def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size(self) -> None:
        # 64 megapixels, as the largest result has. Whole, they would be refused.
        large = encode(Image.new("RGB", (8192, 8192), "navy"), quality=30)
        image = render(large, width=320, format="png")
        assert image.size == (320, 320)
        assert is_close(image.getpixel((9, 9)), (0, 0, 128))
        with pytest.raises(RenditionError, match="more than 16777216 pixels"):
            render(large, width=8000, height=2000, fit="crop")

    def test_a_large_png_is_refused_before_it_is_decoded(self) -> None:
        with pytest.raises(RenditionError, match="more than 16777216 pixels"):
            render(encode(Image.new("1", (5000, 5000)), "png"), width=320)


class TestFit:
    def test_crop_keeps_the_middle(self) -> None:
        image = Image.new("RGB", (900, 300), "white")
        image.paste((200, 0, 0), (300, 0, 600, 300))
        cropped = render(encode(image, "png"), width=100, height=100, fit="crop")
        assert all(is_close(color, (200, 8, 8)) for _, color in cropped.getcolors() or [])
        assert cropped.getcolors()

    @pytest.mark.parametrize(
        ("members", "color"),
        [
            ({}, (255, 255, 255)),
            ({"background": "black"}, (0, 0, 0)),
            ({"background": "#102030"}, (16, 32, 48)),
        ],
    )
    def test_pad_fills_the_rest_with_the_background(
        self, members: dict[str, Any], color: tuple[int, int, int]
    ) -> None:
        image = Image.new("RGB", (400, 200), (0, 120, 0))
        padded = render(encode(image, "png"), width=200, height=200, fit="pad", **members)
        assert padded.getpixel((100, 10)) == padded.getpixel((100, 190)) == color
        assert padded.getpixel((100, 100)) == (0, 120, 0)
        assert padded.getpixel((100, 51)) == (0, 120, 0)

    def test_pad_with_a_transparent_background_is_transparent(self) -> None:
        data = encode(Image.new("RGB", (400, 200), "navy"))
        padded = render(
            data, width=200, height=200, fit="pad", background="transparent", format="png"
        )
        assert padded.mode == "RGBA"
        assert padded.getpixel((100, 10))[3] == 0
        assert padded.getpixel((100, 100))[3] == 255

    def test_pad_of_a_jpeg_that_stays_one_is_white_where_transparent_is_asked_for(self) -> None:
        data = encode(Image.new("RGB", (400, 200), "navy"))
        padded = render(data, width=200, height=200, fit="pad", background="transparent")
        assert padded.format == "JPEG"
        assert is_close(padded.getpixel((100, 10)), (255, 255, 255))


class TestTransparency:
    @pytest.mark.parametrize("kind", ["RGBA", "LA", "P"])
    def test_a_png_keeps_its_transparent_pixels(self, kind: str) -> None:
        image = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
        image.paste((90, 90, 90, 255), (0, 0, 200, 100))
        rendition = render(encode(image.convert(kind), "png"), width=100)
        assert rendition.convert("RGBA").getpixel((50, 90))[3] == 0
        assert is_close(rendition.convert("RGBA").getpixel((50, 10)), (90, 90, 90, 255))

    def test_a_jpeg_of_a_transparent_png_is_white_behind_it(self) -> None:
        image = Image.new("RGBA", (200, 200), (255, 0, 0, 0))
        rendition = render(encode(image, "png"), width=100, format="jpeg")
        assert is_close(rendition.getpixel((50, 50)), (255, 255, 255))

    def test_a_background_replaces_transparent_pixels(self) -> None:
        image = Image.new("RGBA", (200, 200), (255, 0, 0, 0))
        rendition = render(encode(image, "png"), width=100, background="#0000ff")
        assert rendition.convert("RGB").getpixel((50, 50)) == (0, 0, 255)


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("image_format", FORMATS)
    @pytest.mark.parametrize(
        "members",
        [
            {"width": 160},
            {"width": 80, "height": 200, "fit": "crop"},
            {"width": 200, "height": 200, "fit": "pad"},
        ],
        ids=["contain", "crop", "pad"],
    )
    def test_a_turned_image_is_upright_in_its_rendition(
        self, members: dict[str, Any], image_format: str, orientation: int
    ) -> None:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        turned = encode(quarters(), image_format, exif=exif.tobytes())
        upright = encode(ImageOps.exif_transpose(Image.open(io.BytesIO(turned))), "png")
        rendition = render(turned, format="png", **members)
        expected = render(upright, format="png", **members)
        assert rendition.size == expected.size
        assert all(map(is_close, corners(rendition), corners(expected)))
        assert rendition.getexif().get(ExifTags.Base.Orientation) is None

    def test_damaged_exif_data_are_ignored(self) -> None:
        data = encode(quarters(), exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff")
        assert render(data, width=64).size == (64, 48)


class TestMetadata:
    @pytest.mark.parametrize("reader", READERS)
    @pytest.mark.parametrize("image_format", FORMATS)
    @pytest.mark.parametrize("rendition_format", FORMATS)
    def test_the_color_profile_survives(
        self, rendition_format: str, image_format: str, reader: str
    ) -> None:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        data = encode(quarters(), image_format, icc_profile=profile)
        made = make_rendition(data, RenditionShape(width=64, format=rendition_format))
        assert read_metadata(made, reader)["icc"] == read_metadata(data, reader)["icc"]
        with Image.open(io.BytesIO(made)) as image:
            assert image.info["icc_profile"] == profile

    def test_the_profile_of_a_gray_image_is_not_that_of_a_color_image(self) -> None:
        profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
        profile[16:20] = b"GRAY"
        data = encode(Image.new("L", (64, 64), 90), "png", icc_profile=bytes(profile))
        assert "icc_profile" in render(data, width=32).info
        assert "icc_profile" not in render(data, width=32, format="webp").info

    @pytest.mark.parametrize("reader", READERS)
    @pytest.mark.parametrize("rendition_format", FORMATS)
    def test_the_name_of_the_model_survives_and_the_prompt_does_not(
        self, rendition_format: str, reader: str
    ) -> None:
        exif = Image.Exif()
        exif[ExifTags.Base.Software] = "AI generated;txt2img;flux"
        exif[ExifTags.Base.ImageDescription] = "a secret prompt"
        data = encode(quarters(), exif=exif.tobytes(), comment=b"a secret prompt")
        made = make_rendition(data, RenditionShape(width=64, format=rendition_format))
        assert read_metadata(made, reader)["software"] == "AI generated;txt2img;flux"
        assert b"secret" not in made

    @pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "CMYK", "LA", "RGBA"])
    def test_an_image_of_every_mode_has_a_rendition(self, mode: str) -> None:
        value = 255 if mode == "1" else 200
        image = Image.new("L", (64, 64), value)
        image = Image.new("I;16", (64, 64), value * 256) if mode == "I;16" else image.convert(mode)
        data = encode(image, "jpeg" if mode == "CMYK" else "png")
        for rendition_format in FORMATS:
            rendition = render(data, width=32, format=rendition_format).convert("RGB")
            assert is_close(rendition.getpixel((3, 3)), (value,) * 3), rendition_format


def damaged(change: Callable[[bytes], bytes]) -> bytes:
    return change(encode(quarters(), "png"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a",
        damaged(lambda data: data[:200]),
        damaged(lambda data: data[:60] + b"\0" * 400),
    ],
)
def test_a_damaged_image_has_no_rendition(data: bytes) -> None:
    with pytest.raises(RenditionError):
        render(data, width=32)
