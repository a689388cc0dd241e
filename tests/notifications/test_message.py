"""Texts of notifications, also about hostile values."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_flux.notifications.message import MAX_PICTURES, describe_task

IDS: dict[str, Any] = {"dag_id": "dag", "run_id": "run", "task_id": "task"}
THUMB = {
    "uri": "/x/thumb.webp",
    "sha256": "0",
    "bytes": 1,
    "width": 320,
    "height": 320,
    "content_type": "image/webp",
}


def generation(**members: Any) -> dict[str, Any]:
    image = {"uri": "/x/a.png", "width": 512, "height": 256, "renditions": {"thumb": THUMB}}
    return {"request_id": "r", "model": "flux-pro-1.1", "cost": 4.0, "image": image, **members}


def test_an_image_is_described_in_lines() -> None:
    message = describe_task(**IDS, returned=generation(), url="https://airflow/flux/x")
    assert message.title == "dag.task: the image has landed"
    assert dict(message.facts) == {
        "Model": "flux-pro-1.1",
        "Size": "512 x 256",
        "File": "/x/a.png",
        "Request": "r",
        "Cost": "4 credits ($0.04)",
        "Run": "run",
        "Images": "https://airflow/flux/x",
    }
    assert message.pictures == (THUMB,)


def test_a_list_shows_its_sum_and_the_first_pictures() -> None:
    message = describe_task(**IDS, returned=[generation()] * 6 + [generation(image=None)])
    assert message.title == "dag.task: 6 of 7 images"
    assert dict(message.facts)["Cost"] == "28 credits ($0.28)"
    assert len(message.pictures) == MAX_PICTURES


def test_a_mapped_task_is_named_with_its_index() -> None:
    message = describe_task(**IDS, map_index=3, error=ValueError("no"))
    assert message.title == "dag.task[3] failed"
    assert message.facts[0] == ("Error", "ValueError: no")


def test_an_error_has_no_signed_url() -> None:
    message = describe_task(**IDS, error="see https://x.bfl.ai/a.png?sig=secret&se=1")
    assert "secret" not in message.facts[0][1]


@pytest.mark.parametrize(
    "returned",
    [
        None,
        "text",
        [None, 1, "x"],
        {"request_id": None, "image": "x", "cost": "y", "seed": {"a": 1}},
        {"rows": "many", "landed": None, "credits": "x", "manifest": 3},
        generation(image={"uri": "a\nb" * 1000, "renditions": [1]}, cost=True),
    ],
)
def test_any_value_gives_lines_of_limited_length(returned: Any) -> None:
    message = describe_task(**IDS, returned=returned, state="success")
    for text in (message.title, *(value for _, value in message.facts)):
        assert "\n" not in text
        assert len(text) < 600
