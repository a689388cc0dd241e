"""The decision about a row by its earlier submits: nothing is billed twice unless a user asks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_flux.batch.costs import cost_of
from airflow_provider_flux.batch.row_policy import RowHistory, RowPlan, RowPolicies, plan_row
from airflow_provider_flux.bfl.errors import (
    FluxCheckError,
    FluxError,
    FluxGenerationError,
    FluxModeratedError,
    FluxRejectedError,
    FluxRequestError,
    FluxResultExpiredError,
    FluxTaskNotFoundError,
)
from airflow_provider_flux.ledger.journaled_submit import JournaledSubmit
from tests.support.journal_samples import (
    ACCEPTED,
    LANDED,
    new_intent,
    only_submit,
    parse_entry,
    segment_header,
)

NOW, BEFORE = "now", "before"
MODERATED, FAILED = FluxModeratedError("refused for Violence"), FluxGenerationError("Error")
REJECTED = FluxRejectedError("not_blank: The image is black.")
UNCHECKED = FluxCheckError("The check of a user raised.")
GONE, EXPIRED, REFUSED = (
    FluxTaskNotFoundError("gone"),
    FluxResultExpiredError("expired"),
    FluxRequestError("422"),
)
#: Phase, generation and error of a submit, by what became of it.
FATES: dict[str, tuple[str, dict[str, Any]]] = {
    "unknown": ("intent", {}),
    "open": ("submitted", {"generation": ACCEPTED}),
    "landed": ("returned", {"generation": LANDED}),
    "refused": ("failed", {"error": REFUSED}),
    "moderated": ("failed", {"generation": ACCEPTED, "error": MODERATED}),
    "failed": ("failed", {"generation": ACCEPTED, "error": FAILED}),
    "gone": ("failed", {"generation": ACCEPTED, "error": GONE}),
    "expired": ("failed", {"generation": ACCEPTED, "error": EXPIRED}),
    "rejected": ("failed", {"generation": LANDED, "error": REJECTED}),
    "unchecked": ("failed", {"generation": LANDED, "error": UNCHECKED}),
}
LOST = {"FluxTaskNotFoundError", "FluxResultExpiredError", "FluxCheckError"}
COSTS = {
    "unknown": 3,
    "open": 3,
    "landed": 3,
    "refused": 0,
    "moderated": 0,
    "failed": 0,
    "gone": 3,
    "expired": 3,
    "rejected": 3,
    "unchecked": 3,
}


def build_submit(fate: str, row: str = "w", clear_id: str = NOW) -> JournaledSubmit:
    """Return one submit of a row with the fingerprint ``row``."""
    phase, facts = FATES[fate]
    first = new_intent()
    first["facts"]["row_fingerprint"] = row
    submit = only_submit([(segment_header(clear_id=clear_id), [parse_entry(first)])])
    submit.phase, submit.generation = phase, facts.get("generation")  # type: ignore[assignment]
    error: FluxError | None = facts.get("error")
    submit.error = error and error.as_dict()
    return submit


def plan(*submits: JournaledSubmit, fallback: str | None = None, **policies: Any) -> RowPlan:
    """Plan the row with the fingerprint ``w``."""
    return plan_row(
        submits,
        fingerprint="w",
        fallback=fallback,
        clear_id=NOW,
        policies=RowPolicies.of(**policies),
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
        ("rejected", "rejected", "rejected"),
        ("unchecked", "rejected", "submit"),
    ],
)
def test_a_retry_and_a_clear_decide_by_the_fate_of_the_submit(
    fate: str, retried: str, cleared: str
) -> None:
    for clear_id, expected in ((NOW, retried), (BEFORE, cleared)):
        decided = plan(build_submit(fate, clear_id=clear_id))
        assert (decided.outcome or decided.action) == expected
        assert decided.spent == COSTS[fate]
        assert decided.uncertain == (fate == "unknown")
        is_kept = expected in {"resume", "landed"}
        assert decided.wasted == (0 if is_kept else COSTS[fate])
        anew = plan(build_submit(fate, clear_id=BEFORE), on_clear="new")
        expected_anew = fate if fate in {"moderated", "rejected"} else "submit"
        assert (anew.outcome or anew.action) == expected_anew


def test_an_uncertain_submit_is_repeated_only_with_on_uncertain_resubmit() -> None:
    decided = plan(build_submit("unknown"), build_submit("unknown"), on_uncertain="resubmit")
    assert (decided.action, decided.uncertain, decided.spent, decided.wasted) == ("submit", 2, 6, 6)


def test_an_accepted_submit_is_resumed_even_if_a_later_submit_is_uncertain() -> None:
    accepted = build_submit("open")
    decided = plan(accepted, build_submit("unknown"))
    assert (decided.action, decided.submit) == ("resume", accepted)
    assert (decided.spent, decided.wasted) == (6, 3)


def test_a_changed_row_is_submitted_anew_unless_on_change_is_resume() -> None:
    old = build_submit("landed", row="old")
    decided = plan(old)
    assert (decided.action, decided.spent, decided.wasted) == ("submit", 3, 3)
    decided = plan(old, on_change="resume")
    assert (decided.outcome, decided.submit, decided.wasted) == ("landed", old, 0)
    assert plan(build_submit("moderated", row="old")).action == "submit"
    assert plan(build_submit("moderated", row="old"), on_change="resume").action == "submit"


def test_accepted_submits_that_are_not_resumed_are_reported_as_abandoned() -> None:
    changed, kept = build_submit("open", row="old"), build_submit("open")
    assert plan(changed).abandoned == (changed,)
    assert plan(changed, kept).abandoned == (changed,)
    assert plan(changed, on_change="resume").abandoned == ()
    before = build_submit("open", clear_id=BEFORE)
    assert plan(before).abandoned == ()
    assert plan(before, on_clear="new").abandoned == (before,)
    ended = [build_submit("landed", clear_id=BEFORE), *map(build_submit, ("unknown", "moderated"))]
    assert plan(*ended, on_clear="new").abandoned == ()


def test_costs_before_a_clear_do_not_count_with_on_clear_new() -> None:
    decided = plan(
        build_submit("landed", clear_id=BEFORE),
        build_submit("unknown", clear_id=BEFORE),
        on_clear="new",
    )
    assert (decided.action, decided.spent, decided.wasted, decided.uncertain) == ("submit", 0, 0, 0)


def test_a_moderated_request_is_never_submitted_again() -> None:
    moderated = build_submit("moderated", clear_id=BEFORE)
    assert plan(moderated, on_clear="new").outcome == "moderated"
    decided = plan(moderated, fallback="f", on_clear="new")
    assert (decided.action, decided.is_fallback) == ("submit", True)


def test_a_rejected_row_is_tried_again_as_often_as_the_user_allows_over_all_tries() -> None:
    earlier = [build_submit("rejected", clear_id=BEFORE), build_submit("rejected")]
    for policies in ({}, {"on_clear": "new"}):
        assert plan(*earlier, max_rerolls=1, **policies).outcome == "rejected"
        decided = plan(*earlier, max_rerolls=2, **policies)
        assert (decided.action, decided.rejected.count) == ("submit", 2)
    assert decided.rejected.reason == "not_blank: The image is black."
    assert decided.rejected.uris == ("/x/0.jpeg",)
    assert plan(*earlier).wasted == 6
    assert plan(build_submit("rejected", row="old")).action == "submit"
    landed = plan(*earlier, build_submit("landed"))
    assert (landed.outcome, landed.rejected.count) == ("landed", 2)


def test_a_row_whose_check_failed_shows_its_image_and_is_no_attempt() -> None:
    decided = plan(build_submit("rejected"), build_submit("unchecked"), max_rerolls=5)
    assert (decided.outcome, decided.reason) == ("rejected", "The check of a user raised.")
    assert decided.rejected.count == 1
    before = build_submit("unchecked", clear_id=BEFORE)
    assert plan(before, max_rerolls=0).rejected.count == 0


def test_a_moderated_row_continues_with_its_fallback() -> None:
    for fate in ("moderated", "failed", "refused"):
        decided = plan(build_submit(fate), fallback="f")
        assert decided.action == "submit"
        assert decided.is_fallback == (fate == "moderated")
    moderated = build_submit("moderated")
    decided = plan(moderated, build_submit("moderated", row="f"), fallback="f")
    assert (decided.outcome, decided.is_fallback) == ("moderated", True)
    assert decided.reason == "refused for Violence"
    decided = plan(moderated, build_submit("landed", row="f"), fallback="f")
    assert (decided.outcome, decided.is_fallback) == ("landed", True)
    decided = plan(moderated, build_submit("open", row="f"), fallback="f")
    assert (decided.action, decided.is_fallback) == ("resume", True)
    decided = plan(moderated, build_submit("gone", row="f"), fallback="f")
    assert decided.outcome == "lost"
    gone_before = build_submit("gone", row="f", clear_id=BEFORE)
    assert plan(moderated, gone_before, fallback="f").is_fallback


def test_reported_costs_count_apart_from_estimated_ones() -> None:
    reported, estimated = build_submit("open"), build_submit("landed")
    assert reported.generation
    reported.generation = {**reported.generation, "cost": 5.0, "cost_source": "reported"}
    estimated.generation = {**LANDED, "cost": 4.0, "cost_source": "estimated"}
    assert (cost_of(reported), cost_of(estimated)) == (5, 4)
    decided = plan(reported, build_submit("unknown"), estimated)
    assert (decided.spent, decided.reported) == (12, 5)


def test_a_history_folds_every_submit_into_the_fact_that_it_is() -> None:
    submits = {fate: build_submit(fate) for fate in FATES}
    history = RowHistory.fold(
        list(submits.values()), fingerprints=["w"], clear_id=NOW, policies=RowPolicies()
    )
    assert (history.landed, history.accepted) == (submits["landed"], submits["open"])
    assert history.blocking is submits["unchecked"]
    assert history.rejected == (submits["rejected"],)
    assert history.moderated == {"w": submits["moderated"]}
    assert history.not_landed == (submits["open"],)
    assert (history.uncertain, history.spent) == (1, sum(COSTS.values()))


HISTORIES = st.lists(
    st.builds(
        build_submit,
        st.sampled_from(sorted(FATES)),
        row=st.sampled_from(["w", "f", "old"]),
        clear_id=st.sampled_from([NOW, BEFORE]),
    ),
    max_size=6,
)
POLICIES = st.builds(
    RowPolicies,
    on_uncertain=st.sampled_from(["fail", "resubmit"]),
    on_change=st.sampled_from(["new", "resume"]),
    on_clear=st.sampled_from(["resume", "new"]),
    max_rerolls=st.integers(0, 3),
)


@settings(max_examples=500)
@given(submits=HISTORIES, fallback=st.sampled_from([None, "f"]), policies=POLICIES)
def test_no_history_makes_a_row_be_paid_for_twice_unasked(
    submits: list[JournaledSubmit], fallback: str | None, policies: RowPolicies
) -> None:
    decided = plan_row(submits, fingerprint="w", fallback=fallback, clear_id=NOW, policies=policies)
    counted = [
        submit
        for submit in submits
        if policies.on_clear == "resume" or submit.header.clear_id == NOW
    ]
    usable = [
        submit
        for submit in counted
        if submit.facts.row_fingerprint in {"w", fallback} or policies.on_change == "resume"
    ]
    if any(submit.phase in {"submitted", "returned"} for submit in usable):
        assert decided.action in {"resume", "done"}
        assert decided.submit in usable
        assert decided.submit
        assert decided.submit.phase in {"submitted", "returned"}
    moderated = {
        submit.facts.row_fingerprint
        for submit in submits
        if submit.error and submit.error["type"] == "FluxModeratedError"
    }
    is_same = policies.on_change == "resume"
    rejected = [
        submit
        for submit in submits
        if submit.error
        and submit.error["type"] == "FluxRejectedError"
        and (is_same or submit.facts.row_fingerprint in {"w", fallback})
    ]
    assert decided.rejected.count == len(rejected)
    if decided.action == "submit":
        assert len(rejected) <= policies.max_rerolls
        assert (fallback if decided.is_fallback else "w") not in moderated
        assert not decided.is_fallback or "w" in moderated
        current = [submit for submit in usable if submit.header.clear_id == NOW]
        is_uncertain = any(submit.phase == "intent" for submit in current)
        assert policies.on_uncertain == "resubmit" or not is_uncertain
        assert not any((submit.error or {}).get("type") in LOST for submit in current)
    assert (decided.action == "done") == (decided.outcome is not None)
    assert decided.outcome in {None, "landed", "moderated", "rejected", "uncertain", "lost"}
    assert 0 <= decided.wasted <= decided.spent
    assert 0 <= decided.reported <= decided.spent
    assert decided.spent == sum(map(cost_of, counted))
    assert decided.uncertain == sum(submit.phase == "intent" for submit in counted)


@settings(max_examples=500)
@given(
    submits=HISTORIES, fallback=st.sampled_from([None, "f"]), policies=POLICIES, chance=st.randoms()
)
def test_the_clocks_of_workers_do_not_change_the_decision(
    submits: list[JournaledSubmit], fallback: str | None, policies: RowPolicies, chance: Any
) -> None:
    """The clocks order the submits of several tries. The decision is the same in any order."""

    def decide(submits: list[JournaledSubmit]) -> tuple[Any, ...]:
        decided = plan_row(
            submits, fingerprint="w", fallback=fallback, clear_id=NOW, policies=policies
        )
        is_blocked = decided.outcome in {"uncertain", "lost", "rejected"}
        return (
            decided.action,
            is_blocked or decided.outcome,
            decided.spent,
            decided.reported,
            decided.wasted,
            decided.uncertain,
        )

    assert decide(chance.sample(submits, len(submits))) == decide(submits)
