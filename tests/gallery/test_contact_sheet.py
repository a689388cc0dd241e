"""A contact sheet: one file, of a limited size, whose links stay below its folder."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterator

import pytest

from airflow_provider_flux.gallery import contact_sheet
from airflow_provider_flux.gallery.card import Card
from airflow_provider_flux.gallery.card_source import CardList
from airflow_provider_flux.gallery.contact_sheet import encode_image, relative_link, write_sheet
from tests.support.gallery_cards import batch_cards

WEBP = b"RIFF\x00\x00\x00\x00WEBP" + b"x" * 988


def sheet_of(cards: list[Card], thumb: bytes | None = WEBP, max_thumb_bytes: int = 10**6) -> str:
    file = io.StringIO()
    thumbs: Iterator[tuple[Card, bytes | None]] = (
        (card, thumb if card.has_media else None) for card in cards
    )
    write_sheet(file, CardList(cards), thumbs, title="shop", max_thumb_bytes=max_thumb_bytes)
    return file.getvalue()


def test_a_sheet_has_all_rows_and_their_thumbnails_in_one_file() -> None:
    html = sheet_of(list(batch_cards(120)))
    assert html.count('class="tile"') == 120
    assert html.count("data:image/webp;base64,") == 116
    assert not re.search(r"<(?:link|img|script)[^>]+(?:href|src)=\"(?!data:)", html)


def test_the_policy_of_a_sheet_allows_its_own_style_and_script_alone() -> None:
    html = sheet_of([])
    policy = re.search(r'content="(default-src [^"]*)"', html)
    assert policy is not None
    for tag in ("style", "script"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1].replace("&#39;", "'")
    assert "unsafe" not in policy[1]


def test_a_sheet_keeps_its_limit_and_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(contact_sheet, "MAX_TILES", 100)
    html = sheet_of(list(batch_cards(120)), max_thumb_bytes=10 * len(WEBP))
    assert html.count("data:image/webp") == 10
    assert "87 images have no thumbnail here" in html
    assert "20 more rows are not in it" in html
    assert html.count('class="tile"') == 100


@pytest.mark.parametrize("data", [b"", b"<svg onload=alert(1)>", b"GIF89a", b"RIFF....AVI "])
def test_a_thumbnail_that_is_no_image_is_left_out(data: bytes) -> None:
    assert encode_image(data) is None


@pytest.mark.parametrize(
    ("uri", "link"),
    [
        ("s3://c@b/shop/a b/%23#?.png", "./a%20b/%2523%23%3F.png"),
        ("s3://c@b/shop/javascript:x", "./javascript%3Ax"),
        ("s3://c@b/shop/../x.png", None),
        ("s3://c@b/shop//x.png", None),
        ("s3://c@b/other/x.png", None),
        ("javascript:alert(1)", None),
        (None, None),
    ],
)
def test_a_tile_links_to_files_below_the_folder_of_the_sheet(
    uri: str | None, link: str | None
) -> None:
    assert relative_link(uri, "s3://c@b/shop/") == link
    assert relative_link(uri, "") is None
