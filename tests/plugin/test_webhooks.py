"""The webhook receiver, with the emulator and rows of Airflow's database."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from airflow.models.asset import AssetDagRunQueue, AssetEvent
from airflow.models.dag import DagModel
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow.sdk import DAG, Asset
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.webhook import make_reference
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.plugin import webhook_limits, webhooks
from airflow_provider_flux.plugin.app import create_app
from airflow_provider_flux.testing.dag_run import store_dag
from airflow_provider_flux.transfers.flux_to_object_storage import FluxToObjectStorageOperator
from tests.support.airflow_names import AIRFLOW
from tests.support.run_operator import new_context
from tests.support.waiting_tasks import defer, find, new_task_instance, push_xcom, set_state

pytestmark = pytest.mark.skipif(AIRFLOW < (3, 1), reason="the plugin needs Airflow 3.1")

SECRET = "whs_canary_of_the_connection"
RECEIVER = "https://hooks.example.com/flux/webhooks"
READY = Asset("heroes", uri="x-flux://heroes")
Post = Callable[..., Awaitable[httpx.Response]]


@pytest.fixture(scope="module", autouse=True)
def database() -> None:
    """The metadata database."""
    initdb()


@pytest.fixture
def post(
    emulator: EmulatorServer, connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Post:
    """Post a webhook to a fresh receiver as BFL does."""
    connect(emulator.url, webhook_secret=SECRET, webhook_hosts=["127.0.0.1"])
    monkeypatch.setenv("AIRFLOW__FLUX__WEBHOOKS", "True")
    monkeypatch.setenv("AIRFLOW__FLUX__GALLERY", "False")
    monkeypatch.setattr(webhooks, "_receiver", webhooks.WebhookReceiver())
    app = create_app()

    async def send(
        task_instance: UUID | str, payload: Any, *, secret: str | None = SECRET, **headers: str
    ) -> httpx.Response:
        reference = (
            make_reference(task_instance, SECRET)
            if isinstance(task_instance, UUID)
            else task_instance
        )
        if secret is not None:
            headers["X-Webhook-Secret"] = secret
        content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow") as client:
            return await client.post(f"/webhooks/{reference}", content=content, headers=headers)

    return send


class Waiting:
    """A deferred task: its operator, its row, and the request that it waits for."""

    def __init__(self, folder: Path, prompt: str = "a fox", **arguments: Any) -> None:
        arguments = {"output_path": f"file://{folder}/hero.jpeg", **arguments}

        def build() -> FluxGenerateOperator:
            return FluxGenerateOperator(
                task_id="hero",
                prompt=prompt,
                webhook_url=RECEIVER,
                deferrable=True,
                inline_wait=0,
                width=256,
                height=256,
                **arguments,
            )

        self.id = new_task_instance(build)
        self.operator = build()
        self.context = new_context()
        self.context["ti"].id = self.id
        self.is_deferred = False

    def run(self) -> Any:
        """Execute the task up to its deferral."""
        try:
            return self.operator.execute(self.context)
        except TaskDeferred as deferred:
            deferred.trigger.not_before = 0.0
            self.trigger = deferred.trigger
            self.generation = deferred.trigger.generation
            self.defer(deferred)

    def defer(self, deferred: TaskDeferred) -> None:
        """Store the deferral."""
        defer(self.id, deferred)
        self.is_deferred = True

    @property
    def ready(self) -> dict[str, Any]:
        """The payload of the webhook."""
        return {"id": self.generation["request_id"], "status": "Ready", "result": {}}

    def event(self) -> dict[str, Any] | None:
        """Return the event with which Airflow will resume the task; ``None`` if it waits."""
        with create_session() as session:
            ti = find(self.id, session)
            if ti.state != "scheduled":
                assert ti.state == "deferred"
                return None
            arguments = ti.next_kwargs
            return dict(arguments.get("__var", arguments)["event"])

    def resume(self) -> Any:
        """Go on after the deferral, as the worker does."""
        event = self.event()
        assert event is not None
        return self.operator.execute_complete(self.context, event)


@pytest.fixture
def waiting(post: Post, tmp_path: Path) -> Waiting:
    """A task that waits for a webhook."""
    task = Waiting(tmp_path)
    task.run()
    return task


def outcome(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["outcome"]


def has_landed(generation: Any) -> bool:
    """Whether the file of an image is whole."""
    image = generation["image"]
    content = Path(image["uri"].removeprefix("file://")).read_bytes()
    return bool(hashlib.sha256(content).hexdigest() == image["sha256"])


class TestResume:
    async def test_a_webhook_resumes_its_task_which_lands_the_image(
        self, post: Post, waiting: Waiting, tmp_path: Path
    ) -> None:
        assert outcome(await post(waiting.id, waiting.ready)) == (200, "resumed")
        landed = await asyncio.to_thread(waiting.resume)
        assert landed["request_id"] == waiting.generation["request_id"]
        assert has_landed(landed)

    async def test_the_older_payload_resumes_the_task_too(
        self, post: Post, waiting: Waiting
    ) -> None:
        payload = {"task_id": waiting.generation["request_id"], "status": "SUCCESS"}
        assert outcome(await post(waiting.id, payload)) == (200, "resumed")

    async def test_a_signed_body_needs_no_secret_in_the_header(
        self, post: Post, waiting: Waiting
    ) -> None:
        body = json.dumps(waiting.ready).encode()
        signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        response = await post(waiting.id, body, secret=None, **{"X-BFL-Signature": signature})
        assert outcome(response) == (200, "resumed")

    async def test_a_wrong_signature_beside_the_right_secret_is_refused(
        self, post: Post, waiting: Waiting
    ) -> None:
        response = await post(waiting.id, waiting.ready, **{"X-BFL-Signature": "sha256=00"})
        assert response.status_code == 401
        assert waiting.event() is None

    @pytest.mark.parametrize("secret", [None, "wrong", ""])
    async def test_a_request_without_the_secret_is_refused(
        self, post: Post, waiting: Waiting, secret: str | None
    ) -> None:
        response = await post(waiting.id, waiting.ready, secret=secret)
        assert response.status_code == 401
        assert waiting.event() is None

    async def test_a_replayed_webhook_changes_nothing(self, post: Post, waiting: Waiting) -> None:
        first = await post(waiting.id, waiting.ready)
        event = waiting.event()
        again = await asyncio.gather(*(post(waiting.id, waiting.ready) for _ in range(5)))
        assert outcome(first) == (200, "resumed")
        assert {outcome(response) for response in again} == {(200, "ignored")}
        assert waiting.event() == event

    async def test_webhooks_that_arrive_twice_at_once_resume_the_task_once(
        self, post: Post, waiting: Waiting
    ) -> None:
        answers = await asyncio.gather(*(post(waiting.id, waiting.ready) for _ in range(8)))
        assert sorted(map(outcome, answers)) == [(200, "ignored")] * 7 + [(200, "resumed")]

    async def test_a_webhook_of_an_earlier_request_does_not_resume_the_task(
        self, post: Post, waiting: Waiting
    ) -> None:
        response = await post(waiting.id, {"id": "another-request", "status": "Ready"})
        assert outcome(response) == (200, "ignored")
        assert waiting.event() is None

    async def test_a_webhook_of_an_earlier_try_resumes_the_try_that_waits(
        self, post: Post, waiting: Waiting
    ) -> None:
        earlier, waiting.id = waiting.id, next_try(waiting.id)
        assert outcome(await post(earlier, waiting.ready)) == (200, "resumed")

    async def test_a_webhook_soon_after_the_deferral_is_left_to_the_polls(
        self, post: Post, tmp_path: Path
    ) -> None:
        """An event within seconds of the deferral can make the scheduler fail the task."""
        task = Waiting(tmp_path)
        with pytest.raises(TaskDeferred) as raised:
            task.operator.execute(task.context)
        assert raised.value.trigger.not_before > time.time() + 5
        task.generation = raised.value.trigger.generation
        task.defer(raised.value)
        assert outcome(await post(task.id, task.ready)) == (200, "ignored")
        assert task.event() is None

    @pytest.mark.parametrize("state", ["running", "success", "failed", "up_for_retry"])
    async def test_a_task_that_does_not_wait_is_left_alone(
        self, post: Post, waiting: Waiting, state: str
    ) -> None:
        set_state(waiting.id, state)
        assert outcome(await post(waiting.id, waiting.ready)) == (200, "ignored")

    async def test_a_reference_to_no_task_is_ignored(self, post: Post) -> None:
        response = await post(uuid4(), {"id": "r", "status": "Ready"})
        assert outcome(response) == (200, "ignored")

    async def test_a_generation_that_is_not_ready_makes_the_task_wait_again(
        self, post: Post, tmp_path: Path, hurry_after_webhook: None
    ) -> None:
        task = Waiting(tmp_path, "a fox [[fault:stuck]]")
        task.run()
        assert outcome(await post(task.id, task.ready)) == (200, "resumed")
        with pytest.raises(TaskDeferred):
            await asyncio.to_thread(task.resume)

    async def test_a_moderated_image_fails_its_task_at_once(
        self, post: Post, tmp_path: Path
    ) -> None:
        task = Waiting(tmp_path, "a fox [[fault:moderated]]")
        task.run()
        payload = {**task.ready, "status": "Content Moderated"}
        assert outcome(await post(task.id, payload)) == (200, "resumed")
        with pytest.raises(Exception, match="moderation refused"):
            await asyncio.to_thread(task.resume)


@pytest.fixture
def hurry_after_webhook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the wait for polls that confirm a webhook."""
    monkeypatch.setattr("airflow_provider_flux.operators.waiting._AFTER_WEBHOOK_SECONDS", 0.3)


def next_try(task_instance: UUID) -> UUID:
    """Let the next try of a task wait for the same trigger, and return its id."""
    with create_session() as session:
        ti = find(task_instance, session)
        ti.state = "up_for_retry"
        ti.prepare_db_for_next_try(session)
        ti.state = "deferred"
        return UUID(str(ti.id))


class TestPolls:
    async def test_without_a_webhook_the_trigger_lands_the_image(
        self, waiting: Waiting, tmp_path: Path
    ) -> None:
        waiting.trigger.webhook_interval = 0.5
        events = [event.payload async for event in waiting.trigger.run()]
        assert [event["status"] for event in events] == ["landed"]
        landed = await asyncio.to_thread(
            waiting.operator.execute_complete, waiting.context, events[0]
        )
        assert landed["image"] is not None

    async def test_a_webhook_after_the_poll_that_saw_it_lands_the_same_image(
        self, post: Post, waiting: Waiting, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        waiting.trigger.webhook_interval = 0.5
        (by_poll,) = [event.payload async for event in waiting.trigger.run()]
        assert outcome(await post(waiting.id, waiting.ready)) == (200, "resumed")
        landed = await asyncio.to_thread(waiting.resume)
        assert landed["image"] == by_poll["generation"]["image"]
        assert emulator.stats()["submits"] == 1
        assert has_landed(landed)

    async def test_a_trigger_with_a_webhook_polls_once_a_minute(self, waiting: Waiting) -> None:
        assert waiting.trigger.webhook_interval == 60.0

    def test_a_trigger_without_the_receiver_polls_as_before(
        self, post: Post, tmp_path: Path
    ) -> None:
        operator = FluxGenerateOperator(
            task_id="hero",
            prompt="a fox",
            webhook_url="https://127.0.0.1/mine",
            deferrable=True,
            inline_wait=0,
        )
        with pytest.raises(TaskDeferred) as raised:
            operator.execute(new_context())
        assert raised.value.trigger.webhook_interval is None


class TestStrangers:
    @pytest.mark.parametrize("reference", ["x", "A" * 43, "%2e%2e%2fetc", "\u00e9" * 43])
    async def test_a_wrong_reference_is_refused(self, post: Post, reference: str) -> None:
        response = await post(reference, {"id": "r", "status": "Ready"})
        assert response.status_code in {401, 404}

    async def test_too_many_refused_requests_are_not_read_and_do_not_delay_bfl(
        self, post: Post, waiting: Waiting
    ) -> None:
        for _ in range(webhook_limits.MAX_REFUSALS):
            assert (await post("stranger", b"")).status_code == 401
        refused = await post("stranger", b"")
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
        assert outcome(await post(waiting.id, waiting.ready)) == (200, "resumed")

    @pytest.mark.parametrize(
        ("body", "status"),
        [(b"{}", 400), (b"[" * 9999, 400), (b"x" * (webhooks.MAX_BODY_BYTES + 1), 413)],
    )
    async def test_a_body_that_is_no_notice_is_refused(
        self, post: Post, waiting: Waiting, body: bytes, status: int
    ) -> None:
        assert (await post(waiting.id, body)).status_code == status
        assert waiting.event() is None

    async def test_a_pending_generation_is_ignored(self, post: Post, waiting: Waiting) -> None:
        payload = {**waiting.ready, "status": "Pending"}
        assert outcome(await post(waiting.id, payload)) == (200, "ignored")
        assert waiting.event() is None

    async def test_without_a_secret_in_the_connection_nothing_is_accepted(
        self,
        post: Post,
        waiting: Waiting,
        emulator: EmulatorServer,
        connect: Callable[..., None],
    ) -> None:
        connect(emulator.url)
        assert (await post(waiting.id, waiting.ready)).status_code == 401


class TestReadyAsset:
    """A task that only submits: the receiver emits the event of its asset."""

    @staticmethod
    def submit(**arguments: Any) -> FluxGenerateOperator:
        arguments = {"webhook_url": RECEIVER, "ready_asset": READY, **arguments}
        return FluxGenerateOperator(task_id="hero", prompt="a fox", wait=False, **arguments)

    def new_task(self) -> tuple[UUID, Any]:
        """Store a task and a DAG that waits for its asset, and return its id and context."""
        new_task_instance(lambda: _consumer())
        task_instance = new_task_instance(self.submit)
        context = new_context()
        context["ti"].id = task_instance
        return task_instance, context

    def run(self) -> tuple[UUID, Any]:
        """Run the task, and return its id and what it returned."""
        task_instance, context = self.new_task()
        generation = self.submit().execute(context)
        push_all(task_instance, context, generation)
        set_state(task_instance, "success")
        return task_instance, generation

    async def test_a_ready_image_gives_one_event_from_which_it_lands(
        self, post: Post, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task_instance, generation = await asyncio.to_thread(self.run)
        assert generation["status"] == "Pending"
        payload = {"id": generation["request_id"], "status": "Ready"}
        answers = await asyncio.gather(*(post(task_instance, payload) for _ in range(4)))
        assert sorted(map(outcome, answers)) == [(200, "emitted")] + [(200, "ignored")] * 3
        (extra,) = events_of(generation["request_id"])
        assert extra == {**generation, "status": "Ready"}
        landing = FluxToObjectStorageOperator(
            task_id="land", generation=[extra], output_path=f"file://{tmp_path}/{{request_id}}.jpeg"
        )
        (landed,) = await asyncio.to_thread(landing.execute, new_context())
        assert has_landed(landed)
        assert emulator.stats()["submits"] == 1

    async def test_a_run_that_is_queued_has_the_event_of_a_webhook_that_arrives_later(
        self, post: Post
    ) -> None:
        dag_id = await asyncio.to_thread(_store_landing_dag)
        for _ in range(2):
            task_instance, generation = await asyncio.to_thread(self.run)
            payload = {"id": generation["request_id"], "status": "Ready"}
            assert outcome(await post(task_instance, payload)) == (200, "emitted")
        with create_session() as session:
            queued = select(AssetDagRunQueue).where(AssetDagRunQueue.target_dag_id == dag_id)
            (run,) = session.scalars(queued).all()
            events = select(AssetEvent.timestamp).where(AssetEvent.asset_id == run.asset_id)
            # Airflow gives a run the events up to the time at which it was queued.
            assert max(session.scalars(events)) <= run.created_at

    async def test_a_webhook_before_the_submit_was_recorded_waits_for_the_record(
        self, post: Post
    ) -> None:
        task_instance, context = await asyncio.to_thread(self.new_task)
        generation = await asyncio.to_thread(self.submit().execute, context)
        push_xcom(task_instance, "flux_ready_asset", context["ti"].xcoms["flux_ready_asset"])
        set_state(task_instance, "running")
        payload = {"id": generation["request_id"], "status": "Ready"}
        request = asyncio.create_task(post(task_instance, payload))
        await asyncio.sleep(0.7)
        assert not events_of(generation["request_id"])
        push_xcom(task_instance, "return_value", generation)
        set_state(task_instance, "success")
        assert outcome(await request) == (200, "emitted")
        assert len(events_of(generation["request_id"])) == 1

    async def test_a_record_that_takes_too_long_makes_bfl_send_the_webhook_again(
        self, post: Post, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(webhooks, "_EARLY_SECONDS", 0.2)
        task_instance, _ = await asyncio.to_thread(self.new_task)
        push_xcom(task_instance, "flux_ready_asset", {"name": READY.name, "uri": READY.uri})
        set_state(task_instance, "running")
        response = await post(task_instance, {"id": "r", "status": "Ready"})
        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")

    async def test_a_webhook_of_another_request_gives_no_event(self, post: Post) -> None:
        task_instance, _ = await asyncio.to_thread(self.run)
        response = await post(task_instance, {"id": "another", "status": "Ready"})
        assert outcome(response) == (200, "ignored")
        assert not events_of("another")

    def test_a_task_that_only_submits_returns_at_once_and_a_retry_submits_nothing(
        self, post: Post, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        operator = self.submit(ledger_path=f"file://{tmp_path}")
        context = new_context()
        context["ti"].id = uuid4()
        generation = operator.execute(context)
        assert (generation["status"], generation["image"]) == ("Pending", None)
        assert context["ti"].xcoms["flux_ready_asset"] == {"name": READY.name, "uri": READY.uri}
        assert emulator.stats()["submits"] == 1


def test_a_batch_cannot_use_the_receiver() -> None:
    with pytest.raises(FluxRequestError, match="A batch polls on its worker"):
        FluxGenerateBatchOperator(
            task_id="x",
            requests=["a"],
            output_path="/x/{key}.{ext}",
            defaults={"webhook_url": RECEIVER},
        )


class TestArguments:
    def test_the_receiver_needs_a_secret_in_the_connection(
        self, emulator: EmulatorServer, connect: Callable[..., None]
    ) -> None:
        connect(emulator.url, webhook_secret="short")
        with pytest.raises(Exception, match="at least 16 characters"):
            FluxGenerateOperator(task_id="x", prompt="a", webhook_url=RECEIVER).execute(
                new_context()
            )
        assert emulator.stats()["submits"] == 0

    def test_the_receiver_needs_the_secret_of_the_connection(
        self, post: Post, emulator: EmulatorServer
    ) -> None:
        operator = FluxGenerateOperator(
            task_id="x", prompt="a", webhook_url=RECEIVER, webhook_secret="another-secret-of-mine"
        )
        with pytest.raises(Exception, match="differs from that of the connection"):
            operator.execute(new_context())
        assert emulator.stats()["submits"] == 0

    def test_a_command_cannot_use_the_receiver(self, post: Post, emulator: EmulatorServer) -> None:
        operator = FluxGenerateOperator(task_id="x", prompt="a", webhook_url=RECEIVER)
        with pytest.raises(Exception, match="tasks of DAG runs only"):
            operator.execute(new_context())
        assert emulator.stats()["submits"] == 0

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"wait": False, "output_path": "/x/{seed}.png"}, "lands nothing"),
            ({"ready_asset": READY}, "needs wait=False"),
            ({"wait": False, "ready_asset": "heroes"}, "must be an Asset"),
            ({"wait": "no"}, "True or False"),
        ],
    )
    def test_arguments_that_contradict_each_other_are_refused_when_the_dag_is_parsed(
        self, arguments: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(FluxRequestError, match=message):
            FluxGenerateOperator(task_id="x", prompt="a", **arguments)

    def test_an_asset_without_the_receiver_is_refused_before_the_submit(
        self, post: Post, emulator: EmulatorServer
    ) -> None:
        operator = FluxGenerateOperator(task_id="x", prompt="a", wait=False, ready_asset=READY)
        with pytest.raises(Exception, match="needs a webhook_url"):
            operator.execute(new_context())
        assert emulator.stats()["submits"] == 0


def _consumer() -> Any:
    from airflow.providers.standard.operators.empty import EmptyOperator

    return EmptyOperator(task_id="consumer", inlets=[READY], outlets=[READY])


def _store_landing_dag() -> str:
    """Store a DAG that the asset schedules, and return its id."""
    from airflow.providers.standard.operators.empty import EmptyOperator

    with DAG(f"landing-{uuid4().hex[:8]}", schedule=[READY]) as dag:
        EmptyOperator(task_id="land")
    store_dag(dag)
    with create_session() as session:
        model = session.get(DagModel, dag.dag_id)
        assert model is not None
        model.is_paused = False
    return dag.dag_id


def push_all(task_instance: UUID, context: Any, returned: Any) -> None:
    """Store the XComs of a task that ran without Airflow."""
    for key, value in {**context["ti"].xcoms, "return_value": returned}.items():
        push_xcom(task_instance, key, value)


def events_of(request_id: str) -> list[dict[str, Any]]:
    """Return the extras of the asset events of a request."""
    with create_session() as session:
        extras = session.scalars(select(AssetEvent.extra)).all()
    return [extra for extra in extras if extra.get("request_id") == request_id]
