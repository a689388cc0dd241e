"""What a try does about a row, by its history: nothing is paid for twice that nobody has asked for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_flux.batch.row_policy import RowPlan, RowPolicies, cost_of, plan_row
from airflow_provider_flux.bfl.errors import (
    FluxError,
    FluxGenerationError,
    FluxModeratedError,
    FluxRequestError,
    FluxResultExpiredError,
    FluxTaskNotFoundError,
)
from airflow_provider_flux.ledger.journal_entries import JournaledSubmit
from tests.ledger.test_journal_entries import LANDED, PAID, header, note, only, opened

NOW, BEFORE = "now", "before"
MODERATED, FAILED = FluxModeratedError("refused for Violence"), FluxGenerationError("Error")
GONE, EXPIRED, REFUSED = (
    FluxTaskNotFoundError("gone"),
    FluxResultExpiredError("expired"),
    FluxRequestError("422"),
)
FATES: dict[str, tuple[str, dict[str, Any]]] = {
    "unknown": ("intent", {}),
    "open": ("submitted", {"generation": PAID}),
    "landed": ("returned", {"generation": LANDED}),
    "refused": ("failed", {"error": REFUSED}),
    "moderated": ("failed", {"generation": PAID, "error": MODERATED}),
    "failed": ("failed", {"generation": PAID, "error": FAILED}),
    "gone": ("failed", {"generation": PAID, "error": GONE}),
    "expired": ("failed", {"generation": PAID, "error": EXPIRED}),
}
LOST = {"FluxTaskNotFoundError", "FluxResultExpiredError"}
COSTS = {
    "unknown": 3,
    "open": 3,
    "landed": 3,
    "refused": 0,
    "moderated": 0,
    "failed": 0,
    "gone": 3,
    "expired": 3,
}


def submit(fate: str, wanted: str = "w", clear_id: str = NOW) -> JournaledSubmit:
    """Return one submit of a row, as its notes tell it."""
    phase, facts = FATES[fate]
    first = opened()
    first["facts"]["row_fingerprint"] = wanted
    made = only([(header(clear_id=clear_id), [note(first)])])
    made.phase, made.generation = phase, facts.get("generation")  # type: ignore[assignment]
    error: FluxError | None = facts.get("error")
    made.error = error and error.as_dict()
    return made


def plan(*history: JournaledSubmit, fallback: str | None = None, **policies: Any) -> RowPlan:
    return plan_row(
        history, wanted="w", fallback=fallback, clear_id=NOW, policies=RowPolicies.of(**policies)
    )


@pytest.mark.parametrize(
    ("fate", "retried", "cleared"),
    [
        ("unknown", "uncertain", "submit"),
        ("open", "resume", "resume"),
        ("landed", "landed", "landed"),
        ("refused", "submit", "submit"),
        ("moderated", "moderated", "moderated"),
        ("failed", "submit", "submit"),
        ("gone", "lost", "submit"),
        ("expired", "lost", "submit"),
    ],
)
def test_a_retry_and_a_clear(fate: str, retried: str, cleared: str) -> None:
    for clear_id, expected in ((NOW, retried), (BEFORE, cleared)):
        made = plan(submit(fate, clear_id=clear_id))
        assert (made.outcome or made.action) == expected
        assert made.spent == COSTS[fate]
        assert made.uncertain == (fate == "unknown")
        kept = expected in {"resume", "landed"}
        assert made.wasted == (0 if kept else COSTS[fate])
        anew = plan(submit(fate, clear_id=BEFORE), on_clear="new")
        assert (anew.outcome or anew.action) == ("moderated" if fate == "moderated" else "submit")


def test_an_unknown_submit_is_made_again_where_that_is_wanted() -> None:
    made = plan(submit("unknown"), submit("unknown"), on_uncertain="resubmit")
    assert (made.action, made.uncertain, made.spent, made.wasted) == ("submit", 2, 6, 6)


def test_what_is_paid_for_is_collected_though_a_later_submit_came_to_nothing() -> None:
    open_one = submit("open")
    made = plan(open_one, submit("unknown"))
    assert (made.action, made.submit, made.spent, made.wasted) == ("resume", open_one, 6, 3)


def test_a_row_that_has_changed() -> None:
    old = submit("landed", wanted="old")
    made = plan(old)
    assert (made.action, made.spent, made.wasted) == ("submit", 3, 3)
    made = plan(old, on_change="resume")
    assert (made.outcome, made.submit, made.wasted) == ("landed", old, 0)
    assert plan(submit("moderated", wanted="old")).action == "submit"
    assert plan(submit("moderated", wanted="old"), on_change="resume").action == "submit"


def test_what_is_abandoned_is_told() -> None:
    changed, kept = submit("open", wanted="old"), submit("open")
    assert plan(changed).abandoned == (changed,)
    assert plan(changed, kept).abandoned == (changed,)
    assert plan(changed, on_change="resume").abandoned == ()
    before = submit("open", clear_id=BEFORE)
    assert plan(before).abandoned == ()
    assert plan(before, on_clear="new").abandoned == (before,)
    assert (
        plan(
            submit("landed", clear_id=BEFORE),
            submit("unknown"),
            submit("moderated"),
            on_clear="new",
        ).abandoned
        == ()
    )


def test_with_on_clear_new_what_was_spent_before_does_not_count() -> None:
    made = plan(
        submit("landed", clear_id=BEFORE), submit("unknown", clear_id=BEFORE), on_clear="new"
    )
    assert (made.action, made.spent, made.wasted, made.uncertain) == ("submit", 0, 0, 0)


def test_moderated_words_are_never_sent_again() -> None:
    moderated = submit("moderated", clear_id=BEFORE)
    assert plan(moderated, on_clear="new").outcome == "moderated"
    made = plan(moderated, fallback="f", on_clear="new")
    assert (made.action, made.is_fallback) == ("submit", True)


def test_a_fallback() -> None:
    for fate, expected in {"moderated": "submit", "failed": "submit", "refused": "submit"}.items():
        made = plan(submit(fate), fallback="f")
        assert made.action == expected
        assert made.is_fallback == (fate == "moderated")
    made = plan(submit("moderated"), submit("moderated", wanted="f"), fallback="f")
    assert (made.outcome, made.is_fallback, made.reason) == (
        "moderated",
        True,
        "refused for Violence",
    )
    made = plan(submit("moderated"), submit("landed", wanted="f"), fallback="f")
    assert (made.outcome, made.is_fallback) == ("landed", True)
    made = plan(submit("moderated"), submit("open", wanted="f"), fallback="f")
    assert (made.action, made.is_fallback) == ("resume", True)
    made = plan(submit("moderated"), submit("gone", wanted="f"), fallback="f")
    assert made.outcome == "lost"
    assert plan(
        submit("moderated"), submit("gone", wanted="f", clear_id=BEFORE), fallback="f"
    ).is_fallback


def test_what_is_reported_and_what_is_estimated() -> None:
    reported, estimated = submit("open"), submit("landed")
    assert reported.generation
    reported.generation = {**reported.generation, "cost": 5.0, "cost_source": "reported"}
    estimated.generation = {**LANDED, "cost": 4.0, "cost_source": "estimated"}
    assert (cost_of(reported), cost_of(estimated)) == (5, 4)
    made = plan(reported, submit("unknown"), estimated)
    assert (made.spent, made.reported) == (12, 5)


HISTORIES = st.lists(
    st.builds(
        submit,
        st.sampled_from(sorted(FATES)),
        wanted=st.sampled_from(["w", "f", "old"]),
        clear_id=st.sampled_from([NOW, BEFORE]),
    ),
    max_size=6,
)
POLICIES = st.builds(
    RowPolicies,
    on_uncertain=st.sampled_from(["fail", "resubmit"]),
    on_change=st.sampled_from(["new", "resume"]),
    on_clear=st.sampled_from(["resume", "new"]),
)


@settings(max_examples=500)
@given(history=HISTORIES, fallback=st.sampled_from([None, "f"]), policies=POLICIES)
def test_whatever_has_happened(
    history: list[JournaledSubmit], fallback: str | None, policies: RowPolicies
) -> None:
    made = plan_row(history, wanted="w", fallback=fallback, clear_id=NOW, policies=policies)
    wanted = {"w", fallback}
    counts = [one for one in history if policies.on_clear == "resume" or one.header.clear_id == NOW]
    own = [
        one
        for one in counts
        if one.facts.row_fingerprint in wanted or policies.on_change == "resume"
    ]
    if any(one.phase in {"submitted", "returned"} for one in own):
        assert made.action in {"resume", "done"}
        assert made.submit in own
        assert made.submit
        assert made.submit.phase in {"submitted", "returned"}
    moderated = {
        one.facts.row_fingerprint
        for one in history
        if one.error and one.error["type"] == "FluxModeratedError"
    }
    if made.action == "submit":
        assert (fallback if made.is_fallback else "w") not in moderated
        assert not made.is_fallback or "w" in moderated
        current = [one for one in own if one.header.clear_id == NOW]
        assert policies.on_uncertain == "resubmit" or not any(
            one.phase == "intent" for one in current
        )
        assert not any((one.error or {}).get("type") in LOST for one in current)
    assert (made.action == "done") == (made.outcome is not None)
    assert made.outcome in {None, "landed", "moderated", "uncertain", "lost"}
    assert 0 <= made.wasted <= made.spent
    assert 0 <= made.reported <= made.spent
    assert made.spent == sum(map(cost_of, counts))
    assert made.uncertain == sum(one.phase == "intent" for one in counts)


@settings(max_examples=500)
@given(
    history=HISTORIES, fallback=st.sampled_from([None, "f"]), policies=POLICIES, chance=st.randoms()
)
def test_the_clocks_of_workers_do_not_decide(
    history: list[JournaledSubmit], fallback: str | None, policies: RowPolicies, chance: Any
) -> None:
    """They put the submits of several tries into some order; what is done about a row is the same in any."""

    def decide(submits: list[JournaledSubmit]) -> tuple[Any, ...]:
        made = plan_row(submits, wanted="w", fallback=fallback, clear_id=NOW, policies=policies)
        left_alone = made.outcome in {"uncertain", "lost"}
        return (
            made.action,
            left_alone or made.outcome,
            made.spent,
            made.reported,
            made.wasted,
            made.uncertain,
        )

    assert decide(chance.sample(history, len(history))) == decide(history)
