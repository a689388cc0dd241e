"""Tests of the lines of a journal: each is parsed as it was written, and holds no secret."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.bfl.errors import (
    FluxLedgerError,
    FluxModeratedError,
)
from airflow_provider_flux.bfl.request import build_request
from airflow_provider_flux.landing.provenance import summarize_request
from airflow_provider_flux.ledger.journal_entries import (
    encode_line,
    intent_entry,
    parse_segment,
    phase_entry,
)
from tests.support.journal_samples import (
    ACCEPTED,
    REQUEST,
    encode_segment,
    new_intent,
    only_submit,
    segment_header,
)


def test_a_segment_is_parsed_as_it_was_written() -> None:
    first = new_intent()
    claim = first["claim"]
    header, entries = parse_segment(
        encode_segment(first, phase_entry(claim, "0", "submitted", generation=ACCEPTED)), "x"
    )
    assert header == segment_header()
    submit = only_submit([(header, entries)])
    assert (submit.claim, submit.key, submit.phase, submit.generation) == (
        claim,
        "0",
        "submitted",
        ACCEPTED,
    )
    assert (submit.facts.model, submit.facts.row_fingerprint, submit.facts.estimated_cost) == (
        "flux-2-pro",
        "w",
        3,
    )
    record = submit.as_record()
    assert (record.claim, record.phase, record.fingerprint) == (
        claim,
        "submitted",
        REQUEST.fingerprint,
    )
    assert record.target
    assert record.target.key == "0"
    assert record.landing_plan
    assert record.landing_plan.request.prompt == "a fox"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "after 0 entries, JSON: Invalid JSON"),
        (b"\n", "after 0 entries, JSON: Invalid JSON"),
        (encode_segment(new_intent())[:-20], "after 0 entries, JSON: Invalid JSON"),
        (
            encode_segment(new_intent(), new_intent()) + b"{}\n",
            "after 2 entries, claim: Field required",
        ),
        (
            encode_segment(new_intent()).replace(b'"phase":"intent"', b'"phase":"half"'),
            "after 0 entries, phase: ",
        ),
        (
            encode_segment().replace(b'"schema_version":1', b'"schema_version":2'),
            "its version is not 1: a later version",
        ),
        (
            encode_segment(new_intent()).replace(b"\n", b"\n\x00", 1),
            "after 0 entries, JSON: Invalid JSON",
        ),
    ],
    ids=["empty", "blank", "cut", "foreign", "phase", "version", "damaged"],
)
def test_an_unreadable_segment_is_an_error_and_never_counts_as_empty(
    data: bytes, reason: str
) -> None:
    with pytest.raises(FluxLedgerError) as caught:
        parse_segment(data, "/x/s.jsonl")
    assert reason in str(caught.value)
    assert "nothing is submitted" in str(caught.value)


def test_the_error_does_not_quote_an_unreadable_segment() -> None:
    data = encode_segment({**new_intent(), "at": {"password": "hush"}})
    with pytest.raises(FluxLedgerError) as caught:
        parse_segment(data, "/x/s.jsonl")
    assert "hush" not in str(caught.value)


@given(reason=st.text(st.characters(), max_size=20))
def test_any_reason_of_the_service_can_be_parsed_again(reason: str) -> None:
    first = new_intent()
    error = FluxModeratedError(f"refused for {reason}", reasons=(reason,))
    entry = phase_entry(first["claim"], "0", "failed", generation=ACCEPTED, error=error)
    assert b"\n" not in encode_line(entry)[:-1]
    _, entries = parse_segment(encode_segment(first, entry), "x")
    assert len(entries) == 2


def test_a_lone_surrogate_in_an_answer_can_be_stored() -> None:
    text = json.loads('"\\ud83d"')
    first = new_intent()
    entry = phase_entry(
        first["claim"],
        "0",
        "failed",
        error=FluxModeratedError(f"refused for {text}", reasons=(text,)),
    )
    _, entries = parse_segment(encode_segment(first, entry), "x")
    assert entries[1].error
    assert entries[1].error["message"] == "refused for ?"


def test_an_intent_has_the_prompt_and_no_secret() -> None:
    request = build_request(
        "flux-pro-1.1",
        {"prompt": "a fox", "webhook_url": "https://x.example/h?sig=abc", "webhook_secret": "hush"},
    )
    plain = encode_line(
        intent_entry(
            request, index=0, key="0", row_fingerprint="w", summary=summarize_request(request)
        )
    ).decode()
    facts = summarize_request(request, hide_prompt=True)
    hidden = encode_line(
        intent_entry(request, index=0, key="0", row_fingerprint="w", summary=facts)
    ).decode()
    assert "a fox" in plain
    assert "a fox" not in hidden
    for text in (plain, hidden):
        assert "hush" not in text
        assert "sig=" not in text
