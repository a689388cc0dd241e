"""Tests of the decision of a try: no recorded request is submitted again without a warning."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_flux.ledger.record import Record
from airflow_provider_flux.ledger.resume_policy import (
    OnChange,
    OnClear,
    OnUncertain,
    ResumePolicy,
    decide,
)
from tests.support.record_samples import CLEAR_IDS, FINGERPRINTS, records

POLICIES = st.builds(
    ResumePolicy,
    on_uncertain=st.sampled_from(OnUncertain.__args__),
    on_change=st.sampled_from(OnChange.__args__),
    on_clear=st.sampled_from(OnClear.__args__),
)


@settings(max_examples=400)
@given(records(), CLEAR_IDS, st.none() | FINGERPRINTS, POLICIES)
def test_a_billed_generation_is_not_abandoned_without_a_warning(
    record: Record, clear_id: str, fingerprint: str | None, policies: ResumePolicy
) -> None:
    decision = decide(record, fingerprint=fingerprint, clear_id=clear_id, policies=policies)
    is_cleared = clear_id != record.clear_id
    is_kept = record.phase in {"submitted", "persisted", "returned"}
    if decision.action == "submit" and is_kept and not (is_cleared and record.phase == "returned"):
        assert decision.warning
        assert record.accepted["request_id"] in decision.warning
        assert "4 credits" in decision.warning
    if decision.action == "submit" and record.phase == "intent":
        assert decision.warning
        assert "possibly billed" in decision.warning
        assert is_cleared or policies.on_uncertain == "resubmit"
    if decision.action in {"resume", "return"}:
        assert is_kept
        assert fingerprint in {None, record.fingerprint} or policies.on_change == "resume"


@given(records(), POLICIES)
def test_a_plain_retry_never_submits_a_recorded_request_again(
    record: Record, policies: ResumePolicy
) -> None:
    decision = decide(
        record, fingerprint=record.fingerprint, clear_id=record.clear_id, policies=policies
    )
    expected = {
        "submitted": "resume",
        "persisted": "return",
        "returned": "return",
        "failed": "submit",
    }
    if record.phase != "intent":
        assert (decision.action, decision.warning) == (expected[record.phase], None)
    else:
        assert decision.action == (
            "submit" if policies.on_uncertain == "resubmit" else "fail_uncertain"
        )
