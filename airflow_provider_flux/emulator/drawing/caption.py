"""What is written on a picture: what was asked for."""

from __future__ import annotations

import textwrap

from PIL import Image, ImageDraw, ImageFont

from airflow_provider_flux.emulator.drawing.picture import Picture

_MOST_LINES = 8
_USUAL_TEXT = "the quick brown fox jumps over the lazy dog"
_WHITE, _PALE = (255, 255, 255), (200, 206, 218)
#: The font, as a part of the shorter side; on an edit there is something else to be seen.
_FONT, _FONT_OF_EDIT = 28, 48


def write_caption(image: Image.Image, picture: Picture) -> None:
    """Write prompt, model, seed and size in a band at the lower edge."""
    font_size = max(8, min(image.size) // (_FONT_OF_EDIT if picture.inputs else _FONT))
    font = ImageFont.load_default(font_size)
    margin, line_height = font_size, int(font_size * 1.35)
    letter_width = font.getlength(_USUAL_TEXT) / len(_USUAL_TEXT)
    letters = max(4, int((image.width - 4 * margin) / letter_width))
    most_lines = max(1, min(_MOST_LINES, image.height // 2 // line_height))
    prompt = textwrap.wrap(picture.prompt, letters, max_lines=most_lines, placeholder=" ...")
    facts = textwrap.wrap(
        f"{picture.model}  -  seed {picture.seed}  -  {image.width}x{image.height}", letters
    )
    top = image.height - 2 * margin - line_height * (len(prompt) + len(facts))
    draw = ImageDraw.Draw(image, "RGBA")
    box = (margin, top, max(image.width - margin, margin), max(image.height - margin, top))
    draw.rounded_rectangle(box, radius=margin // 2, fill=(12, 14, 24, 150))
    for number, line in enumerate([*prompt, *facts]):
        place = (2 * margin, top + margin // 2 + number * line_height)
        draw.text(place, line, font=font, fill=_WHITE if number < len(prompt) else _PALE)
