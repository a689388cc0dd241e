"""The notes of a journal: what they say together, in whatever order they were written."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.bfl.errors import (
    FluxLedgerError,
    FluxModeratedError,
    FluxTaskNotFoundError,
)
from airflow_provider_flux.bfl.request import build_request
from airflow_provider_flux.bfl.responses import Submission
from airflow_provider_flux.generation import Generation, new_generation
from airflow_provider_flux.landing.provenance import TaskIdentity, summarize_request
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.ledger.journal_entries import (
    JournalEntry,
    SegmentHeader,
    encode_line,
    intent_entry,
    parse_segment,
    phase_entry,
)
from airflow_provider_flux.ledger.journaled_submit import JournaledSubmit, fold_entries

REQUEST = build_request("flux-2-pro", {"prompt": "a fox", "width": 256, "height": 256})
PAID = new_generation(REQUEST, Submission("r1", "https://api.bfl.ai/v1/get_result?id=r1", 1.0, 3.0))
LANDED: Generation = {**PAID, "image": {"uri": "/x/0.jpeg", "sha256": "ab", "bytes": 1, "width": 1, "height": 1,
                                        "content_type": "image/jpeg", "sidecar": None}}  # fmt: skip
GONE = FluxTaskNotFoundError("gone")


def header(
    opened_at: str = "2026-11-27T00:00:00+00:00", session: str = "s1", **more: Any
) -> SegmentHeader:
    owner = TaskIdentity(dag_id="ads", run_id="r", task_id="hero", try_number=1)
    target = Target(path="/x/{key}.{ext}", host="h")
    given = {
        "owner": owner,
        "clear_id": "3/x",
        "flux_conn_id": "flux_default",
        "target": target,
        **more,
    }
    return SegmentHeader(session=session, opened_at=opened_at, **given)


def note(line: dict[str, Any]) -> JournalEntry:
    return JournalEntry.model_validate_json(encode_line(line))


def opened(key: str = "0", index: int = 0) -> dict[str, Any]:
    return intent_entry(
        REQUEST, index=index, key=key, row_fingerprint="w", summary=summarize_request(REQUEST)
    )


def segment(*lines: dict[str, Any]) -> bytes:
    return b"".join([encode_line(header().model_dump(mode="json")), *map(encode_line, lines)])


def only(segments: Any) -> JournaledSubmit:
    (submit,) = fold_entries(segments)
    return submit


def test_a_segment_is_read_as_it_was_written() -> None:
    first = opened()
    claim = first["claim"]
    found, notes = parse_segment(
        segment(first, phase_entry(claim, "0", "submitted", generation=PAID)), "x"
    )
    assert found == header()
    submit = only([(found, notes)])
    assert (submit.claim, submit.key, submit.phase, submit.generation) == (
        claim,
        "0",
        "submitted",
        PAID,
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
        (segment(opened())[:-20], "after 0 entries, JSON: Invalid JSON"),
        (segment(opened(), opened()) + b"{}\n", "after 2 entries, claim: Field required"),
        (
            segment(opened()).replace(b'"phase":"intent"', b'"phase":"half"'),
            "after 0 entries, phase: ",
        ),
        (
            segment().replace(b'"schema_version":1', b'"schema_version":2'),
            "it has not version 1: a later version",
        ),
        (segment(opened()).replace(b"\n", b"\n\x00", 1), "after 0 entries, JSON: Invalid JSON"),
    ],
    ids=["empty", "blank", "cut", "foreign", "phase", "version", "damaged"],
)
def test_what_cannot_be_read_is_never_taken_for_nothing(data: bytes, reason: str) -> None:
    with pytest.raises(FluxLedgerError) as caught:
        parse_segment(data, "/x/s.jsonl")
    assert reason in str(caught.value)
    assert "nothing is submitted" in str(caught.value)


def test_an_unreadable_segment_is_not_quoted() -> None:
    data = segment({**opened(), "at": {"password": "hush"}})
    with pytest.raises(FluxLedgerError) as caught:
        parse_segment(data, "/x/s.jsonl")
    assert "hush" not in str(caught.value)


def test_a_note_without_its_intent_means_that_a_segment_is_missing() -> None:
    stray = note(phase_entry("c1", "0", "submitted", generation=PAID))
    with pytest.raises(
        FluxLedgerError, match=r"names the submit c1 .submitted.*segment with its intent is missing"
    ):
        list(fold_entries([(header(), [stray])]))


LATER = {
    "submitted": {"generation": PAID},
    "failed": {"generation": PAID, "error": GONE},
    "persisted": {"generation": LANDED},
    "returned": {"generation": LANDED},
}


@given(
    phases=st.lists(st.sampled_from(sorted(LATER)), max_size=5),
    data=st.data(),
)
def test_notes_say_the_same_in_any_order_and_by_whomever(
    phases: list[str], data: st.DataObject
) -> None:
    first = opened()
    lines = [first] + [phase_entry(first["claim"], "0", phase, **LATER[phase]) for phase in phases]  # type: ignore[arg-type]
    shuffled = data.draw(st.permutations(lines))
    days = data.draw(st.lists(st.integers(1, 5), min_size=len(lines), max_size=len(lines)))
    segments = [
        (header(f"2026-11-{day:02d}T00:00:00+00:00", f"s{day}"), [note(line)])
        for day, line in zip(days, shuffled, strict=True)
    ]
    submit = only(segments)
    order = ["intent", *LATER]
    assert submit.phase == max(["intent", *phases], key=order.index)
    assert bool(submit.generation) == bool(phases)
    has_image = bool(submit.generation and submit.generation["image"])
    assert has_image == bool({"persisted", "returned"} & set(phases))
    assert bool(submit.error) == (submit.phase == "failed")


def test_each_submit_is_told_once_and_in_order() -> None:
    lines = [opened(str(number), number) for number in range(20)]
    segments = [(header(), [note(line)]) for line in lines]
    assert [submit.claim for submit in fold_entries(segments)] == [line["claim"] for line in lines]


def test_a_later_phase_beats_an_earlier_one_for_all_pairs() -> None:
    for before, after in itertools.combinations(LATER, 2):
        first = opened()
        lines = [first, phase_entry(first["claim"], "0", after, **LATER[after])]  # type: ignore[arg-type]
        lines.append(phase_entry(first["claim"], "0", before, **LATER[before]))  # type: ignore[arg-type]
        assert only([(header(), list(map(note, lines)))]).phase == after


@given(reason=st.text(st.characters(), max_size=20))
def test_whatever_the_service_says_can_be_read_again(reason: str) -> None:
    first = opened()
    error = FluxModeratedError(f"refused for {reason}", reasons=(reason,))
    line = phase_entry(first["claim"], "0", "failed", generation=PAID, error=error)
    assert b"\n" not in encode_line(line)[:-1]
    _, notes = parse_segment(segment(first, line), "x")
    assert len(notes) == 2


def test_what_the_service_says_may_be_half_a_character() -> None:
    said = json.loads('"\\ud83d"')
    first = opened()
    line = phase_entry(
        first["claim"],
        "0",
        "failed",
        error=FluxModeratedError(f"refused for {said}", reasons=(said,)),
    )
    _, notes = parse_segment(segment(first, line), "x")
    assert notes[1].error
    assert notes[1].error["message"] == "refused for ?"


def test_an_intent_says_what_is_asked_for_and_no_secret() -> None:
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
