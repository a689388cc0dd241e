"""Pictures that show what they were made from: the input as their base, references, masks, margins."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps

from airflow_provider_flux.bfl.inputs import MediaFile
from airflow_provider_flux.emulator.drawing.backdrop import backdrop, tinted
from airflow_provider_flux.emulator.drawing.picture import Picture
from airflow_provider_flux.emulator.drawing.sizes import Size, expanded_size

#: How much of an edit is the colour its prompt and seed tell.
_TINT = 0.18
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_HALF = 128
_FAR = 10**6
#: A remixed image is seen this much, and the more the greater ``image_prompt_strength`` is.
_REMIX, _REMIX_BY_STRENGTH = 0.4, 0.5


def draw(picture: Picture) -> Image.Image:
    """Return a picture without its caption."""
    if not picture.images:
        return backdrop(picture.digest, (picture.width, picture.height))
    drawn = (function for prefix, function in _DRAWN.items() if picture.model.startswith(prefix))
    return next(drawn, _edited)(picture)


def opened(file: MediaFile) -> Image.Image:
    """Return the decoded image of an input."""
    with file.open() as stream:
        image = Image.open(stream)
        image.load()
    return image


def fitted(file: MediaFile, size: Size) -> Image.Image:
    """Return an input as large as the output; what does not fit its shape is cut off."""
    return ImageOps.fit(opened(file).convert("RGB"), size)


def _edited(picture: Picture) -> Image.Image:
    """Instruction editing: the first image, tinted, and all of them in a strip, if there are several."""
    images = picture.images
    base = tinted(fitted(images[0], _size(picture)), picture.digest, _TINT)
    if len(images) > 1:
        _draw_strip(base, images)
    return base


def _draw_strip(base: Image.Image, images: list[MediaFile]) -> None:
    """Draw numbered thumbnails along the upper edge: prompts name images by their number."""
    margin = max(min(base.size) // 64, 1)
    side = max(min(base.height // 5, (base.width - margin) // len(images) - margin), 1)
    font_size = max(8, side // 5)
    font = ImageFont.load_default(font_size)
    draw = ImageDraw.Draw(base)
    for number, image in enumerate(images):
        left = margin + number * (side + margin)
        base.paste(fitted(image, (side, side)), (left, margin))
        label = str(number + 1)
        width = int(font.getlength(label)) + 4
        draw.rectangle((left, margin, left + width, margin + font_size * 1.3), fill=_BLACK)
        draw.text((left + 2, margin), label, font=font, fill=_WHITE)


def _remixed(picture: Picture) -> Image.Image:
    """Redux: a new image that resembles the input."""
    size = _size(picture)
    amount = _REMIX + _REMIX_BY_STRENGTH * float(picture.options.get("image_prompt_strength", 0.1))
    return Image.blend(backdrop(picture.digest, size), fitted(picture.images[0], size), amount)


def _filled(picture: Picture) -> Image.Image:
    """Inpainting: new texture where the mask is white, or the image transparent."""
    size = _size(picture)
    image = opened(picture.inputs["image"][0])
    if picture.inputs.get("mask"):
        mask = opened(picture.inputs["mask"][0]).convert("L")
    elif image.has_transparency_data:
        mask = ImageOps.invert(image.convert("RGBA").getchannel("A"))
    else:
        return _edited(picture)
    return Image.composite(
        backdrop(picture.digest, size), fitted(picture.inputs["image"][0], size), mask.resize(size)
    )


def _erased(picture: Picture) -> Image.Image:
    """Erase: what the grown mask covers is filled from around it."""
    size = _size(picture)
    mask = (
        opened(picture.inputs["mask"][0])
        .convert("L")
        .point(lambda value: 255 if value >= _HALF else 0)
    )
    grown = _dilated(mask, int(picture.options.get("dilate_pixels", 10))).resize(size)
    image = fitted(picture.inputs["image"][0], size).convert("RGBA")
    image.putalpha(ImageOps.invert(grown))
    return _closed(image).convert("RGB")


def _dilated(mask: Image.Image, pixels: int) -> Image.Image:
    """Return a mask whose white is grown on all sides."""
    grown = 0
    while grown < pixels:
        step = min(2 * grown + 1, pixels - grown)
        for x, y in ((step, 0), (0, step)):
            moved = [
                mask.crop((sign * x, sign * y, sign * x + mask.width, sign * y + mask.height))
                for sign in (1, -1)
            ]
            mask = ImageChops.lighter(mask, ImageChops.lighter(*moved))
        grown += step
    return mask


def _closed(image: Image.Image) -> Image.Image:
    """Return an image whose transparent area is filled smoothly: with what it looks like from further away."""
    if max(image.size) == 1:
        image.putalpha(255)
        return image
    coarse = image.resize(
        (max(image.width // 2, 1), max(image.height // 2, 1)), Image.Resampling.BOX
    )
    return Image.alpha_composite(
        _closed(coarse).resize(image.size, Image.Resampling.BILINEAR), image
    )


def _sharpened(picture: Picture) -> Image.Image:
    """Deblur: the input, sharper."""
    return fitted(picture.images[0], _size(picture)).filter(
        ImageFilter.UnsharpMask(radius=3, percent=200, threshold=2)
    )


def _expanded(picture: Picture) -> Image.Image:
    """Expand: the input in its place, and new around it."""
    left, top = (picture.options.get(name) or 0 for name in ("left", "top"))
    return _placed(picture, expanded_size(picture.options, picture.inputs), (left, top))


def _outpainted(picture: Picture) -> Image.Image:
    """Outpainting: the input on its canvas, and new around it."""
    canvas: Size = (picture.options["width"], picture.options["height"])
    image = picture.images[0]
    centred = [
        (room - (side or 0)) // 2
        for room, side in zip(canvas, (image.width, image.height), strict=True)
    ]
    offsets = [picture.options.get(f"reference_offset_{axis}") for axis in "xy"]
    x, y = (
        usual if given is None else given for given, usual in zip(offsets, centred, strict=True)
    )
    return _placed(picture, canvas, (x, y))


def _placed(picture: Picture, canvas: Size, offset: tuple[int, int]) -> Image.Image:
    """Return the input at its place on a canvas, which is drawn as large as the picture."""
    image = opened(picture.images[0]).convert("RGB")
    size = _size(picture)
    if size != canvas:
        width, height = (
            max(_scaled(*one), 1) for one in zip(image.size, size, canvas, strict=True)
        )
        image = image.resize((width, height))
    base = backdrop(picture.digest, size)
    base.paste(
        image, (_scaled(offset[0], size[0], canvas[0]), _scaled(offset[1], size[1], canvas[1]))
    )
    return base


def _scaled(length: int, side: int, canvas: int) -> int:
    """Return a length on a canvas that is drawn with another side; in integers, for they may be of any size."""
    return min(max(length * side // canvas, -_FAR), _FAR)


def _dressed(picture: Picture) -> Image.Image:
    """Try-on: the person, and the garment on it."""
    base = tinted(fitted(picture.inputs["person"][0], _size(picture)), picture.digest, _TINT)
    garment = opened(picture.inputs["garment"][0]).convert("RGB")
    garment.thumbnail((max(base.width // 3, 1), max(base.height // 3, 1)))
    garment = ImageOps.expand(garment, max(min(base.size) // 128, 1), _WHITE)
    base.paste(garment, ((base.width - garment.width) // 2, (base.height - garment.height) // 2))
    return base


def _size(picture: Picture) -> Size:
    return picture.width, picture.height


#: How each family draws its inputs, by the beginning of the model's name; all others edit by instruction.
_DRAWN: Mapping[str, Callable[[Picture], Image.Image]] = {
    "flux-pro-1.1": _remixed,
    "flux-dev": _remixed,
    "flux-pro-1.0-fill": _filled,
    "flux-pro-1.0-expand": _expanded,
    "flux-tools/erase": _erased,
    "flux-tools/deblur": _sharpened,
    "flux-tools/outpainting": _outpainted,
    "flux-tools/vto": _dressed,
}
