"""Tests of the submits folded from the entries of a journal, in whatever order they stand."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_flux.bfl.errors import FluxLedgerError, FluxTaskNotFoundError
from airflow_provider_flux.ledger.journal_entries import phase_entry
from airflow_provider_flux.ledger.journaled_submit import fold_entries
from tests.support.journal_samples import (
    ACCEPTED,
    LANDED,
    new_intent,
    only_submit,
    parse_entry,
    segment_header,
)

GONE = FluxTaskNotFoundError("gone")
LATER = {
    "submitted": {"generation": ACCEPTED},
    "failed": {"generation": ACCEPTED, "error": GONE},
    "persisted": {"generation": LANDED},
    "returned": {"generation": LANDED},
}


def test_an_entry_without_its_intent_means_that_a_segment_is_missing() -> None:
    stray = parse_entry(phase_entry("c1", "0", "submitted", generation=ACCEPTED))
    with pytest.raises(
        FluxLedgerError, match=r"names the submit c1 .submitted.*segment with its intent is missing"
    ):
        list(fold_entries([(segment_header(), [stray])]))


@given(
    phases=st.lists(st.sampled_from(sorted(LATER)), max_size=5),
    data=st.data(),
)
def test_entries_fold_to_the_same_submit_in_any_order(
    phases: list[str], data: st.DataObject
) -> None:
    first = new_intent()
    lines = [first] + [phase_entry(first["claim"], "0", phase, **LATER[phase]) for phase in phases]  # type: ignore[arg-type]
    shuffled = data.draw(st.permutations(lines))
    days = data.draw(st.lists(st.integers(1, 5), min_size=len(lines), max_size=len(lines)))
    segments = [
        (segment_header(f"2026-11-{day:02d}T00:00:00+00:00", f"s{day}"), [parse_entry(line)])
        for day, line in zip(days, shuffled, strict=True)
    ]
    submit = only_submit(segments)
    order = ["intent", *LATER]
    assert submit.phase == max(["intent", *phases], key=order.index)
    assert bool(submit.generation) == bool(phases)
    has_image = bool(submit.generation and submit.generation["image"])
    assert has_image == bool({"persisted", "returned"} & set(phases))
    assert bool(submit.error) == (submit.phase == "failed")


def test_each_submit_is_yielded_once_and_in_order() -> None:
    lines = [new_intent(str(number), number) for number in range(20)]
    segments = [(segment_header(), [parse_entry(line)]) for line in lines]
    assert [submit.claim for submit in fold_entries(segments)] == [line["claim"] for line in lines]


def test_a_later_phase_replaces_an_earlier_one_in_any_order() -> None:
    for before, after in itertools.combinations(LATER, 2):
        first = new_intent()
        lines = [first, phase_entry(first["claim"], "0", after, **LATER[after])]  # type: ignore[arg-type]
        lines.append(phase_entry(first["claim"], "0", before, **LATER[before]))  # type: ignore[arg-type]
        assert only_submit([(segment_header(), list(map(parse_entry, lines)))]).phase == after
