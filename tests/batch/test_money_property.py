"""One sentence about money, held through the real operator: whatever rows, answers and files do.

Credits counted = what the journal says was accepted, whatever today's input is. Submits = accepted
+ refused by a documented code + uncertain. ``FLUX_MONEY_EXAMPLES`` tries more and other histories.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from airflow_provider_flux.batch.report.counters import ALL_OUTCOMES
from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.emulator import EmulatorServer
from tests.support.batch_tries import Batch, batch, quick

__all__ = ["quick"]

_EXAMPLES = int(os.environ.get("FLUX_MONEY_EXAMPLES", "0"))
SETTINGS = settings(
    max_examples=_EXAMPLES or 10,
    stateful_step_count=12,
    deadline=None,
    derandomize=not _EXAMPLES,
    database=None,
    phases=[Phase.generate, Phase.shrink] if _EXAMPLES else [Phase.generate],
    suppress_health_check=list(HealthCheck),
)
#: Faults of a row. The first one is none.
FAULTS = [
    "",
    "moderated",
    "error",
    "lost",
    "submit-lost",
    "submit-503-made",
    "submit-500",
    "submit-status=408",
    "detail-object",
    "rate-limit=1",
    "absurd-cost=-3",
    "absurd-cost=NaN",
    "absurd-cost=Infinity",
]
MODELS = ["flux-pro-1.1", "flux-2-pro"]
#: The same key, as columns of several types have it.
KEY_TYPES = [int, float, str]
#: Arguments of a try.
TRY: dict[str, Any] = {
    "key_type": st.sampled_from(KEY_TYPES),
    "order": st.randoms(use_true_random=False),
    "on_uncertain": st.sampled_from(["fail", "resubmit"]),
    "on_change": st.sampled_from(["new", "resume"]),
    "on_clear": st.sampled_from(["resume", "new"]),
    "max_cost": st.sampled_from([None, 4, 12, 40]),
}
_PHASES = ["intent", "submitted", "failed", "persisted", "returned"]
_REFUSALS = {"FluxRequestError", "FluxRateLimitedError"}
_NOT_CHARGED = {"FluxModeratedError", "FluxGenerationError"}


def submits_of(task: Batch) -> Iterator[tuple[str, tuple[str, dict[str, Any]]]]:
    """Yield the claim of each submit, with its clear id and its merged entries.

    Entries of a submit whose intent is lost are left out.
    """
    lines: list[tuple[str, dict[str, Any]]] = []
    for segment in task.segments():
        header, *entries = map(json.loads, segment.read_text().splitlines())
        lines += [(header["clear_id"], entry) for entry in entries]
    submits: dict[str, tuple[str, dict[str, Any]]] = {}
    for clear_id, entry in sorted(lines, key=lambda line: _PHASES.index(line[1]["phase"])):
        first_id, merged = submits.get(entry["claim"], (clear_id, {}))
        submits[entry["claim"]] = first_id, {**merged, **entry}
    yield from ((claim, pair) for claim, pair in submits.items() if "facts" in pair[1])


def kind_of(submit: dict[str, Any]) -> str:
    """Return whether a submit was accepted, refused, or not sent, or is uncertain."""
    if submit["phase"] == "intent":
        return "uncertain"
    if submit.get("generation"):
        return "accepted"
    if "Nothing was sent" in submit["error"]["message"]:
        return "not sent"
    assert submit["error"]["type"] in _REFUSALS
    return "refused"


def cost_of(submit: dict[str, Any]) -> float:
    """Return the credits of a submit."""
    estimated = submit["facts"]["estimated_cost"] or 0.0
    if submit["phase"] == "intent":
        return float(estimated)
    if not submit.get("generation") or (submit.get("error") or {}).get("type") in _NOT_CHARGED:
        return 0.0
    cost = submit["generation"]["cost"]
    return float(cost) if isinstance(cost, (int, float)) and 0 <= cost < math.inf else estimated


class BatchHistory(RuleBasedStateMachine):
    """The history of one batch: its rows change, its answers get lost, its journal loses parts."""

    def __init__(self, emulator: EmulatorServer) -> None:
        super().__init__()
        emulator.reset()
        self.emulator = emulator
        self._folder = tempfile.TemporaryDirectory(prefix="flux-money-")
        self.rows: dict[int, dict[str, Any]] = {}
        self.task = batch(Path(self._folder.name), [], max_failed=None, on_invalid_row="skip")
        #: Clears whose sessions lost a segment, and whether a try has gone on without one.
        self.lost_clear_ids: set[str] = set()
        self.has_gone_on = False
        self.clean_prompts: set[str] = set()
        self.clears = 0

    def teardown(self) -> None:
        self._folder.cleanup()

    @initialize(faults=st.lists(st.sampled_from(FAULTS), min_size=2, max_size=5))
    def set_first_rows(self, faults: list[str]) -> None:
        for key, fault in enumerate(faults, 1):
            self.set_row(key, fault, MODELS[key % 2], 1, has_fallback=False)

    @rule(
        key=st.integers(1, 5),
        fault=st.sampled_from(FAULTS),
        model=st.sampled_from(MODELS),
        version=st.integers(1, 2),
        has_fallback=st.booleans(),
    )
    def set_row(self, key: int, fault: str, model: str, version: int, has_fallback: bool) -> None:
        script = f" [[fault:{fault}]]" if fault else ""
        prompt = f"fox {key}.{version} by {model}{script}"
        self.rows[key] = {"prompt": prompt, "model": model}
        if has_fallback:
            self.rows[key]["fallback_prompt"] = f"hare {key}.{version} by {model}"
        elif not fault:
            self.clean_prompts.add(prompt)

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def remove_row(self, data: st.DataObject) -> None:
        del self.rows[data.draw(st.sampled_from(sorted(self.rows)))]

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def break_row(self, data: st.DataObject) -> None:
        self.rows[data.draw(st.sampled_from(sorted(self.rows)))]["width"] = "wide"

    @precondition(lambda self: self.task.segments())
    @rule(data=st.data(), count=st.integers(1, 3))
    def lose_segments(self, data: st.DataObject, count: int) -> None:
        for _ in range(count):
            if segments := self.task.segments():
                segment = data.draw(st.sampled_from(segments))
                header = json.loads(segment.read_text().splitlines()[0])
                self.lost_clear_ids.add(header["clear_id"])
                segment.unlink()

    @precondition(lambda self: self.task.try_number)
    @rule()
    def clear(self) -> None:
        self.task.cleared()
        self.clears += 1

    @precondition(lambda self: self.rows)
    @rule(**TRY)
    def make_try(self, **arguments: Any) -> None:
        self._make_try(**arguments)

    @precondition(lambda self: self.rows)
    @rule(**TRY)
    def make_two_tries(self, **arguments: Any) -> None:
        self._make_try(**arguments)
        self._make_try(**arguments)

    @precondition(lambda self: self.rows)
    @rule(delay=st.floats(0.05, 0.6), **TRY)
    def make_stopped_try(self, delay: float, **arguments: Any) -> None:
        def stop() -> None:
            if self.task.operator:
                self.task.operator.on_kill()

        timer = threading.Timer(delay, stop)
        timer.start()
        self.task.arguments["grace"] = 0
        try:
            self._make_try(is_stopped=True, **arguments)
        finally:
            del self.task.arguments["grace"]
            timer.cancel()
            timer.join()

    def _make_try(
        self,
        key_type: Any,
        order: Any,
        max_cost: float | None,
        is_stopped: bool = False,
        **policies: Any,
    ) -> None:
        rows = [{"key": key_type(key), **row} for key, row in self.rows.items()]
        order.shuffle(rows)
        on_clear = policies["on_clear"]
        before, known = self.emulator.stats(), dict(submits_of(self.task))
        self.task.summary, message = None, ""
        try:
            self.task.retry(requests=rows, max_cost=max_cost, **policies)
        except (AirflowFailException, FluxError) as error:
            message = f"{type(error).__name__}: {error}"
        if self._must_refuse(on_clear):
            assert "FluxLedgerError" in message
        if "FluxLedgerError" in message:
            assert self.lost_clear_ids
            assert self._posts(self.emulator.stats()) == self._posts(before)
            return
        self.has_gone_on |= bool(self.lost_clear_ids)
        self._check_submits(before, known, is_stopped=is_stopped)
        self._check_credits(on_clear)
        if max_cost is not None and self._posts(self.emulator.stats()) > self._posts(before):
            assert self.task.summary
            assert self.task.summary["credits"] <= max_cost
        for prompt, count in self.emulator.stats()["submits_per_prompt"].items():
            assert prompt not in self.clean_prompts or count <= 1 + self.clears

    @property
    def _clear_id(self) -> str:
        return f"{self.task.max_tries}/{self.task.started.isoformat()}"

    def _must_refuse(self, on_clear: str) -> bool:
        if on_clear == "new":
            return self._clear_id in self.lost_clear_ids
        return bool(self.lost_clear_ids) and not self.has_gone_on

    def _posts(self, stats: Any) -> int:
        return int(stats["submits"] + stats["refused"])

    def _check_submits(self, before: Any, known: Collection[str], *, is_stopped: bool) -> None:
        """Compare the submits of the last try in the journal with those that the service saw.

        A submit that was stopped before its answer may have reached the service, or not.
        """
        if is_stopped:
            time.sleep(0.2)
        kinds: Counter[str] = Counter()
        for claim, (_, submit) in submits_of(self.task):
            if claim not in known:
                kinds[kind_of(submit)] += 1
        after = self.emulator.stats()
        sent = kinds["accepted"] + kinds["refused"] + kinds["uncertain"]
        seen = self._posts(after) - self._posts(before)
        assert sent - (kinds["uncertain"] if is_stopped else 0) <= seen <= sent
        made = after["submits"] - before["submits"]
        assert kinds["accepted"] <= made <= kinds["accepted"] + kinds["uncertain"]

    def _check_credits(self, on_clear: str) -> None:
        """Compare the summary with the journal."""
        summary = self.task.summary
        if summary is None:
            return
        counted = [
            submit
            for _, (clear_id, submit) in submits_of(self.task)
            if on_clear == "resume" or clear_id == self._clear_id
        ]
        uncertain = [submit for submit in counted if submit["phase"] == "intent"]
        assert summary["credits"] == pytest.approx(sum(map(cost_of, counted)))
        assert summary["credits_uncertain"] == pytest.approx(sum(map(cost_of, uncertain)))
        assert summary["uncertain_submits"] == len(uncertain)
        assert {name: summary[name] for name in ALL_OUTCOMES if summary[name]} == self.task.counts()


@pytest.mark.usefixtures("quick")
def test_the_credits_of_a_batch_are_those_of_the_submits_that_its_journal_accepted(
    emulator: EmulatorServer,
) -> None:
    """Fault 12, 20: also if rows come, go and change, answers get lost and segments vanish."""
    run_state_machine_as_test(lambda: BatchHistory(emulator), settings=SETTINGS)  # type: ignore[no-untyped-call]
