"""The webhook page: its DAGs run against the emulator, and its proxy forwards references alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from airflow_provider_flux.bfl.polling import PollAgain, Poller, WebhookPace
from airflow_provider_flux.bfl.responses import GenerationResult
from airflow_provider_flux.bfl.status import Status
from airflow_provider_flux.bfl.webhook import RECEIVER_PATH, is_receiver, make_reference
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.plugin.webhooks import MAX_BODY_BYTES
from tests.support.airflow_names import DagBag
from tests.support.run_operator import new_context

SNIPPETS = Path(__file__).parents[2] / "docs" / "snippets"
SECRET = "a-random-secret-of-the-connection"


def tasks_of(name: str) -> dict[str, Any]:
    """Return the tasks of a snippet by their ids."""
    bag = DagBag(str(SNIPPETS / name))
    assert not bag.import_errors
    return {task.task_id: task for dag in bag.dags.values() for task in dag.tasks}


def test_the_documented_tasks_name_the_receiver() -> None:
    hero = tasks_of("webhook_deferred.py")["hero"]
    submit = tasks_of("webhook_submit_only.py")["submit"]
    assert is_receiver(hero.webhook_url)
    assert is_receiver(submit.partial_kwargs["webhook_url"])


def test_the_documented_event_lands_the_submitted_image(
    emulator: EmulatorServer, connect: Callable[..., None], tmp_path: Path
) -> None:
    connect(emulator.url, webhook_secret=SECRET, webhook_hosts=["hooks.example.com"])
    tasks = tasks_of("webhook_submit_only.py")
    submit = tasks["submit"].unmap({"prompt": "A canvas bag on white"})
    context = new_context()
    context["ti"].id = uuid4()
    generation = submit.execute(context)
    assert generation["image"] is None
    landing = tasks["land"]
    landing.generation = [generation]
    landing.output_path = landing.output_path.replace("/tmp/flux", str(tmp_path))
    (landed,) = landing.execute(new_context())
    assert [path.stem for path in (tmp_path / "products").glob("*.jpeg")] == [landed["request_id"]]
    assert emulator.stats()["submits"] == 1


def test_the_documented_check_lands_images_without_a_webhook_and_skips_the_others(
    emulator: EmulatorServer, connect: Callable[..., None], tmp_path: Path
) -> None:
    connect(emulator.url, webhook_secret=SECRET, webhook_hosts=["hooks.example.com"])
    tasks, generations = tasks_of("webhook_lost.py"), []
    for prompt in ("A canvas bag on white", "A stoneware mug on white"):
        context = new_context()
        context["ti"].id = uuid4()
        generations.append(tasks["submit"].unmap({"prompt": prompt}).execute(context))
    landing, check = tasks_of("webhook_submit_only.py")["land"], tasks["land_lost"]
    assert landing.output_path == check.output_path
    for task in (landing, check):
        task.output_path = task.output_path.replace("/tmp/flux", str(tmp_path))

    landing.generation = generations[:1]  # the webhook of the second one is lost
    (first,) = landing.execute(new_context())
    path = Path(first["image"]["uri"].removeprefix("file://"))
    written_at = path.stat().st_mtime_ns
    check.generation = generations
    landed = check.execute(new_context())

    assert path.stat().st_mtime_ns == written_at
    names = {path.stem for path in (tmp_path / "products").glob("*.jpeg")}
    assert names == {generation["request_id"] for generation in generations}
    assert [generation["request_id"] for generation in landed] == [
        generation["request_id"] for generation in generations
    ]
    assert emulator.stats()["submits"] == 2


def count_polls(seconds: float, pace: WebhookPace | None) -> int:
    """Return the polls of a generation that is ready after so many seconds."""
    poller = Poller(
        request_id="r",
        submitted_at=0.0,
        deadline=1e6,
        poll_interval=0.5,
        pace=pace,
        jitter=lambda: 0.5,
    )
    pending, now, polls = GenerationResult(None, Status.PENDING, "Pending"), 0.0, 0
    now = poller.first_wait(now)
    while now < seconds:
        polls += 1
        decision = poller.on_result(pending, now)
        assert isinstance(decision, PollAgain)
        now += decision.seconds
    return polls + 1  # that of the trigger, or of the worker after the webhook


def test_the_documented_numbers_of_polls_are_those_of_the_trigger() -> None:
    page = (SNIPPETS.parent / "webhooks.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    assert len(rows) == 3
    for seconds, without, with_webhook in rows:
        pace = WebhookPace(12.0, 0.5, 60.0, jitter=lambda: 0.5)
        assert count_polls(float(seconds), None) == int(without)
        assert count_polls(float(seconds), pace) == int(with_webhook)


def test_the_documented_proxy_forwards_references_and_nothing_else() -> None:
    text = (SNIPPETS / "webhook_proxy.conf").read_text()
    (pattern,) = re.findall(r'location ~ "(.*)" {', text)
    reference = make_reference(uuid4(), SECRET)
    assert re.fullmatch(pattern, f"{RECEIVER_PATH}/{reference}")
    for path in ("/", "/flux/", f"{RECEIVER_PATH}/", f"{RECEIVER_PATH}/x", "/api/v2/dags"):
        assert not re.fullmatch(pattern, path)
    (size,) = re.findall(r"client_max_body_size (\d+)k;", text)
    assert int(size) * 1024 == MAX_BODY_BYTES
