"""FluxGenerateOperator on the worker and on the triggerer: each fault has its documented end."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowTaskTimeout,
    TaskDeferred,
)
from airflow.sdk import DAG, ObjectStoragePath
from PIL import Image

from airflow_provider_flux.bfl import errors
from airflow_provider_flux.bfl.errors import FluxError, FluxRequestError, FluxTimeoutError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.emulator.faults import FAULTS
from airflow_provider_flux.object_store.filesystem import open_path
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.operators.request_arguments import NAMED_PARAMETERS
from tests.support.batch_tries import batch
from tests.support.run_operator import WAYS, new_context, run_operator
from tests.support.task_tries import Task

pytestmark = pytest.mark.usefixtures("hurry")
ways = pytest.mark.parametrize("way", WAYS)


def operator(
    prompt: str | None = "a fox", way: str = "sync", **arguments: Any
) -> FluxGenerateOperator:
    arguments = {
        "task_id": "hero",
        "prompt": prompt,
        "poll_interval": 0.1,
        **WAYS[way],
        **arguments,
    }
    return FluxGenerateOperator(**arguments)


@ways
def test_a_task_without_output_path_returns_a_generation_without_an_image(
    emulator: EmulatorServer, way: str
) -> None:
    generation = run_operator(operator(seed=7, way=way))
    assert sorted(generation) == sorted(
        [
            *(
                "request_id",
                "polling_url",
                "model",
                "status",
                "seed",
                "cost",
                "cost_source",
                "estimated_cost",
            ),
            *("submitted_at", "fingerprint", "reused", "uncertain_submits", "image", "video"),
        ]
    )
    assert (generation["model"], generation["status"], generation["seed"]) == (
        "flux-pro-1.1",
        "Ready",
        7,
    )
    assert (generation["cost"], generation["cost_source"]) == (4, "estimated")
    assert generation["image"] is None
    assert "sig=" not in json.dumps(generation)
    assert emulator.stats()["submits"] == 1


@ways
def test_an_image_is_landed_at_output_path(
    emulator: EmulatorServer, tmp_path: Path, way: str
) -> None:
    path = f"file://{tmp_path}/{{index:02d}}-{{seed}}-{{request_id}}.{{ext}}"
    arguments = {"seed": 9, "width": 512, "height": 256, "output_format": "png"}
    generation = run_operator(operator(way=way, output_path=path, **arguments), map_index=3)
    image = generation["image"]
    assert image["uri"] == f"file://{tmp_path}/03-9-{generation['request_id']}.png"
    data = ObjectStoragePath(image["uri"]).read_bytes()
    assert (image["bytes"], image["content_type"]) == (len(data), "image/png")
    assert (image["width"], image["height"]) == Image.open(io.BytesIO(data)).size == (512, 256)
    assert emulator.stats()["submits"] == 1


@pytest.mark.parametrize(
    ("model", "parameters", "size", "cost"),
    [
        ("flux-pro-1.1-ultra", {"aspect_ratio": "16:9", "raw": True}, None, (6, "estimated")),
        ("flux-2-pro", {"width": 512, "height": 256}, (512, 256), (3, "reported")),
        ("flux-kontext-pro", {"aspect_ratio": "1:1"}, (1024, 1024), (4, "estimated")),
    ],
)
def test_a_model_gets_its_own_parameters_and_reports_its_cost(
    emulator: EmulatorServer, tmp_path: Path, model: str, parameters: dict, size: Any, cost: Any
) -> None:
    generation = run_operator(
        operator(model=model, parameters=parameters, output_path=f"{tmp_path}/x.{{ext}}")
    )
    assert (generation["cost"], generation["cost_source"]) == cost
    if size:
        assert (generation["image"]["width"], generation["image"]["height"]) == size


RECOVERS = [
    "rate-limit=2",
    "poll-500=2",
    "poll-503=1,0.2",
    "poll-429=2",
    "poll-reset=1",
    "poll-html=1",
    "not-found=2",
    "unknown-status=2",
    "state-key",
    "no-polling-url",
    "slow=0.6",
    "truncate=1",
    "cut=1",
    "reset=1",
    "html=1",
    "empty=1",
    "expired=1",
    "deliver-403=1",
    "deliver-503=1,0.1",
    "wrong-size",
    "wrong-format",
    "blank",  # a batch has checks of what is on an image
    "black",
    "duplicate",
    "wrong-text",
    "damaged-video=1",
    "absurd-cost=-3",
    "poll-moved=3",
    "poll-moved=5",
    "poll-bomb=1",
    "bomb=1",
    "result-lists",
    "no-result=2",
]
#: Faults that end at the read timeout, which is short in their test.
SLOW_ANSWERS = ["poll-drip=1,0.05", "drip=1,0.05"]


@ways
@pytest.mark.parametrize("fault", RECOVERS)
def test_a_task_lands_its_image_in_spite_of_a_transient_fault(
    emulator: EmulatorServer, tmp_path: Path, fault: str, way: str
) -> None:
    generation = run_operator(
        operator(f"x [[fault:{fault}]]", way=way, output_path=f"{tmp_path}/x.{{ext}}")
    )
    assert Path(generation["image"]["uri"]).stat().st_size == generation["image"]["bytes"]
    assert emulator.stats()["submits"] == 1


@ways
@pytest.mark.parametrize("fault", SLOW_ANSWERS)
def test_a_task_lands_its_image_although_an_answer_drips(
    emulator: EmulatorServer, connect: Any, tmp_path: Path, fault: str, way: str
) -> None:
    """Fault 9: an answer that drips held the task for ten minutes, past its timeout."""
    connect(emulator.url, read_timeout=0.5)
    started = time.monotonic()
    generation = run_operator(
        operator(f"x [[fault:{fault}]]", way=way, output_path=f"{tmp_path}/x.{{ext}}")
    )
    assert Path(generation["image"]["uri"]).stat().st_size == generation["image"]["bytes"]
    assert emulator.stats()["submits"] == 1
    assert time.monotonic() - started < 60


@ways
def test_a_task_lands_its_image_from_a_regional_host_that_the_connection_trusts(
    emulator: EmulatorServer, connect: Any, tmp_path: Path, way: str
) -> None:
    """Fault 19: a poll that was redirected to a trusted host ended the generation for good."""
    connect(emulator.url, trusted_hosts="localhost, 127.0.0.1")
    task = operator("x [[fault:poll-regional=1]]", way=way, output_path=f"{tmp_path}/x.{{ext}}")
    image = run_operator(task)["image"]
    assert Path(image["uri"]).stat().st_size == image["bytes"]
    assert emulator.stats()["submits"] == 1


@ways
@pytest.mark.parametrize(
    "cost", ["-3", "NaN", "Infinity", "-Infinity", "1e999", "1e308", "true", "a lot"]
)
def test_an_absurd_cost_is_unknown_and_the_estimate_counts(
    emulator: EmulatorServer, tmp_path: Path, cost: str, way: str, caplog: Any
) -> None:
    """Fault 8: a negative cost lowered the credits, and NaN made the XCom invalid JSON."""
    generation = run_operator(
        operator(f"x [[fault:absurd-cost={cost}]]", way=way, output_path=f"{tmp_path}/x.{{ext}}")
    )
    assert (generation["cost"], generation["cost_source"]) == (4, "estimated")
    assert "which is not a number from 0 to a trillion" in caplog.text
    sidecar = Path(generation["image"]["sidecar"]).read_text()
    assert json.loads(sidecar, parse_constant=pytest.fail)["cost"] == 4


#: Fault, error, number of billed submits, and whether Airflow may retry.
ENDS: list[tuple[str, type[FluxError], int, bool]] = [
    ("no-credits", errors.FluxInsufficientCreditsError, 0, False),
    (
        "busy-402",
        errors.FluxInsufficientCreditsError,
        0,
        False,
    ),  # for videos it may mean "too fast"
    ("submit-500", errors.FluxSubmitUncertainError, 0, False),
    ("submit-503=1", errors.FluxSubmitUncertainError, 0, False),
    ("submit-503-made", errors.FluxSubmitUncertainError, 1, False),
    ("submit-status=408", errors.FluxSubmitUncertainError, 0, False),
    ("submit-status-made=499", errors.FluxSubmitUncertainError, 1, False),
    ("submit-lost", errors.FluxSubmitUncertainError, 1, False),
    ("detail-object", errors.FluxRequestError, 0, False),
    ("echo-secrets", errors.FluxRequestError, 0, False),
    ("quote-prompt", errors.FluxRequestError, 0, False),
    ("foreign-polling-url", errors.FluxUntrustedURLError, 1, False),
    ("moderated=Violence", errors.FluxModeratedError, 1, False),
    ("request-moderated", errors.FluxModeratedError, 1, False),
    ("moderated-text", errors.FluxModeratedError, 1, False),
    ("error", errors.FluxGenerationError, 1, True),
    ("error-at-top", errors.FluxGenerationError, 1, True),
    ("error-in-result", errors.FluxGenerationError, 1, True),
    ("error-422", errors.FluxGenerationError, 1, True),
    ("error-503", errors.FluxGenerationError, 1, True),
    ("bad-input", errors.FluxGenerationError, 1, True),
    ("failed", errors.FluxGenerationError, 1, True),
    ("lost", errors.FluxTaskNotFoundError, 1, False),
    ("stuck", errors.FluxTimeoutError, 1, False),
    ("held", errors.FluxTimeoutError, 1, False),
    ("poll-403", errors.FluxAuthenticationError, 1, False),
    ("poll-redirect", errors.FluxUntrustedURLError, 1, False),
    ("truncate=always", errors.FluxServiceError, 1, False),
    ("cut=always", errors.FluxImageError, 1, False),
    ("html=always", errors.FluxImageError, 1, False),
    ("empty=always", errors.FluxImageError, 1, False),
    ("expired=always", errors.FluxResultExpiredError, 1, False),
    ("deliver-403=always", errors.FluxServiceError, 1, False),
    ("redirect-download", errors.FluxUntrustedURLError, 1, False),
]


def test_the_tests_of_the_operator_cover_every_fault_script() -> None:
    tried = [*RECOVERS, *SLOW_ANSWERS, *(fault for fault, *_ in ENDS)]
    tried += ["submit-hang", "poll-regional"]  # which need a connection of their own
    assert {fault.partition("=")[0] for fault in tried} == set(FAULTS)


@ways
@pytest.mark.parametrize(("fault", "error", "submits", "is_retried"), ENDS)
def test_a_lasting_fault_ends_with_its_typed_error_and_one_submit(
    emulator: EmulatorServer,
    tmp_path: Path,
    fault: str,
    error: type[FluxError],
    submits: int,
    is_retried: bool,
    way: str,
) -> None:
    task = operator(
        f"x [[fault:{fault}]]", way=way, output_path=f"{tmp_path}/x.{{ext}}", timeout=1.2
    )
    with pytest.raises(error if is_retried else AirflowFailException) as caught:
        run_operator(task)
    if not is_retried:
        assert str(caught.value).startswith(f"{error.__name__}: ")
        assert isinstance(caught.value.__cause__, error)
    assert emulator.stats()["submits"] == submits
    assert list(tmp_path.iterdir()) == []
    assert "sig=" not in str(caught.value)


@ways
def test_a_submit_whose_answer_is_late_is_not_repeated(
    emulator: EmulatorServer, connect, way: str
) -> None:
    connect(emulator.url, read_timeout=0.3)
    with pytest.raises(AirflowFailException, match="FluxSubmitUncertainError"):
        run_operator(operator("x [[fault:submit-hang=1]]", way=way))
    assert emulator.stats()["submits"] == 1


@pytest.mark.parametrize("error", ["Trigger timeout", "Trigger failure"])
def test_the_worker_waits_for_the_image_after_airflow_ended_the_deferral(
    emulator: EmulatorServer, tmp_path: Path, error: str
) -> None:
    task, ctx = operator(way="deferred", output_path=f"{tmp_path}/x.{{ext}}"), new_context()
    with pytest.raises(TaskDeferred):
        task.execute(ctx)
    generation = task.resume_execution("__fail__", {"error": error}, ctx)
    assert Path(generation["image"]["uri"]).exists()
    assert emulator.stats()["submits"] == 1


def test_a_deferral_without_a_ledger_that_airflow_ended_late_is_not_retried(
    emulator: EmulatorServer,
) -> None:
    task, ctx = operator("x [[fault:stuck]]", way="deferred", timeout=1), new_context()
    with pytest.raises(TaskDeferred):
        task.execute(ctx)
    time.sleep(1.1)
    with pytest.raises(AirflowFailException, match="FluxTimeoutError"):
        task.resume_execution("__fail__", {"error": "Trigger timeout"}, ctx)


def test_a_task_without_inline_wait_defers_without_a_wait_on_the_worker(
    emulator: EmulatorServer,
) -> None:
    started = time.monotonic()
    with pytest.raises(TaskDeferred):
        operator(way="deferred", poll_interval=30).execute(new_context())
    with pytest.raises(TaskDeferred):
        operator("x [[fault:slow=9]]", way="between", poll_interval=30).execute(new_context())
    assert time.monotonic() - started < 5
    assert emulator.stats()["polls"] == 1


def test_a_task_at_the_limit_of_the_account_is_left_to_airflows_retries(
    emulator: EmulatorServer,
) -> None:
    with pytest.raises(errors.FluxRateLimitedError):
        run_operator(operator("x [[fault:rate-limit=99]]", timeout=1))
    assert emulator.stats()["submits"] == 0


def test_the_error_of_a_paid_image_names_the_operator_call_that_lands_it(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    from airflow_provider_flux.transfers.flux_to_object_storage import FluxToObjectStorageOperator

    task = operator("x [[fault:slow=1.5]]", timeout=1)
    with pytest.raises(AirflowFailException, match="FluxToObjectStorageOperator") as caught:
        run_operator(task)
    argument = str(caught.value).partition("generation=")[2].partition(", output_path")[0]
    generation = json.loads(argument.replace("'", '"'))
    transfer = FluxToObjectStorageOperator(
        task_id="transfer", generation=generation, output_path=f"{tmp_path}/x.{{ext}}"
    )
    assert Path(run_operator(transfer)["image"]["uri"]).exists()
    assert emulator.stats()["submits"] == 1


def test_a_deferral_holds_no_secret_and_has_a_timeout(emulator: EmulatorServer) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        operator(way="deferred", timeout=100).execute(new_context())
    trigger = deferred.value.trigger
    known = [
        "deadline",
        "flux_conn_id",
        "generation",
        "hide_texts",
        "landing_plan",
        "not_before",
        "poll_interval",
        "record_uri",
        "webhook_interval",
    ]
    assert sorted(trigger.serialize()[1]) == known
    assert 100 < deferred.value.timeout.total_seconds() <= 161
    assert "bfl_" not in repr(trigger)


def test_execution_timeout_shortens_the_wait_on_the_triggerer(emulator: EmulatorServer) -> None:
    from datetime import timedelta

    with pytest.raises(AirflowFailException, match="FluxTimeoutError"):
        run_operator(
            operator("x [[fault:stuck]]", way="deferred", execution_timeout=timedelta(seconds=1))
        )


@pytest.mark.parametrize("phase", ["submit", "wait", "land"])
def test_a_task_without_a_ledger_is_not_retried_after_a_timeout_of_airflow(
    emulator: EmulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """A timer fires in the middle, as ``execution_timeout`` does on the worker."""
    import signal

    def alarm(*_: object, **__: object) -> None:
        raise AirflowTaskTimeout("Timeout")

    prompt = {"submit": "x [[fault:submit-hang=2]]", "wait": "x [[fault:stuck]]", "land": "x"}[
        phase
    ]
    task = operator(prompt, output_path=f"{tmp_path}/x.{{ext}}")
    if phase == "land":
        monkeypatch.setattr("airflow_provider_flux.landing.download.inspect_result", alarm)
    open_path(f"{tmp_path}/x")  # imports the stores of all providers, which takes a second
    before = signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, 0 if phase == "land" else 0.6)
    try:
        with pytest.raises(
            AirflowFailException, match=r"FluxSubmitUncertainError|AirflowTaskTimeout"
        ):
            run_operator(task)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert emulator.stats()["submits"] == 1


def test_a_triggerer_without_the_connection_to_bfl_hands_over_to_the_worker(
    emulator: EmulatorServer, tmp_path: Path, connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    from tests.support.run_operator import run_trigger

    task = operator(way="deferred", output_path=f"{tmp_path}/x.{{ext}}")
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(new_context())
    monkeypatch.delenv("AIRFLOW_CONN_FLUX_DEFAULT")
    event = asyncio.run(run_trigger(deferred.value.trigger))
    assert event["status"] == "hand_over"
    assert "flux_default" in event["reason"]
    connect(emulator.url)
    assert Path(task.execute_complete(new_context(), event)["image"]["uri"]).exists()
    assert emulator.stats()["submits"] == 1


@pytest.mark.parametrize(
    "event", [None, {}, {"status": "ready"}, {"status": "sold", "generation": {}}, "ready"]
)
def test_an_event_of_another_provider_is_refused(event: Any) -> None:
    with pytest.raises(AirflowFailException, match="FluxTriggerEventError"):
        operator().execute_complete(new_context(), event)


def test_the_documented_defaults_are_arguments_of_the_task() -> None:
    task = operator()
    assert (task.width, task.height, task.prompt_upsampling) == (1024, 1024, False)
    assert (task.safety_tolerance, task.output_format, task.seed) == (2, "jpeg", None)
    assert operator(model="flux-2-pro").width is None
    assert operator(parameters={"width": 512}).width is None
    assert set(NAMED_PARAMETERS) <= set(task.template_fields)


def test_rendered_templates_are_converted_to_the_types_of_their_parameters(
    emulator: EmulatorServer,
) -> None:
    with DAG("d", schedule=None):
        task = operator(
            "{{ p }}",
            width="{{ w }}",
            seed="{{ s }}",
            parameters={"user": "{{ u }}"},
            output_path="/{{ p }}.png",
        )
    task.render_template_fields({"p": "a fox", "w": 512, "s": None, "u": None})
    request = task._build_request()
    assert request.parameters["width"] == 512
    assert "seed" not in request.parameters
    assert "user" not in request.parameters
    assert task.output_path == "/a fox.png"


#: Wrong literal arguments, and a part of the error.
BAD_LITERALS: list[tuple[dict[str, Any], str]] = [
    ({"prompt": None}, "prompt is missing"),
    ({"prompt": ""}, "prompt is missing"),
    ({"prompt": 7}, "prompt=7"),
    ({"width": 1000}, "width=1000"),
    ({"width": 255}, "width=255"),
    ({"height": 1472}, "height=1472"),
    ({"width": "1024"}, "width='1024'"),
    ({"seed": "abc"}, "seed='abc'"),
    ({"safety_tolerance": 7}, "safety_tolerance=7"),
    ({"output_format": "gif"}, "output_format='gif'"),
    ({"prompt_upsampling": "yes"}, "prompt_upsampling='yes'"),
    ({"model": "flux-pro-11"}, "Did you mean 'flux-pro-1.1'"),
    ({"model": "flux-kontext-pro", "width": 512}, "width is not a parameter of flux-kontext-pro"),
    ({"parameters": {"widht": 512}}, "widht is not a parameter"),
    ({"parameters": {"prompt": "b"}}, "prompt is set twice"),
    ({"parameters": [1]}, "parameters is list"),
    ({"webhook_secret": "s3cret-value"}, "webhook_url is not"),
    ({"webhook_url": "nowhere"}, "webhook_url='nowhere'"),
    ({"output_path": ""}, "output_path='' is empty"),
    ({"output_path": "s3:///key.png"}, "has no bucket"),
    ({"output_path": "images/x.png"}, "is relative"),
    ({"output_path": "s3://b/{name}.png"}, "unknown placeholder"),
    ({"timeout": 0}, "timeout=0"),
    ({"timeout": "10"}, "timeout='10'"),
    ({"poll_interval": 0.01}, "poll_interval=0.01"),
    ({"inline_wait": -1}, "inline_wait=-1"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_LITERALS)
def test_a_wrong_literal_argument_fails_when_the_dag_is_parsed(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(FluxRequestError) as caught:
        operator(**{"prompt": "a fox", **arguments})
    assert message in str(caught.value)
    assert "s3cret-value" not in str(caught.value)


#: Wrong arguments after templates are rendered, and a part of the error.
BAD_AT_RUN_TIME: list[tuple[dict[str, Any], str]] = [
    ({"prompt": ""}, "prompt is missing"),
    ({"prompt": "None"}, "prompt is missing"),
    ({"width": "1000"}, "width=1000"),
    ({"seed": "abc"}, "seed='abc'"),
    ({"output_format": "gif"}, "output_format='gif'"),
    ({"model": "flux-pro-11"}, "Did you mean"),
    ({"output_path": "s3:///x.png"}, "has no bucket"),
    ({"output_path": "s3://no_such_conn@bucket/x.png"}, "no_such_conn"),
    ({"flux_conn_id": "no_such_flux"}, "'no_such_flux' does not exist"),
]


@pytest.mark.parametrize(("rendered", "message"), BAD_AT_RUN_TIME)
def test_a_wrong_rendered_argument_fails_before_the_submit(
    emulator: EmulatorServer, rendered: dict[str, str], message: str
) -> None:
    task = operator(**{"prompt": "a fox", **dict.fromkeys(rendered, "{{ x }}")})
    for name, value in rendered.items():
        setattr(task, name, value)
    with pytest.raises(AirflowFailException) as caught:
        run_operator(task)
    assert message in str(caught.value)
    assert emulator.stats()["submits"] + emulator.stats()["refused"] == 0


@pytest.mark.parametrize(
    ("connection", "message"),
    [
        ({"host": "127.0.0.1:8080"}, "scheme"),
        ({"password": "bfl_abc\n"}, "line break"),
        ({"password": None}, "no API key"),
        ({"region": "mars"}, "region='mars'"),
    ],
)
def test_a_malformed_connection_fails_before_the_submit(
    emulator: EmulatorServer, connect, connection: dict[str, Any], message: str
) -> None:
    connect(**{"host": None if "region" in connection else emulator.url, **connection})
    with pytest.raises(AirflowFailException) as caught:
        run_operator(operator())
    assert message in str(caught.value)
    assert emulator.stats()["submits"] + emulator.stats()["refused"] == 0


def test_the_serialized_dag_holds_no_literal_webhook_secret() -> None:
    from tests.support.airflow_names import DagSerialization

    with DAG("d", schedule=None) as dag:
        operator(webhook_url="https://a.b/c", webhook_secret="s3cret-value")
        by_name = operator(
            task_id="b",
            parameters={"webhook_url": "https://a.b/c", "webhook_secret": "s3cret-value"},
        )
    assert by_name._build_request().parameters["webhook_secret"] == "s3cret-value"
    assert "s3cret-value" not in json.dumps(DagSerialization.to_dict(dag))


def test_the_output_of_another_task_is_checked_at_run_time(emulator: EmulatorServer) -> None:
    with DAG("d", schedule=None):
        upstream = operator(task_id="upstream")
        whole = operator(task_id="whole", prompt=None, parameters=upstream.output["parameters"])
        text = operator(task_id="text", width=upstream.output["width"])
        part = operator(task_id="part", parameters={"image_prompt": upstream.output["image"]})
        listed = operator(
            task_id="listed", model="{{ m }}", prompt="{{ p }}", output_path=upstream.output["path"]
        )
    assert whole.width is None  # the parameters may set it
    assert part.width == 1024
    assert (
        listed.upstream_task_ids
        == whole.upstream_task_ids
        == part.upstream_task_ids
        == {"upstream"}
    )
    text.width = "512"
    assert text._build_request().parameters["width"] == 512
    whole.parameters = {"prompt": "a fox", "width": 1000}
    with pytest.raises(AirflowFailException, match="width=1000"):
        run_operator(whole)
    assert emulator.stats()["submits"] == 0


def test_the_arguments_of_a_mapped_task_are_checked_when_it_is_mapped() -> None:
    with DAG("d", schedule=None):
        mapped = FluxGenerateOperator.partial(task_id="m", width="{{ w }}").expand(
            prompt=["a", "b"]
        )
        assert mapped.unmap({"prompt": "a"}).prompt == "a"
        with pytest.raises(FluxRequestError, match="seed='x'"):
            FluxGenerateOperator.partial(task_id="n", prompt="a").expand(seed=["x"]).unmap(
                {"seed": "x"}
            )


def test_a_route_of_the_account_is_no_model_of_any_operator(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    """Fault 5: a literal when the DAG is parsed, a template and a row before the submit."""
    with pytest.raises(FluxRequestError, match="generates nothing"):
        operator(model="delete_finetune", validate=False)
    with DAG("d", schedule=None):
        task = operator(model="{{ m }}", validate=False)
    task.render_template_fields({"m": "my_finetunes"})
    with pytest.raises(AirflowFailException, match="generates nothing"):
        run_operator(task)
    for row in ({"model": "credits"}, {"fallback_model": "get_result"}):
        rows = batch(tmp_path, [{"prompt": "a fox", **row}], validate=False)
        rows.fail(AirflowFailException, "generates nothing")
    assert emulator.stats()["submits"] + emulator.stats()["refused"] == 0


def test_validate_false_sends_unknown_models_and_parameters() -> None:
    request = operator(
        model="flux-9-max", parameters={"sparkle": 3}, validate=False
    )._build_request()
    assert (request.path, dict(request.parameters)) == (
        "/v1/flux-9-max",
        {"prompt": "a fox", "sparkle": 3},
    )


def test_on_kill_logs_the_request_that_goes_on_and_is_billed(emulator: EmulatorServer) -> None:
    task = operator()
    task.on_kill()
    generation = run_operator(task)
    lines: list[str] = []
    task.log.warning = lambda text, *values: lines.append(text % values)  # type: ignore[method-assign]
    task.on_kill()
    assert generation["request_id"] in lines[0]
    assert "is billed" in lines[0]
    assert "FluxToObjectStorageOperator" in lines[0]


def test_a_timeout_by_a_clock_that_is_ahead_does_not_end_the_wait(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    """Fault 17: the clock of the triggerer is an hour ahead of that of the worker."""
    path = f"{tmp_path}/x.{{ext}}"
    task = Task({"prompt": "a fox [[fault:slow=1]]", "output_path": path, **WAYS["deferred"]})
    operator, deferred, context = task.defer()
    late = {
        "status": "error",
        "error": FluxTimeoutError("late").as_dict(),
        "generation": dict(deferred.trigger.generation),
    }
    result = operator.resume_execution(deferred.method_name, {"event": late}, context)
    assert Path(result["image"]["uri"]).exists()
    assert emulator.stats()["submits"] == 1
    assert any("By the clock of the triggerer" in text for text in task.warnings)
