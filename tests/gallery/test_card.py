"""Cards of manifests, XComs and sidecars, also of those that a stranger wrote."""

from __future__ import annotations

import math
from typing import Any

import pytest

from airflow_provider_flux.gallery.card import (
    MAX_TEXT_CHARACTERS,
    MAX_URI_CHARACTERS,
    Card,
    CardOrigin,
    card_of_generation,
    card_of_row,
    card_of_sidecar,
)

ORIGIN = CardOrigin("shop", "run-1", "images", 3)
IMAGE = {
    "uri": "s3://c@b/x/hero.jpeg",
    "sha256": "ab",
    "bytes": 5,
    "width": 64,
    "height": 48,
    "content_type": "image/jpeg",
    "sidecar": "s3://c@b/x/hero.jpeg.json",
    "renditions": {"thumb": {"uri": "s3://c@b/x/hero.thumb.webp"}},
}
GENERATION = {
    "request_id": "r1",
    "model": "flux-2-pro",
    "seed": 7,
    "cost": 4.0,
    "submitted_at": "2026-11-29T10:00:00+00:00",
    "reused": False,
    "image": IMAGE,
    "video": None,
}
#: Values that no field of a record should have.
STRANGE: list[Any] = [
    None,
    True,
    [],
    {},
    [[]],
    {"uri": 1},
    -1,
    10**400,
    math.nan,
    math.inf,
    "x" * 9,
]


class TestGeneration:
    def test_the_xcom_of_an_image_is_a_card_with_its_file_and_thumb(self) -> None:
        card = card_of_generation(GENERATION, origin=ORIGIN)
        assert (card.key, card.outcome, card.model, card.seed) == (
            *("hero.jpeg", "landed", "flux-2-pro", 7),
        )
        assert (card.uri, card.thumb) == (IMAGE["uri"], "s3://c@b/x/hero.thumb.webp")
        assert card.origin == ORIGIN
        assert card.has_media
        assert not card.is_video

    def test_a_video_and_a_reused_image_say_so(self) -> None:
        video = {**IMAGE, "content_type": "video/mp4", "uri": "/x/clip.mp4"}
        card = card_of_generation({**GENERATION, "image": None, "video": video, "reused": True})
        assert (card.is_video, card.outcome) == (True, "reused")

    def test_a_generation_without_an_image_is_submitted(self) -> None:
        assert card_of_generation({**GENERATION, "image": None}).outcome == "submitted"


class TestSidecar:
    def test_a_sidecar_is_a_card_with_its_prompt_and_its_task(self) -> None:
        run = {"dag_id": "shop", "run_id": "run-1", "task_id": "images", "map_index": 3}
        sidecar = {**GENERATION, "media": IMAGE, "request": {"prompt": "a fox"}, "run": run}
        card = card_of_sidecar(sidecar, uri="/x/hero.jpeg.json")
        assert (card.prompt, card.origin, card.sidecar) == ("a fox", ORIGIN, "/x/hero.jpeg.json")
        assert card.thumb == "s3://c@b/x/hero.thumb.webp"

    def test_a_copy_is_reused(self) -> None:
        assert card_of_sidecar({"media": IMAGE, "reused_from": "/y.png"}).outcome == "reused"


class TestStrangers:
    @pytest.mark.parametrize("read", [card_of_row, card_of_generation, card_of_sidecar])
    @pytest.mark.parametrize("record", [*STRANGE, {"image": 3, "media": [], "run": "x"}])
    def test_any_record_is_a_card(self, read: Any, record: Any) -> None:
        assert isinstance(read(record), Card)

    @pytest.mark.parametrize("value", STRANGE)
    def test_a_value_of_another_type_counts_as_missing(self, value: Any) -> None:
        card = card_of_row(dict.fromkeys(Card.__dataclass_fields__, value))
        for name in ("index", "width", "height", "bytes", "seed"):
            number = getattr(card, name)
            assert number is None or type(number) is int
            assert number is None or abs(number) < 2**63
        for name in ("cost", "seconds"):
            number = getattr(card, name)
            assert number is None or math.isfinite(number)
        for name in ("key", "outcome", "model"):
            assert isinstance(getattr(card, name), str)
        assert card.origin == CardOrigin()

    def test_a_prompt_of_a_megabyte_is_cut_and_a_uri_of_one_is_none(self) -> None:
        card = card_of_row({"prompt": "a" * 2**20, "uri": "/" + "x" * 2**20, "key": "k" * 2**20})
        assert len(card.prompt or "") == MAX_TEXT_CHARACTERS
        assert card.uri is None
        assert len(card.key) == 300
        assert len(card_of_row({"uri": "u" * MAX_URI_CHARACTERS}).uri or "") == MAX_URI_CHARACTERS

    def test_a_record_does_not_choose_the_task_of_its_card(self) -> None:
        card = card_of_row({"origin": {"dag_id": "other"}, "dag_id": "other"}, ORIGIN)
        assert card.origin == ORIGIN
