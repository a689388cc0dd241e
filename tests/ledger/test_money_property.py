"""The money of one image, held through the real operator: no submit is repeated without consent.

Submits = accepted + refused by a documented code + uncertain, by the records, whatever the request
and the policies are in each try. ``FLUX_MONEY_EXAMPLES`` tries more and other histories.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.client.transport import RequestsTransport
from airflow_provider_flux.emulator import EmulatorServer
from tests.support.task_tries import Died, Task

_EXAMPLES = int(os.environ.get("FLUX_MONEY_EXAMPLES", "0"))
SETTINGS = settings(
    max_examples=_EXAMPLES or 12,
    stateful_step_count=12,
    deadline=None,
    derandomize=not _EXAMPLES,
    database=None,
    phases=[Phase.generate, Phase.shrink] if _EXAMPLES else [Phase.generate],
    suppress_health_check=list(HealthCheck),
)
FAULTS = ["", "moderated", "error", "lost", "submit-lost", "submit-500", "submit-503-made"]
FAULTS += ["submit-status=408", "detail-object", "rate-limit=1", "absurd-cost=NaN"]
MOMENTS = ["before post", "after post", "before poll", "after poll"]
TRY: dict[str, Any] = {
    "fault": st.sampled_from(FAULTS),
    "fox": st.integers(1, 2),
    "on_uncertain": st.sampled_from(["fail", "resubmit"]),
    "on_change": st.sampled_from(["new", "resume", "fail"]),
    "on_clear": st.sampled_from(["resume", "new", "keep"]),
}


class TaskHistory(RuleBasedStateMachine):
    """The history of one task: its request changes, its answers get lost, its workers die."""

    def __init__(self, emulator: EmulatorServer, die_at: Callable[[str], None]) -> None:
        super().__init__()
        emulator.reset()
        self.emulator = emulator
        self._die_at = die_at
        self._root = tempfile.TemporaryDirectory(prefix="flux-money-")
        self.folder = Path(self._root.name)
        self.task = Task({"prompt": "", "output_path": f"{self.folder}/x.{{ext}}"})

    def teardown(self) -> None:
        self._root.cleanup()

    @precondition(lambda self: self.task.try_number)
    @rule()
    def clear(self) -> None:
        self.task.max_tries = self.task.try_number + self.task.retries

    @rule(**TRY)
    def make_try(self, **arguments: Any) -> None:
        self._make_try(**arguments)

    @rule(moment=st.sampled_from(MOMENTS), **TRY)
    def make_try_that_dies(self, moment: str, **arguments: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(RequestsTransport, "send", RequestsTransport.send)  # restored at the end
            self._die_at(moment)
            self._make_try(**arguments)

    @precondition(lambda self: self.task.try_number)
    @rule()
    def retry(self) -> None:
        """Make another try with the same arguments."""
        self._check_try(self.task.arguments)

    def _make_try(self, fox: int, fault: str, **policies: Any) -> None:
        prompt = f"fox {fox}{f' [[fault:{fault}]]' if fault else ''}"
        self._check_try({"prompt": prompt, **policies})

    def _check_try(self, arguments: dict[str, Any]) -> None:
        records, before = self.task.records(self.folder), self._posts()
        may_submit = self._may_submit(records, arguments)
        result = None
        with suppress(AirflowFailException, FluxError, Died):
            result = self.task.retry(**arguments)
        assert may_submit or self._posts() == before
        self._check_records()
        if result is not None:
            self._check_result(result)

    def _may_submit(self, records: list[dict[str, Any]], arguments: dict[str, Any]) -> bool:
        """Return whether the documented policies allow a submit."""
        sent = [record for record in records if _kind(record) != "refused"]
        if not sent or sent[-1]["phase"] == "failed":
            return True
        latest, is_current = sent[-1], sent[-1]["clear_id"] == self._clear_id
        if latest["phase"] == "intent":
            return not is_current or arguments["on_uncertain"] == "resubmit"
        has_changed = latest["request"]["prompt"] != arguments["prompt"]
        if has_changed and arguments["on_change"] == "new":
            return True
        if is_current or arguments["on_clear"] == "keep":
            return False
        return arguments["on_clear"] == "new" or latest["phase"] == "returned"

    @property
    def _clear_id(self) -> str:
        return f"{self.task.max_tries}/{self.task.started.isoformat()}"

    def _posts(self) -> int:
        stats = self.emulator.stats()
        return stats["submits"] + stats["refused"]

    def _check_records(self) -> None:
        kinds = [_kind(record) for record in self.task.records(self.folder)]
        accepted, uncertain = kinds.count("accepted"), kinds.count("uncertain")
        assert accepted <= self.emulator.stats()["submits"] <= accepted + uncertain

    def _check_result(self, result: dict[str, Any]) -> None:
        records = self.task.records(self.folder)
        (number,) = [
            number
            for number, record in enumerate(records)
            if (record["generation"] or {}).get("request_id") == result["request_id"]
        ]
        uncertain = [record for record in records[:number] if _kind(record) == "uncertain"]
        assert result["uncertain_submits"] == len(uncertain)
        assert result["cost"] == 4


def _kind(record: dict[str, Any]) -> str:
    if record["phase"] == "intent":
        return "uncertain"
    return "accepted" if record["generation"] else "refused"


@pytest.mark.usefixtures("hurry")
def test_no_history_of_a_task_repeats_a_submit_without_consent(
    emulator: EmulatorServer, die_at: Callable[[str], None]
) -> None:
    """Fault 12: the same sentence as for a batch, for one image."""
    run_state_machine_as_test(lambda: TaskHistory(emulator, die_at), settings=SETTINGS)  # type: ignore[no-untyped-call]
