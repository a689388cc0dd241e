"""Answers of people, and the decisions that they make."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_flux.review.answer import (
    AnswerError,
    Decision,
    read_answer,
    revise_prompt,
    seeds_for,
)


def read(*options: str, multiple: bool = False, current_round: int = 0, **fields: Any) -> Decision:
    return read_answer(
        {
            "chosen_options": list(options),
            "params_input": fields,
            "responded_at": datetime(2026, 1, 2, tzinfo=UTC),
            "responded_by_user": {"id": "7", "name": "Ada"},
        },
        choosable={1, 2, 4},
        multiple=multiple,
        may_ask_again=True,
        current_round=current_round,
    )


class TestReadAnswer:
    def test_a_number_approves_that_candidate(self) -> None:
        decision = read("2", comment=" good ")
        assert (decision.kind, decision.chosen, decision.comment) == ("approve", (2,), "good")
        assert (decision.decided_by_id, decision.decided_by_name) == ("7", "Ada")
        assert decision.decided_at == "2026-01-02T00:00:00+00:00"

    def test_several_numbers_approve_in_ascending_order(self) -> None:
        assert read("4", "1", multiple=True).chosen == (1, 4)

    def test_approve_all_leaves_out_what_is_removed(self) -> None:
        assert read("Approve all", multiple=True).chosen == (1, 2, 4)

    @pytest.mark.parametrize(
        ("options", "multiple", "reason"),
        [
            ([], False, "No option"),
            (["3"], False, "no candidate 3"),
            (["0"], False, "no candidate 0"),
            (["1", "2"], False, "Only one"),
            (["1", "Reject"], True, "contradict"),
            (["Ask again", "Reject"], True, "contradict"),
            (["Approve all"], False, "no candidate"),
            (["<script>"], False, "no candidate"),
        ],
    )
    def test_an_answer_that_cannot_be_carried_out_is_refused(
        self, options: list[str], multiple: bool, reason: str
    ) -> None:
        with pytest.raises(AnswerError, match=reason):
            read(*options, multiple=multiple)

    @pytest.mark.parametrize("option", ["Reject", "Ask again"])
    def test_an_answer_to_an_earlier_round_is_refused_unless_it_chooses(self, option: str) -> None:
        with pytest.raises(AnswerError, match="other candidates since"):
            read(option, current_round=1, round=0)
        assert read("1", current_round=1, round=0).chosen == (1,)
        assert read(option, current_round=1, round=None).kind != "approve"

    @pytest.mark.parametrize("seed", [-1, "x", 1.5, True, 2**64, "9" * 5000])
    def test_a_seed_that_is_no_whole_number_is_refused(self, seed: Any) -> None:
        with pytest.raises(AnswerError, match="seed"):
            read("Ask again", seed=seed)

    def test_a_text_that_is_too_long_is_refused(self) -> None:
        with pytest.raises(AnswerError, match="comment has 4001 characters"):
            read("1", comment="x" * 4001)

    @pytest.mark.parametrize("fields", [None, [], "x", {"comment": 5, "prompt": ["x"]}])
    def test_fields_of_another_shape_are_ignored(self, fields: Any) -> None:
        decision = read_answer(
            {"chosen_options": ["1"], "params_input": fields, "responded_by_user": "Ada"},
            choosable={1},
            multiple=False,
            may_ask_again=False,
            current_round=0,
        )
        assert (decision.comment, decision.prompt, decision.decided_by_id) == ("", None, None)


class TestOtherCandidates:
    def decision(self, **changes: Any) -> Decision:
        return Decision(kind="ask_again", decided_at="2026-01-02", **changes)

    def test_feedback_follows_the_prompt(self) -> None:
        assert revise_prompt("a fox", self.decision(comment="warmer")) == "a fox\nwarmer"

    def test_a_new_prompt_replaces_that_of_the_task(self) -> None:
        assert revise_prompt("a fox", self.decision(prompt="a wolf")) == "a wolf"

    def test_a_seed_gives_each_candidate_its_own(self) -> None:
        assert seeds_for(self.decision(seed=41), 3) == [41, 42, 43]
        assert seeds_for(self.decision(), 2) == [None, None]
