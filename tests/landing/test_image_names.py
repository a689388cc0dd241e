"""The names of one image: they fit the store, and no other file of the task has them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.landing.image_names import (
    NameRegister,
    find_name_problem,
    normalize_uri,
    planned_names,
)
from airflow_provider_flux.landing.target import LandingOptions, Target

KEYS = st.text("ab.jsonpeg_{}/é", max_size=12) | st.sampled_from(["a", "a.json", "a.draft.bin"])
PATHS = st.sampled_from(
    ["/x/{key}", "/x/{key}.{ext}", "/x/{key}.json.png", "/x/{index}{key}", "/x/{key}{index}.mp4"]
)


def target(path: str, key: str = "0", index: int = 0, **options: Any) -> Target:
    return Target(path=path, key=key, index=index, options=LandingOptions(**options))


def names(path: str, key: str = "0", index: int = 0, is_video: bool = True) -> list[str]:
    planned = planned_names(target(path, key, index), model="m", is_video=is_video)
    return [name.uri for name in planned]


def test_an_image_has_a_sidecar_and_renditions_and_a_video_a_draft_cache_too() -> None:
    image = ["/x/0.jpeg", "/x/0.jpeg.json", "/x/0.jpeg.thumb.webp"]
    assert names("/x/{key}.{ext}", is_video=False) == image
    video = ["/x/0.mp4", "/x/0.mp4.json", "/x/0.draft.bin"]
    assert names("/x/{key}.{ext}")[:3] == video
    bare = target("/x/a.png", sidecar=False, renditions={})
    planned = planned_names(bare, model="m", is_video=False)
    assert [name.kind for name in planned] == ["image"]


def test_a_rendition_may_not_have_the_name_of_another_image() -> None:
    register = NameRegister("/x/{key}.{ext}")
    small: Any = {"small": {"width": 9, "format": "jpeg"}}

    def register_names(key: str, index: int) -> tuple[str, str, int] | None:
        image = target("/x/{key}.{ext}", key, index, renditions=small)
        return register.register(planned_names(image, model="m", is_video=False), index)

    assert register_names("hero", 0) is None
    assert register_names("hero.jpeg.thumb", 1) is None
    assert register_names("hero.jpeg.small", 2) == ("image", "rendition small", 0)


@given(PATHS, st.lists(KEYS, max_size=8))
def test_images_that_register_share_no_name(path: str, keys: list[str]) -> None:
    """Fault 14: with the keys ``a`` and ``a.json`` a sidecar replaced a paid image."""
    register = NameRegister(path)
    written: set[str] = set()
    for index, key in enumerate(keys):
        planned = planned_names(target(path, key, index), model="m", is_video=True)
        own = {name.uri for name in planned}
        if register.register(planned, index) is None:
            assert not own & written
            assert len(own) == len(planned)
            written |= own
        else:
            assert own & written


@pytest.mark.parametrize(
    ("path", "reserved", "problem"),
    [
        ("/out/manifest.jsonl", ["file:///out/manifest.jsonl"], "which the manifest or the ledger"),
        ("/out//manifest.jsonl", ["/out/manifest.jsonl"], "which the manifest or the ledger"),
        ("s3://c@b/led/x.png", ["s3a://b/led/"], "which the manifest or the ledger"),
        ("s3://c@b/led", ["s3://b/led/ger/"], "which the manifest or the ledger"),
        ("s3://b/ledger.png", ["s3://b/ledger/"], None),
        ("/out/{key}/x", [], "but _flux is the folder of the ledger"),
        ("/out/{key}", [], "but _flux is the folder of the ledger"),
        ("/out/" + "x" * 251, [], "of 256 bytes"),
        ("/out/" + "x" * 250, [], "for the rendition thumb"),
        ("/out/" + "x" * 244, [], None),
        ("/out/" + "x" * 160 + "{request_id}.{ext}", [], None),
        ("/out/" + "x" * 190 + "{request_id}.{ext}", [], "of 259 bytes"),
        ("/out/" + "x" * 190 + "{sha256}.{ext}", [], "of 259 bytes"),
    ],
)
def test_a_name_that_cannot_be_written_is_a_problem_before_the_submit(
    path: str, reserved: list[str], problem: str | None
) -> None:
    """Faults 14 and 15: a name that the ledger needs, or no room for the sidecar, was billed."""
    planned = planned_names(target(path, "_FLUX"), model="m", is_video=False)
    found = find_name_problem(planned, tuple(f"{normalize_uri(uri)}/" for uri in reserved))
    assert (found is None) == (problem is None)
    assert (problem or "") in (found or "")
