"""Tests of retries, clears and crashes: a try resumes generations, and no submit is repeated."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.bfl import errors
from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from tests.support.ledger_fixtures import LedgerKind
from tests.support.sample_media import make_image
from tests.support.task_tries import Died, Task, phases

pytestmark = pytest.mark.usefixtures("hurry")


def test_a_try_leaves_one_record_of_its_submit(
    emulator: EmulatorServer, ledger: LedgerKind
) -> None:
    task = ledger.task()
    generation = task.retry()
    (record,) = ledger.records(task)
    assert record["phase"] == "returned"
    assert record["generation"] == generation
    assert record["owner"] == {
        "dag_id": "ads",
        "run_id": "manual__2026-11-26T00:00:00+00:00",
        "task_id": "hero",
        "map_index": -1,
        "try_number": 1,
    }
    assert generation["uncertain_submits"] == 0


@pytest.mark.parametrize("moment", ["before poll", "after poll"])
def test_a_retry_resumes_the_generation_of_a_lost_worker(
    emulator: EmulatorServer, ledger: LedgerKind, die_at: Callable[[str], None], moment: str
) -> None:
    task = ledger.task()
    die_at(moment)
    with pytest.raises(Died):
        task.retry()
    (before,) = ledger.records(task)
    generation = task.retry()
    assert before["phase"] == "submitted"
    assert generation["request_id"] == before["generation"]["request_id"]
    assert phases(ledger.records(task)) == ["returned"]
    assert emulator.stats()["submits"] == 1


def test_a_retry_of_a_task_that_returned_returns_the_same_image(
    emulator: EmulatorServer, ledger: LedgerKind
) -> None:
    task = ledger.task()
    first = task.retry()
    polls = emulator.stats()["polls"]
    assert task.retry() == first
    assert (emulator.stats()["submits"], emulator.stats()["polls"]) == (1, polls)


def test_a_cleared_task_that_succeeded_gets_a_new_image(
    emulator: EmulatorServer, ledger: LedgerKind
) -> None:
    task = ledger.task()
    first, second = task.retry(), task.clear()
    assert first["request_id"] != second["request_id"]
    assert phases(ledger.records(task)) == ["returned", "returned"]
    assert task.warnings == []
    assert task.clear(on_clear="keep")["request_id"] == second["request_id"]
    assert emulator.stats()["submits"] == 2


def test_a_task_of_a_recreated_run_gets_a_new_image(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    first, second = (
        Task({"prompt": "a fox", "output_path": f"{tmp_path}/x.{{ext}}"}) for _ in range(2)
    )
    first.retry()
    second.retry()
    assert emulator.stats()["submits"] == 2


def test_a_cleared_task_resumes_the_generation_in_flight(
    emulator: EmulatorServer, ledger: LedgerKind, die_at: Callable[[str], None]
) -> None:
    task = ledger.task()
    die_at("before poll")
    with pytest.raises(Died):
        task.retry()
    task.clear()
    assert emulator.stats()["submits"] == 1


def test_on_clear_new_leaves_the_generation_in_flight_and_names_it(
    emulator: EmulatorServer, ledger: LedgerKind, die_at: Callable[[str], None]
) -> None:
    task = ledger.task(on_clear="new")
    die_at("before poll")
    with pytest.raises(Died):
        task.retry()
    (before,) = ledger.records(task)
    task.clear()
    assert emulator.stats()["submits"] == 2
    assert phases(ledger.records(task)) == ["submitted", "returned"]
    assert before["generation"]["request_id"] in task.warnings[0]
    assert "4 credits" in task.warnings[0]


@pytest.mark.parametrize("moment", ["before post", "after post"])
def test_an_uncertain_submit_is_not_repeated_until_a_user_clears_the_task(
    emulator: EmulatorServer, ledger: LedgerKind, die_at: Callable[[str], None], moment: str
) -> None:
    task = ledger.task()
    die_at(moment)
    with pytest.raises(Died):
        task.retry()
    for _ in range(2):
        with pytest.raises(
            AirflowFailException, match=r"FluxSubmitUncertainError.*possibly billed for 4 credits"
        ):
            task.retry()
    billed = int(moment == "after post")
    assert emulator.stats()["submits"] == billed
    assert task.clear()["uncertain_submits"] == 1
    assert "possibly billed" in task.warnings[-1]
    assert emulator.stats()["submits"] == billed + 1
    assert phases(ledger.records(task)) == ["intent", "returned"]


def test_on_uncertain_resubmit_submits_again_and_reports_it(
    emulator: EmulatorServer, ledger: LedgerKind, die_at: Callable[[str], None]
) -> None:
    task = ledger.task(on_uncertain="resubmit")
    die_at("after post")
    with pytest.raises(Died):
        task.retry()
    assert task.retry()["uncertain_submits"] == 1
    assert "possibly billed for 4 credits" in task.warnings[0]
    assert emulator.stats()["submits"] == 2


@pytest.mark.parametrize(
    ("policy", "error"),
    [("fail", AirflowFailException), ("resubmit", errors.FluxSubmitUncertainError)],
)
def test_a_lost_answer_is_left_to_retries_only_with_on_uncertain_resubmit(
    emulator: EmulatorServer, ledger: LedgerKind, policy: Any, error: type[Exception]
) -> None:
    task = ledger.task("x [[fault:submit-lost]]", on_uncertain=policy)
    with pytest.raises(error):
        task.retry()
    assert emulator.stats()["submits"] == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [("rate-limit=99", errors.FluxRateLimitedError), ("no-credits", AirflowFailException)],
)
def test_a_refused_submit_is_not_uncertain(
    emulator: EmulatorServer, ledger: LedgerKind, fault: str, error: Any
) -> None:
    task = ledger.task(f"x [[fault:{fault}]]", timeout=1)
    with pytest.raises(error):
        task.retry()
    assert phases(ledger.records(task)) == ["failed"]
    generation = task.retry(prompt="x")
    assert (generation["uncertain_submits"], task.warnings) == (0, [])


def test_a_worker_lost_while_it_waits_for_a_slot_leaves_no_uncertain_submit(
    emulator: EmulatorServer, ledger: LedgerKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(seconds: float) -> None:
        raise Died

    task = ledger.task("x [[fault:rate-limit=1]]")
    with monkeypatch.context() as patched:
        patched.setattr("tenacity.nap.time.sleep", die)
        with pytest.raises(Died):
            task.retry()
    assert phases(ledger.records(task)) == ["failed"]
    assert task.retry()["uncertain_submits"] == 0


@pytest.mark.parametrize("fault", ["stuck", "truncate=always", "html=always"])
def test_errors_after_the_submit_are_left_to_retries_which_submit_nothing(
    emulator: EmulatorServer, tmp_path: Path, fault: str
) -> None:
    errors_by_fault = {
        "stuck": errors.FluxTimeoutError,
        "truncate=always": errors.FluxServiceError,
        "html=always": errors.FluxImageError,
    }
    task = Task(
        {"prompt": f"x [[fault:{fault}]]", "output_path": f"{tmp_path}/x.{{ext}}", "timeout": 1}
    )
    for _ in range(2):
        with pytest.raises(errors_by_fault[fault]):
            task.retry()
    assert emulator.stats()["submits"] == 1
    assert phases(task.records(tmp_path)) == ["submitted"]


def test_an_error_that_repeats_itself_says_how_to_resume_the_generation(
    emulator: EmulatorServer, ledger: LedgerKind
) -> None:
    task = ledger.task("x [[fault:poll-403]]")
    with pytest.raises(AirflowFailException, match="Clear the task, or run `airflow flux recover`"):
        task.retry()
    assert phases(ledger.records(task)) == ["submitted"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [("moderated=Violence", AirflowFailException), ("error", errors.FluxGenerationError)],
)
def test_a_retry_submits_again_after_bfl_ended_the_request(
    emulator: EmulatorServer, ledger: LedgerKind, fault: str, error: Any
) -> None:
    task = ledger.task(f"x [[fault:{fault}]]")
    with pytest.raises(error):
        task.retry()
    task.retry(prompt="x")
    assert phases(ledger.records(task)) == ["failed", "returned"]
    assert task.warnings == []


def test_a_changed_request_is_handled_as_on_change_says(
    emulator: EmulatorServer, ledger: LedgerKind, die_at: Callable[[str], None]
) -> None:
    task = ledger.task()
    die_at("before poll")
    with pytest.raises(Died):
        task.retry()
    (before,) = ledger.records(task)
    old = before["generation"]["request_id"]
    with pytest.raises(
        AirflowFailException, match=f"FluxLedgerError: The request has changed.*{old}"
    ):
        task.retry(prompt="a bear", on_change="fail")
    assert task.retry(prompt="a cow", on_change="resume")["request_id"] == old
    assert emulator.stats()["submits"] == 1
    task = ledger.task()
    die_at("before poll")
    with pytest.raises(Died):
        task.clear()
    generation = task.retry(prompt="a dog")
    assert generation["request_id"] != old
    assert "The request has changed" in task.warnings[0]
    assert "4 credits, estimated" in task.warnings[0]


def test_a_request_that_bfl_forgot_fails_as_billed_and_lost(
    ledger: LedgerKind, connect: Any, die_at: Any
) -> None:
    from airflow_provider_flux.emulator import EmulatorConfig

    with EmulatorServer(EmulatorConfig(latency=0.0, retention=0.0)) as forgetful:
        connect(forgetful.url)
        task = ledger.task(model="flux-2-pro")
        with pytest.raises(
            AirflowFailException, match=r"FluxTaskNotFoundError: .*billed it \(3 credits"
        ) as caught:
            task.retry()
        (record,) = ledger.records(task)
        assert record["phase"] == "failed"
        assert record["error"]["request_id"] in str(caught.value)
        assert forgetful.stats()["submits"] == 1


def test_an_input_that_is_gone_does_not_lose_the_image(
    emulator: EmulatorServer, tmp_path: Path, die_at: Callable[[str], None]
) -> None:
    source = tmp_path / "in.png"
    source.write_bytes(make_image())
    edit = {
        "model": "flux-kontext-pro",
        "parameters": {"input_image": str(source)},
        "width": None,
        "height": None,
    }
    task = Task({"prompt": "a fox", "output_path": f"{tmp_path}/x.{{ext}}", **edit})
    die_at("before poll")
    with pytest.raises(Died):
        task.retry()
    source.unlink()
    landed = task.retry()
    assert Path(landed["image"]["uri"]).exists()
    assert task.retry() == landed
    with pytest.raises(errors.FluxInputError):  # A new image needs it.
        task.clear()
    assert emulator.stats()["submits"] == 1


def test_the_deadline_is_counted_from_the_first_submit(
    emulator: EmulatorServer, ledger: LedgerKind, die_at: Callable[[str], None]
) -> None:
    task = ledger.task("x [[fault:stuck]]", timeout=2)
    die_at("before poll")
    with pytest.raises(Died):
        task.retry()
    time.sleep(2)
    started = time.monotonic()
    with pytest.raises(errors.FluxTimeoutError, match="2 s after the submit"):
        task.retry()
    assert time.monotonic() - started < 1.5


def test_a_retry_downloads_a_removed_image_again(emulator: EmulatorServer, tmp_path: Path) -> None:
    task = Task({"prompt": "a fox", "output_path": f"{tmp_path}/x.{{ext}}"})
    image = Path(task.retry()["image"]["uri"])
    image.unlink()
    assert Path(task.retry()["image"]["uri"]).exists()
    assert emulator.stats()["submits"] == 1


def test_a_landed_image_is_copied_to_a_changed_output_path(
    emulator: EmulatorServer, tmp_path: Path
) -> None:
    task = Task({"prompt": "a fox", "output_path": f"{tmp_path}/x.{{ext}}"})
    first = task.retry()
    again = task.retry(output_path=f"{tmp_path}/y.{{ext}}")
    assert again["request_id"] == first["request_id"]
    assert again["image"]["uri"].endswith("/y.jpeg")
    assert emulator.stats()["submits"] == 1


def test_records_deleted_by_their_age_do_not_hide_the_latest_one(
    emulator: EmulatorServer, ledger: LedgerKind, die_at: Callable[[str], None]
) -> None:
    task = ledger.task()
    task.retry()
    task.clear()
    if task.state_store:
        del task.state_store.rows["flux.submit.1"]
    else:
        next(ledger.folder.glob("_flux/ledger/**/*.1.json")).unlink()
    die_at("before poll")
    with pytest.raises(Died):
        task.clear()
    newest = ledger.records(task)[-1]["generation"]["request_id"]
    assert task.retry()["request_id"] == newest
    assert emulator.stats()["submits"] == 3
    task.clear()
    assert (emulator.stats()["submits"], task.warnings) == (4, [])
    assert len(ledger.records(task)) == 3


@pytest.mark.parametrize("lost", [[1], [2], [1, 2]])
def test_deleted_records_do_not_hide_a_later_generation_in_flight(
    emulator: EmulatorServer,
    ledger: LedgerKind,
    die_at: Callable[[str], None],
    lost: list[int],
) -> None:
    """Fault 20: without record 1 the generation of record 3 was paid again without a word."""
    task = ledger.task()
    task.retry()
    task.clear()
    die_at("before poll")
    with pytest.raises(Died):
        task.clear()
    newest = ledger.records(task)[-1]["generation"]["request_id"]
    for number in lost:
        if task.state_store:
            del task.state_store.rows[f"flux.submit.{number}"]
        else:
            next(ledger.folder.glob(f"_flux/ledger/**/*.{number}.json")).unlink()
    assert task.retry()["request_id"] == newest
    assert emulator.stats()["submits"] == 3
    task.clear()
    assert emulator.stats()["submits"] == 4
    assert len(ledger.records(task)) == 4 - len(lost)


def test_many_workers_of_one_task_submit_once(emulator: EmulatorServer, tmp_path: Path) -> None:
    tasks = [Task({"prompt": "a fox", "output_path": f"{tmp_path}/x.{{ext}}"}) for _ in range(8)]
    started = tasks[0].started
    ends: list[str] = []

    def work(task: Task) -> None:
        task.started = started
        try:
            ends.append(task.retry()["request_id"])
        except AirflowFailException as error:
            ends.append(str(error).partition(":")[0])

    threads = [threading.Thread(target=work, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert emulator.stats()["submits"] == 1
    assert len(ends) == 8
    ids = {end for end in ends if not end.startswith("Flux")}
    assert len(ids) == 1
    assert {end for end in ends if end.startswith("Flux")} <= {
        "FluxLedgerError",
        "FluxSubmitUncertainError",
    }


def test_on_kill_says_how_to_resume_the_generation(
    emulator: EmulatorServer, ledger: LedgerKind, die_at: Callable[[str], None]
) -> None:
    task = ledger.task()
    for moment, message in (
        ("after post", "Killed during the submit"),
        ("before poll", "is billed and on record. Clear the task"),
    ):
        die_at(moment)
        with pytest.raises(Died):
            task.clear()
        assert task.operator is not None
        task.operator.on_kill()
        assert message in task.warnings[-1]


def test_without_a_ledger_an_error_after_the_submit_is_not_retried(
    emulator: EmulatorServer,
) -> None:
    task = Task({"prompt": "x [[fault:poll-403]]"})
    with pytest.raises(
        AirflowFailException,
        match=r"because a retry would pay again.*FluxToObjectStorage",
    ):
        task.retry()


def test_ledger_path_alone_keeps_records(
    emulator: EmulatorServer, tmp_path: Path, die_at: Callable[[str], None]
) -> None:
    task = Task({"prompt": "a fox", "ledger_path": f"{tmp_path}/ledger"})
    die_at("before poll")
    with pytest.raises(Died):
        task.retry()
    task.retry()
    assert [path.name[-7:] for path in tmp_path.glob("ledger/ads/**/*.json")] == [".1.json"]
    assert emulator.stats()["submits"] == 1


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("on_uncertain", "x"),
        ("on_change", "reuse"),
        ("on_clear", None),
        ("ledger_path", "ledger"),
        ("ledger_path", "/a/{x}"),
    ],
)
def test_an_invalid_policy_is_refused_when_the_dag_is_parsed(argument: str, value: Any) -> None:
    with pytest.raises(FluxRequestError, match=f"{argument}="):
        FluxGenerateOperator(task_id="t", prompt="x", **{argument: value})
