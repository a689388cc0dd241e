"""Edited images, drawn so that their inputs can be seen: base image, references, mask, margins."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps

from airflow_provider_flux.bfl.inputs import MediaFile
from airflow_provider_flux.emulator.drawing.layers import draw_backdrop, tint
from airflow_provider_flux.emulator.drawing.picture import Picture
from airflow_provider_flux.emulator.drawing.sizes import Size, expanded_size

#: The share of the colour that prompt and seed determine, in an edit.
_TINT = 0.18
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_MASK_THRESHOLD = 128
#: No offset in pixels is greater: Pillow cannot count with integers of any size.
_MAX_OFFSET = 10**6
#: The share of the input in a remix: a base, and what ``image_prompt_strength`` adds.
_REMIX, _REMIX_BY_STRENGTH = 0.4, 0.5


def draw_image(picture: Picture) -> Image.Image:
    """Draw an image without its caption.

    :param picture: the image to draw; without inputs, its backdrop is all that is drawn.
    """
    if not picture.images:
        return draw_backdrop(picture.digest, _size(picture))
    matching = (draw for prefix, draw in _DRAW_BY_MODEL.items() if picture.model.startswith(prefix))
    return next(matching, _draw_instruction_edit)(picture)


def decode_image(file: MediaFile) -> Image.Image:
    """Return the decoded image of an input.

    :param file: an input that is an image.
    """
    with file.open() as stream:
        image = Image.open(stream)
        image.load()
    return ImageOps.exif_transpose(image)


def fit_image(file: MediaFile, size: Size) -> Image.Image:
    """Return an input scaled and cropped to a size, in RGB.

    :param file: an input that is an image.
    :param size: width and height in pixels.
    """
    return ImageOps.fit(decode_image(file).convert("RGB"), size)


def _draw_instruction_edit(picture: Picture) -> Image.Image:
    """Draw the first image with a tint; with several images, all of them in a strip on top."""
    images = picture.images
    base = tint(fit_image(images[0], _size(picture)), picture.digest, _TINT)
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
        base.paste(fit_image(image, (side, side)), (left, margin))
        label = str(number + 1)
        width = int(font.getlength(label)) + 4
        draw.rectangle((left, margin, left + width, margin + font_size * 1.3), fill=_BLACK)
        draw.text((left + 2, margin), label, font=font, fill=_WHITE)


def _draw_remix(picture: Picture) -> Image.Image:
    """Draw a new image that resembles the input (Redux)."""
    size = _size(picture)
    amount = _REMIX + _REMIX_BY_STRENGTH * float(picture.options.get("image_prompt_strength", 0.1))
    return Image.blend(
        draw_backdrop(picture.digest, size), fit_image(picture.images[0], size), amount
    )


def _draw_fill(picture: Picture) -> Image.Image:
    """Draw new texture where the mask is white, or the image transparent (inpainting)."""
    size = _size(picture)
    image = decode_image(picture.inputs["image"][0])
    if picture.inputs.get("mask"):
        mask = decode_image(picture.inputs["mask"][0]).convert("L")
    elif image.has_transparency_data:
        mask = ImageOps.invert(image.convert("RGBA").getchannel("A"))
    else:
        return _draw_instruction_edit(picture)
    return Image.composite(
        draw_backdrop(picture.digest, size),
        fit_image(picture.inputs["image"][0], size),
        mask.resize(size),
    )


def _draw_erase(picture: Picture) -> Image.Image:
    """Fill the area of the grown mask from around it."""
    size = _size(picture)
    mask = (
        decode_image(picture.inputs["mask"][0])
        .convert("L")
        .point(lambda value: 255 if value >= _MASK_THRESHOLD else 0)
    )
    grown = _dilate(mask, int(picture.options.get("dilate_pixels", 10))).resize(size)
    image = fit_image(picture.inputs["image"][0], size).convert("RGBA")
    image.putalpha(ImageOps.invert(grown))
    return _fill_transparent(image).convert("RGB")


def _dilate(mask: Image.Image, pixels: int) -> Image.Image:
    """Return a mask whose white area is larger by ``pixels`` on all sides."""
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


def _fill_transparent(image: Image.Image) -> Image.Image:
    """Return an image whose transparent area is filled from coarser and coarser copies of it."""
    if max(image.size) == 1:
        image.putalpha(255)
        return image
    coarse = image.resize(
        (max(image.width // 2, 1), max(image.height // 2, 1)), Image.Resampling.BOX
    )
    return Image.alpha_composite(
        _fill_transparent(coarse).resize(image.size, Image.Resampling.BILINEAR), image
    )


def _draw_deblur(picture: Picture) -> Image.Image:
    """Draw the input, sharper."""
    return fit_image(picture.images[0], _size(picture)).filter(
        ImageFilter.UnsharpMask(radius=3, percent=200, threshold=2)
    )


def _draw_expand(picture: Picture) -> Image.Image:
    """Draw the input between its new margins."""
    left, top = (picture.options.get(name) or 0 for name in ("left", "top"))
    return _draw_on_canvas(picture, expanded_size(picture.options, picture.inputs), (left, top))


def _draw_outpainting(picture: Picture) -> Image.Image:
    """Draw the input at its offset, by default in the middle, on a new canvas."""
    canvas: Size = (picture.options["width"], picture.options["height"])
    image = picture.images[0]
    centred = [
        (length - (side or 0)) // 2
        for length, side in zip(canvas, (image.width, image.height), strict=True)
    ]
    requested = [picture.options.get(f"reference_offset_{axis}") for axis in "xy"]
    x, y = (
        default if offset is None else offset
        for offset, default in zip(requested, centred, strict=True)
    )
    return _draw_on_canvas(picture, canvas, (x, y))


def _draw_on_canvas(picture: Picture, canvas: Size, offset: tuple[int, int]) -> Image.Image:
    """Draw the input at an offset on a canvas, then scale the canvas to the size of the picture."""
    image = decode_image(picture.images[0]).convert("RGB")
    size = _size(picture)
    if size != canvas:
        width, height = (
            max(_scale_length(*sides), 1) for sides in zip(image.size, size, canvas, strict=True)
        )
        image = image.resize((width, height))
    base = draw_backdrop(picture.digest, size)
    left, top = (_scale_length(*sides) for sides in zip(offset, size, canvas, strict=True))
    base.paste(image, (left, top))
    return base


def _scale_length(length: int, side: int, canvas: int) -> int:
    """Scale a length from a canvas side to a drawn side, in integers, since no float holds all."""
    return min(max(length * side // canvas, -_MAX_OFFSET), _MAX_OFFSET)


def _draw_try_on(picture: Picture) -> Image.Image:
    """Draw the person, and the garment on the person."""
    base = tint(fit_image(picture.inputs["person"][0], _size(picture)), picture.digest, _TINT)
    garment = decode_image(picture.inputs["garment"][0]).convert("RGB")
    garment.thumbnail((max(base.width // 3, 1), max(base.height // 3, 1)))
    garment = ImageOps.expand(garment, max(min(base.size) // 128, 1), _WHITE)
    base.paste(garment, ((base.width - garment.width) // 2, (base.height - garment.height) // 2))
    return base


def _size(picture: Picture) -> Size:
    return picture.width, picture.height


#: The function that draws a model's edits, by the beginning of the model's name. All other models
#: edit by instruction.
_DRAW_BY_MODEL: Mapping[str, Callable[[Picture], Image.Image]] = {
    "flux-pro-1.1": _draw_remix,
    "flux-dev": _draw_remix,
    "flux-pro-1.0-fill": _draw_fill,
    "flux-pro-1.0-expand": _draw_expand,
    "flux-tools/erase": _draw_erase,
    "flux-tools/deblur": _draw_deblur,
    "flux-tools/outpainting": _draw_outpainting,
    "flux-tools/vto": _draw_try_on,
}
