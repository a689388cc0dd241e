"""Tests of tries on several machines, of which each has a disk of its own."""

from __future__ import annotations

import logging
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.ledger.ledger_host import LEDGER_HOST_KEY
from tests.support.batch_tries import Batch, quick
from tests.support.task_tries import Died, StateStore, Task

__all__ = ["quick"]
pytestmark = pytest.mark.usefixtures("hurry")


class BrokenStore(StateStore):
    """A task state store whose server does not answer."""

    def get(self, key: str) -> Any:
        """Fail."""
        raise ConnectionError

    def set(self, key: str, value: Any, *, retention: Any) -> None:
        """Fail."""
        raise ConnectionError


@pytest.fixture
def go_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Return a function that goes on on another machine, with another host name and empty disk."""

    def go(name: str) -> None:
        shutil.rmtree(tmp_path / "disk", ignore_errors=True)
        (tmp_path / "disk").mkdir()
        monkeypatch.setattr(socket, "gethostname", lambda: name)

    return go


@pytest.fixture
def task(tmp_path: Path, go_to: Callable[[str], None]) -> Task:
    """A task that lands on the disk of its machine, which is ``worker-1`` at first."""
    go_to("worker-1")
    path = f"{tmp_path}/disk/{{key}}.{{ext}}"
    return Task({"prompt": "a fox", "output_path": path}, state_store=StateStore())


def kill_first_try(task: Task, die_at: Callable[[str], None]) -> None:
    """Run the first try of a task up to its first poll, where its process dies."""
    die_at("before poll")
    with pytest.raises(Died):
        task.retry()


def test_a_retry_on_another_machine_fails_and_names_the_machine_with_the_ledger(
    emulator: EmulatorServer,
    task: Task,
    die_at: Callable[[str], None],
    go_to: Callable[[str], None],
    tmp_path: Path,
) -> None:
    kill_first_try(task, die_at)
    go_to("worker-2")
    with pytest.raises(AirflowFailException, match="FluxSubmitUncertainError") as caught:
        task.retry()
    assert f"{tmp_path}/disk/_flux/ledger/ on the machine worker-1." in str(caught.value)
    assert "This try runs on worker-2, whose disk has no record" in str(caught.value)
    assert "store that all workers share" in str(caught.value)
    assert emulator.stats()["submits"] == 1


def test_a_retry_on_another_machine_submits_with_a_warning_if_the_user_accepts_it(
    emulator: EmulatorServer,
    task: Task,
    die_at: Callable[[str], None],
    go_to: Callable[[str], None],
) -> None:
    kill_first_try(task, die_at)
    go_to("worker-2")
    generation = task.retry(on_uncertain="resubmit")
    assert generation["uncertain_submits"] == 1
    assert emulator.stats()["submits"] == 2
    (warning,) = [text for text in task.warnings if "worker-1" in text]
    assert warning.endswith("This try submits a new request.")


def test_a_retry_on_the_same_machine_resumes(
    emulator: EmulatorServer, task: Task, die_at: Callable[[str], None]
) -> None:
    kill_first_try(task, die_at)
    assert task.retry()["uncertain_submits"] == 0
    assert emulator.stats()["submits"] == 1


def test_a_clear_on_another_machine_submits_and_warns_of_the_ledger_it_cannot_read(
    emulator: EmulatorServer, task: Task, go_to: Callable[[str], None]
) -> None:
    task.retry()
    go_to("worker-2")
    assert task.clear()["uncertain_submits"] == 0
    assert emulator.stats()["submits"] == 2
    assert [text for text in task.warnings if "on the machine worker-1" in text]


def test_a_clear_for_a_new_image_needs_no_ledger_of_another_machine(
    emulator: EmulatorServer, task: Task, go_to: Callable[[str], None]
) -> None:
    task.retry()
    go_to("worker-2")
    task.clear(on_clear="new")
    assert not [text for text in task.warnings if "worker-1" in text]


def test_a_refused_submit_keeps_no_retry_from_another_machine(
    emulator: EmulatorServer, task: Task, go_to: Callable[[str], None]
) -> None:
    with pytest.raises(AirflowFailException, match="FluxInsufficientCreditsError"):
        task.retry(prompt="a fox [[fault:no-credits]]")
    assert task.state_store is not None
    assert LEDGER_HOST_KEY not in task.state_store.rows
    go_to("worker-2")
    task.retry(prompt="a fox")
    assert not [text for text in task.warnings if "worker-1" in text]


def test_without_a_task_state_store_a_retry_warns_that_it_may_pay_again(
    emulator: EmulatorServer,
    task: Task,
    die_at: Callable[[str], None],
    go_to: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Airflow before 3.3 remembers nothing of a try, so the log has to do."""
    task.state_store = None
    kill_first_try(task, die_at)
    assert "no record of an earlier try" not in caplog.text
    go_to("worker-2")
    with caplog.at_level(logging.WARNING):
        task.retry()
    assert "on the machine worker-2 has no record of an earlier try" in caplog.text


def test_a_task_state_store_that_fails_stops_no_image(
    emulator: EmulatorServer, task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    task.state_store = BrokenStore()
    assert task.retry()["image"]
    assert "could not be stored (ConnectionError)" in caplog.text


def test_an_edited_host_name_is_no_message(emulator: EmulatorServer, task: Task) -> None:
    """Users may edit the task state store in the UI, and logs show the name."""
    assert task.state_store is not None
    task.state_store.rows[LEDGER_HOST_KEY] = '{"host": "worker-1\\nERROR forged", "clear_id": "x"}'
    assert task.retry()["image"]
    assert not [text for text in task.warnings if "forged" in text]


def test_a_ledger_in_a_bucket_stores_no_host(
    emulator: EmulatorServer, task: Task, aws_lab: str, s3: str
) -> None:
    from tests.support.object_stores import S3Store

    S3Store(s3).make_bucket()
    task.retry(output_path=f"s3://{aws_lab}@media/hosts/{{key}}.{{ext}}")
    assert task.state_store is not None
    assert task.state_store.rows == {}


@pytest.mark.usefixtures("quick")
class TestBatch:
    """A batch whose journal is on the disk of another machine."""

    @pytest.fixture
    def batch(self, tmp_path: Path, task: Task) -> Batch:
        """A batch of three rows, of which one fails in the first try."""
        rows = [{"prompt": f"a fox {n}"} for n in range(2)]
        rows.append({"prompt": "a fox [[fault:submit-status=400,99]]"})
        path = f"{tmp_path}/disk/{{key}}.{{ext}}"
        return Batch({"requests": rows, "output_path": path}, state_store=StateStore())

    def test_a_retry_on_another_machine_submits_no_row(
        self, emulator: EmulatorServer, batch: Batch, go_to: Callable[[str], None]
    ) -> None:
        batch.fail(Exception)
        submits = emulator.stats()["submits"]
        go_to("worker-2")
        message = batch.fail(AirflowFailException, "FluxSubmitUncertainError")
        assert "on the machine worker-1. This try runs on worker-2" in message
        assert emulator.stats()["submits"] == submits

    def test_a_cleared_batch_on_another_machine_submits_all_rows(
        self,
        emulator: EmulatorServer,
        batch: Batch,
        go_to: Callable[[str], None],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        batch.fail(Exception)
        go_to("worker-2")
        emulator.reset()
        batch.cleared().fail(Exception)
        assert emulator.stats()["submits"] == 2  # BFL counts no refused one
        assert "on the machine worker-1. This try runs on worker-2" in caplog.text

    def test_a_retry_on_the_same_machine_resumes(
        self, emulator: EmulatorServer, batch: Batch, caplog: pytest.LogCaptureFixture
    ) -> None:
        batch.fail(Exception)
        batch.fail(Exception)
        assert "worker-1" not in caplog.text
        assert batch.summary is not None
        assert batch.summary["landed"] == 2
