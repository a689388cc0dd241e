"""Pictures for checks: like photographs, gradients, noise and shapes, with copies of each."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator

from PIL import Image, ImageDraw, ImageFilter

SIZE = (512, 384)


def encode(image: Image.Image, image_format: str = "JPEG", **options: object) -> bytes:
    """Return the bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def cloudy(seed: int, cells: int = 12) -> Image.Image:
    """Return soft colours, as of a landscape out of focus."""
    source = random.Random(seed)
    data = bytes(source.randrange(256) for _ in range(3 * cells * cells))
    return Image.frombytes("RGB", (cells, cells), data).resize(SIZE, Image.Resampling.BICUBIC)


def gradient(seed: int) -> Image.Image:
    """Return a gradient between two colours, in one of four directions."""
    source = random.Random(seed)
    first, second = (tuple(source.randrange(256) for _ in range(3)) for _ in range(2))
    ramp = Image.linear_gradient("L").rotate(90 * source.randrange(4)).resize(SIZE)
    return Image.composite(Image.new("RGB", SIZE, first), Image.new("RGB", SIZE, second), ramp)


def noisy(seed: int) -> Image.Image:
    """Return colours under strong grain."""
    source = random.Random(seed)
    small = (SIZE[0] // 4, SIZE[1] // 4)
    grain = Image.frombytes("L", small, source.randbytes(small[0] * small[1])).resize(SIZE)
    return Image.blend(cloudy(seed, 5), Image.merge("RGB", [grain] * 3), 0.4)


def product(seed: int) -> Image.Image:
    """Return a few shapes before a white wall, as in a photograph of a product."""
    source = random.Random(seed)
    image = Image.new("RGB", SIZE, (250, 250, 248))
    draw = ImageDraw.Draw(image)
    for _ in range(source.randrange(2, 5)):
        x, y = source.randrange(60, 400), source.randrange(40, 280)
        box = (x, y, x + source.randrange(40, 110), y + source.randrange(40, 100))
        colour = tuple(source.randrange(30, 220) for _ in range(3))
        (draw.ellipse if source.random() < 0.5 else draw.rectangle)(box, fill=colour)
    return image.filter(ImageFilter.GaussianBlur(1.5))


KINDS = {"cloudy": cloudy, "gradient": gradient, "noisy": noisy, "product": product}


def copies_of(image: Image.Image) -> Iterator[tuple[str, bytes]]:
    """Yield files that look like an image: compressed again, resized, in another format."""
    yield "same", encode(image, quality=92)
    yield "quality 60", encode(image, quality=60)
    yield "quality 35", encode(image, quality=35)
    for factor in (0.5, 0.77, 1.6):
        size = (round(image.width * factor), round(image.height * factor))
        yield f"x {factor}", encode(image.resize(size, Image.Resampling.LANCZOS), quality=80)
    yield "webp", encode(image, "WEBP", quality=75)
    yield "png", encode(image, "PNG")
    yield "brighter", encode(image.point([min(255, value + 2) for value in range(256)] * 3))
