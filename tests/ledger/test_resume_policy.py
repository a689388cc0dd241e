"""The pure core: what is stored is read again, and no decision pays for what is on record without saying so."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_flux.bfl.errors import FluxLedgerError
from airflow_provider_flux.generation import parse_generation
from airflow_provider_flux.landing.provenance import RequestSummary, TaskIdentity
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.ledger.record import Phase, Record, parse_record
from airflow_provider_flux.ledger.record_files import stem_of
from airflow_provider_flux.ledger.resume_policy import (
    OnChange,
    OnClear,
    OnUncertain,
    ResumePolicy,
    decide,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
IDS = st.builds(
    TaskIdentity,
    dag_id=TEXT,
    run_id=TEXT,
    task_id=TEXT,
    map_index=st.integers(-1, 9),
    try_number=st.just(1),
)
PHASES = st.sampled_from(["intent", "submitted", "persisted", "returned", "failed"])
ROUNDS = st.sampled_from(["3/monday", "7/monday", "3/tuesday"])
PRINTS = st.sampled_from(["a", "b"])
POLICIES = st.builds(
    ResumePolicy,
    on_uncertain=st.sampled_from(OnUncertain.__args__),
    on_change=st.sampled_from(OnChange.__args__),
    on_clear=st.sampled_from(OnClear.__args__),
)


@st.composite
def records(draw: st.DrawFn) -> Record:
    phase: Phase = draw(PHASES)
    generation = None
    if phase not in {"intent", "failed"}:
        made = parse_generation(
            {"request_id": draw(TEXT) or "r", "model": "m", "cost": 4, "cost_source": "estimated"}
        )
        generation = dict(made)
    return Record(
        phase=phase,
        owner=draw(IDS),
        clear_id=draw(ROUNDS),
        flux_conn_id=draw(TEXT),
        model=draw(TEXT),
        fingerprint=draw(PRINTS),
        estimated_cost=draw(st.none() | st.floats(0, 100)),
        generation=generation,
        target=draw(st.none() | st.builds(Target, path=TEXT, root=TEXT)),
        request=draw(st.none() | st.builds(RequestSummary, prompt=TEXT)),
    )


@given(records())
def test_what_is_stored_is_read_again(record: Record) -> None:
    assert parse_record(record.as_bytes(), "here") == record
    assert parse_record(json.loads(json.dumps(record.as_json())), "here") == record


@given(st.binary(max_size=60) | st.dictionaries(TEXT, TEXT, max_size=3))
def test_anything_else_is_an_error(stored: Any) -> None:
    with pytest.raises(FluxLedgerError, match="here"):
        parse_record(stored, "here")


@given(records(), st.data())
def test_a_record_cut_anywhere_is_an_error(record: Record, data: st.DataObject) -> None:
    text = record.as_bytes().rstrip()
    with pytest.raises(FluxLedgerError):
        parse_record(text[: data.draw(st.integers(0, len(text) - 1))], "here")


@settings(max_examples=400)
@given(records(), ROUNDS, st.none() | PRINTS, POLICIES)
def test_what_was_paid_for_is_not_left_in_silence(
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
def test_a_plain_retry_never_submits_what_is_on_record(
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


@given(IDS, IDS)
def test_each_task_has_names_of_its_own(one: TaskIdentity, other: TaskIdentity) -> None:
    stems = [stem_of("s3://c@b/x/", owner) for owner in (one, other)]
    assert (stems[0] == stems[1]) == (one == other)
    for stem in stems:
        parts = stem.removeprefix("s3://c@b/x/").split("/")
        assert len(parts) == 3
        assert all(part and not part.startswith(".") and len(part) < 120 for part in parts)
