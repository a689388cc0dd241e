"""The timeline of the tasks."""

from __future__ import annotations

import time

import requests

from tests.emulator.conftest import Client, Start


def test_the_timeline_has_each_task_in_order(start: Start) -> None:
    client = start(latency=1.5, credits=1000)
    begun = time.time()
    tasks = [
        client.submit(f"fox {n} {fault}")
        for n, fault in enumerate(["", "[[fault:error]]", "[[fault:stuck]]"])
    ]
    client.get(tasks[0]["polling_url"])
    early = client.server.timeline()["tasks"]
    assert [task["outcome"] for task in early] == [None] * 3
    client.wait(tasks[1])
    polls = client.server.stats()["polls"]
    made = requests.get(f"{client.server.url}/_emulator/timeline", timeout=60).json()["tasks"]
    assert [task["outcome"] for task in made] == ["Ready", "Error", None]
    assert [task["prompt"] for task in made] == [
        "fox 0 ",
        "fox 1 [[fault:error]]",
        "fox 2 [[fault:stuck]]",
    ]
    assert [task["faults"] for task in made] == [[], ["error"], ["stuck"]]
    assert {task["model"] for task in made} == {"flux-pro-1.1"}
    assert [task["polls"] for task in made] == [1, polls - 1, 0]
    assert made[2]["ends_at"] is None
    assert all(abs(task["ends_at"] - task["submitted_at"] - 1.5) < 1e-6 for task in made[:2])
    assert (
        begun
        <= made[0]["submitted_at"]
        <= made[1]["submitted_at"]
        <= made[2]["submitted_at"]
        <= time.time()
    )


def test_the_timeline_counts_refused_submits_by_status(start: Start) -> None:
    client = start(max_active=1, latency=30, credits=1000)
    client.submit()
    for body in (
        {"prompt": "x"},
        {"prompt": "[[fault:submit-503]]"},
        {"prompt": "x"},
        {"prompt": 1},
    ):
        client.post(json=body)
    timeline = client.server.timeline()
    assert timeline["refused"] == {"422": 1, "429": 2, "503": 1}
    assert client.server.stats()["refused"] == 4
    assert len(timeline["tasks"]) == 1
    client.server.reset()
    assert client.server.timeline() == {"tasks": [], "refused": {}}


def test_a_task_without_faults_has_none_in_the_timeline(client: Client) -> None:
    client.image()
    assert [task["faults"] for task in client.server.timeline()["tasks"]] == [[]]
