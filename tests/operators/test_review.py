"""FluxReviewOperator: its arguments, and its decisions without a cluster."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.operators.review import FluxReviewOperator
from tests.support.airflow_names import AIRFLOW
from tests.support.review_tries import ReviewTask, generate_candidates

pytestmark = [
    pytest.mark.usefixtures("hurry"),
    pytest.mark.skipif(AIRFLOW < (3, 1), reason="Airflow 3.0 cannot ask a person"),
]


@pytest.fixture
def candidates(emulator: EmulatorServer, tmp_path: Path) -> dict[str, Any]:
    return generate_candidates(tmp_path)


def again(folder: Path, **arguments: Any) -> dict[str, Any]:
    return {
        "prompt": "an owl at dusk",
        "parameters": {"width": 256, "height": 256},
        "candidates_path": f"{folder}/again/{{key}}.{{ext}}",
        "per_round": 2,
        "max_cost": 20,
        **arguments,
    }


def sidecar_of(uri: str) -> Any:
    return json.loads(Path(f"{uri}.json").read_text())


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            ({"on_reject": "ignore"}, "on_reject='ignore' must be one of"),
            ({"unchosen": "archive"}, "unchosen='archive' must be one of"),
            ({"multiple": True}, "is the same for all chosen candidates"),
            ({"prompt": "x"}, "Set candidates_path"),
            ({"per_round": 0}, "per_round=0 must be"),
            ({"max_rounds": -1}, "max_rounds=-1 must be"),
            ({"max_cost": -1}, "max_cost"),
            ({"output_path": "out/x.jpeg"}, "is relative"),
            ({"ledger_path": "ledger"}, "ledger_path"),
        ],
    )
    def test_a_wrong_literal_is_refused_when_the_dag_is_parsed(
        self, arguments: dict[str, Any], reason: str
    ) -> None:
        arguments = {"output_path": "/tmp/out/hero.{ext}", **arguments}
        with pytest.raises(FluxRequestError, match=reason):
            FluxReviewOperator(task_id="review", candidates=[], **arguments)

    def test_a_default_that_is_no_candidate_fails_before_the_question(
        self, candidates: Any, tmp_path: Path
    ) -> None:
        task = ReviewTask(tmp_path, candidates, defaults=9, response_timeout=timedelta(hours=1))
        with pytest.raises(AirflowFailException, match="which are 1 to 4"):
            task.ask()


class TestQuestion:
    def test_the_form_has_an_option_for_each_candidate_and_links_to_the_page(
        self, candidates: Any, tmp_path: Path
    ) -> None:
        task = ReviewTask(tmp_path, candidates).ask()
        assert task.form.options == ["1", "2", "3", "4", "Reject"]
        assert "(/flux/dags/shop/runs/night/tasks/review/review)" in task.form.body
        assert "**1**: c1 (flux-pro-1.1, seed" in task.form.body
        assert set(task.form.params) == {"comment", "round"}

    def test_the_options_leave_room_for_the_candidates_of_all_rounds(
        self, candidates: Any, tmp_path: Path
    ) -> None:
        task = ReviewTask(tmp_path, candidates, **again(tmp_path, max_rounds=2)).ask()
        assert task.form.options == [*map(str, range(1, 9)), "Ask again", "Reject"]
        assert set(task.form.params) == {"comment", "prompt", "seed", "round"}

    def test_a_key_with_markdown_stays_text(self, emulator: EmulatorServer, tmp_path: Path) -> None:
        summary = generate_candidates(tmp_path, 1)
        manifest = Path(summary["manifest"])
        row = json.loads(manifest.read_text())
        row["key"] = "![x](http://evil)<script>"
        manifest.write_text(json.dumps(row))
        body = ReviewTask(tmp_path, summary).ask().form.body
        assert "http://evil" not in body
        assert "<script>" not in body

    def test_the_xcom_has_no_prompt_if_it_is_hidden(self, candidates: Any, tmp_path: Path) -> None:
        task = ReviewTask(tmp_path, candidates, hide_prompt=True, **again(tmp_path)).ask()
        assert "owl" not in json.dumps(task.xcoms)
        assert "owl" not in repr(task.form)

    def test_a_hidden_prompt_of_a_reviewer_is_in_no_file_and_no_xcom(
        self, candidates: Any, tmp_path: Path
    ) -> None:
        task = ReviewTask(tmp_path, candidates, hide_prompt=True, **again(tmp_path)).ask()
        task.answer("Ask again", prompt="a fox at dawn")
        assert len(task.state["candidates"]) == 6
        assert "fox" not in json.dumps(task.xcoms)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert [path for path in files if b"fox" in path.read_bytes()] == []

    def test_a_notifier_is_called_once_the_question_can_be_found(
        self, candidates: Any, tmp_path: Path
    ) -> None:
        forms: list[int] = []
        task = ReviewTask(tmp_path, candidates)
        task.arguments["notifiers"] = lambda context: forms.append(len(task.supervisor.forms))
        task.ask()
        assert forms == [1]

    def test_a_candidate_outside_of_the_folders_is_refused(
        self, candidates: Any, tmp_path: Path
    ) -> None:
        task = ReviewTask(tmp_path, candidates, candidate_folders=str(tmp_path / "other"))
        with pytest.raises(AirflowFailException, match="in no folder that a task of this DAG"):
            task.ask()

    def test_without_a_candidate_the_task_fails(
        self, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        with pytest.raises(AirflowFailException, match="no candidate to review"):
            ReviewTask(tmp_path, []).ask()


class TestApprove:
    def test_the_choice_is_copied_and_every_sidecar_has_the_decision(
        self, candidates: Any, tmp_path: Path
    ) -> None:
        task = ReviewTask(tmp_path, candidates).ask()
        generation = task.answer("3", comment="sharp")
        image, source = generation["image"], task.state["candidates"][2]
        assert Path(image["uri"]).read_bytes() == Path(source["uri"]).read_bytes()
        note = sidecar_of(image["uri"])["review"]
        assert (note["decided_by_name"], note["comment"]) == ("Ada", "sharp")
        assert note["promoted_from"] == source["uri"]
        outcomes = [
            sidecar_of(each["uri"])["review"]["outcome"] for each in task.state["candidates"]
        ]
        assert outcomes == ["not_chosen", "not_chosen", "approved", "not_chosen"]
        assert task.state["phase"] == "done"

    def test_several_choices_land_by_their_keys_in_one_list(
        self, candidates: Any, tmp_path: Path
    ) -> None:
        returned = ReviewTask(tmp_path, candidates, multiple=True).ask().answer("4", "1")
        names = [Path(generation["image"]["uri"]).name for generation in returned]
        assert names == ["hero-c1.jpeg", "hero-c4.jpeg"]

    def test_a_list_of_generations_has_candidates_by_position(
        self, candidates: Any, tmp_path: Path
    ) -> None:
        chosen = ReviewTask(tmp_path, candidates, multiple=True).ask().answer("1", "2")
        output = f"{tmp_path}/final/{{key}}.{{ext}}"
        generation = ReviewTask(tmp_path, chosen, multiple=True, output_path=output).ask()
        names = [Path(each["image"]["uri"]).name for each in generation.answer("2")]
        assert names == ["2.jpeg"]

    def test_in_place_of_a_changed_image_the_original_is_got_from_bfl(
        self, candidates: Any, tmp_path: Path
    ) -> None:
        task = ReviewTask(tmp_path, candidates).ask()
        first, second = (Path(each["uri"]) for each in task.state["candidates"][:2])
        second.write_bytes(first.read_bytes())
        image = task.answer("2")["image"]
        assert image["sha256"] == task.state["candidates"][1]["sha256"]


class TestUnchosen:
    def test_images_that_are_not_chosen_are_removed_with_their_files(
        self, candidates: Any, tmp_path: Path
    ) -> None:
        task = ReviewTask(tmp_path, candidates, unchosen="remove").ask()
        task.answer("2")
        left = {path.name.partition(".")[0] for path in (tmp_path / "candidates").glob("c*")}
        assert left == {"c2"}
        assert [each["is_removed"] for each in task.state["candidates"]] == [
            *(True, False, True, True)
        ]

    def test_an_image_of_another_run_is_never_removed(
        self, candidates: Any, tmp_path: Path
    ) -> None:
        task = ReviewTask(tmp_path, candidates, unchosen="remove").ask()
        uri = task.state["candidates"][0]["uri"]
        sidecar = sidecar_of(uri)
        sidecar["run"]["run_id"] = "another"
        Path(f"{uri}.json").write_text(json.dumps(sidecar))
        task.answer("2")
        assert Path(uri).exists()

    def test_a_cleared_review_whose_candidates_were_all_removed_fails_with_the_reason(
        self, candidates: Any, tmp_path: Path
    ) -> None:
        task = ReviewTask(tmp_path, candidates, unchosen="remove", on_reject="continue").ask()
        task.answer("Reject")
        with pytest.raises(AirflowFailException, match="removed the files of all candidates"):
            task.clear()

    def test_a_removed_candidate_that_has_landed_again_can_be_chosen(
        self, candidates: Any, tmp_path: Path
    ) -> None:
        task = ReviewTask(tmp_path, candidates, unchosen="remove", on_reject="continue").ask()
        first = Path(task.state["candidates"][0]["uri"])
        data = first.read_bytes()
        task.answer("Reject")
        first.write_bytes(data)
        assert task.clear().answer("1")["image"]["sha256"] == task.state["candidates"][0]["sha256"]

    def test_a_removed_candidate_cannot_be_chosen_after_a_clear(
        self, candidates: Any, tmp_path: Path
    ) -> None:
        task = ReviewTask(tmp_path, candidates, unchosen="remove").ask()
        task.answer("2")
        assert task.clear().answer("1") is None
        assert task.state["note"] == "There is no candidate 1."


class TestReject:
    def test_a_rejection_skips_by_default(self, candidates: Any, tmp_path: Path) -> None:
        with pytest.raises(AirflowSkipException, match=r"rejected by Ada\. blurred"):
            ReviewTask(tmp_path, candidates).ask().answer("Reject", comment="blurred")

    def test_a_rejection_fails_if_told_to(self, candidates: Any, tmp_path: Path) -> None:
        with pytest.raises(AirflowFailException, match="rejected by Ada"):
            ReviewTask(tmp_path, candidates, on_reject="fail").ask().answer("Reject")

    @pytest.mark.parametrize(("multiple", "returned"), [(False, None), (True, [])])
    def test_a_rejection_continues_if_told_to(
        self, candidates: Any, tmp_path: Path, multiple: bool, returned: Any
    ) -> None:
        task = ReviewTask(tmp_path, candidates, on_reject="continue", multiple=multiple).ask()
        assert task.answer("Reject") == returned
        assert task.state["decision"]["kind"] == "reject"


class TestTimeout:
    @pytest.mark.parametrize(
        ("defaults", "multiple", "options"),
        [
            ("approve", False, ["1"]),
            ("approve", True, ["Approve all"]),
            ("reject", False, ["Reject"]),
            (3, False, ["3"]),
            ([1, 2], True, ["1", "2"]),
            (None, False, None),
        ],
    )
    def test_a_default_is_an_option_of_the_form(
        self, candidates: Any, tmp_path: Path, defaults: Any, multiple: bool, options: Any
    ) -> None:
        task = ReviewTask(tmp_path, candidates, defaults=defaults, multiple=multiple).ask()
        assert task.form.defaults == options

    def test_the_sidecar_says_that_nobody_answered(self, candidates: Any, tmp_path: Path) -> None:
        task = ReviewTask(tmp_path, candidates, defaults=1).ask()
        note = sidecar_of(task.answer("1", who=None, timedout=True)["image"]["uri"])["review"]
        assert (note["is_timeout"], note["decided_by_name"]) == (True, None)

    def test_without_a_default_the_task_fails(self, candidates: Any, tmp_path: Path) -> None:
        with pytest.raises(Exception, match="too late"):
            ReviewTask(tmp_path, candidates).ask().time_out()


class TestAskAgain:
    def test_feedback_and_seed_change_the_request(
        self, candidates: Any, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = ReviewTask(tmp_path, candidates, **again(tmp_path)).ask()
        assert task.answer("Ask again", comment="warmer", seed=41) is None
        others = task.state["candidates"][4:]
        assert [other["seed"] for other in others] == [41, 42]
        assert task.state["credits_left"] == 12
        assert sidecar_of(others[0]["uri"])["request"]["prompt"] == "an owl at dusk\nwarmer"
        assert task.answer("5")["seed"] == 41

    def test_a_budget_that_does_not_suffice_keeps_the_review(
        self, candidates: Any, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        before = emulator.stats()["submits"]
        task = ReviewTask(tmp_path, candidates, **again(tmp_path, max_cost=7)).ask()
        assert task.answer("Ask again") is None
        assert "max_cost" in task.state["note"]
        assert (len(task.state["candidates"]), task.state["round"]) == (4, 0)
        assert emulator.stats()["submits"] == before
        assert task.answer("1")["image"]

    def test_rounds_beyond_the_most_are_refused(
        self, candidates: Any, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = ReviewTask(tmp_path, candidates, **again(tmp_path, max_rounds=1)).ask()
        task.answer("Ask again")
        submits = emulator.stats()["submits"]
        task.answer("Ask again")
        assert "the most allowed" in task.state["note"]
        assert emulator.stats()["submits"] == submits

    def test_a_round_beyond_the_most_candidates_submits_nothing_and_keeps_the_review(
        self, candidates: Any, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        generation = ReviewTask(tmp_path, candidates).ask().answer("1")
        submits = emulator.stats()["submits"]
        folder = tmp_path / "long"
        task = ReviewTask(
            folder, [generation] * 499, **again(folder, candidates_path=f"{tmp_path}/{{key}}.jpeg")
        )
        task.arguments["candidate_folders"] = str(tmp_path)
        task.ask()
        task.answer("Ask again")
        assert "at most 500 candidates" in task.state["note"]
        assert emulator.stats()["submits"] == submits
        assert task.answer("499")["image"]

    def test_candidates_that_landed_before_the_budget_ended_are_shown(
        self,
        candidates: Any,
        emulator: EmulatorServer,
        connect: Callable[..., None],
        tmp_path: Path,
    ) -> None:
        connect(emulator.url, max_active=1)
        task = ReviewTask(tmp_path, candidates, **again(tmp_path, per_round=3)).ask()
        task.answer("Ask again", prompt="x [[fault:absurd-cost=15]]")
        assert len(task.state["candidates"]) == 6
        assert "1 of 3 other candidates have no image: " in task.state["note"]
        assert "max_cost" in task.state["note"]
        assert task.state["credits_left"] == 0
        assert task.answer("6")["image"]

    def test_candidates_that_were_moderated_are_missing_and_named(
        self, candidates: Any, tmp_path: Path
    ) -> None:
        task = ReviewTask(tmp_path, candidates, **again(tmp_path)).ask()
        task.answer("Ask again", prompt="x [[fault:moderated]]")
        assert len(task.state["candidates"]) == 4
        assert "2 of 2 other candidates have no image" in task.state["note"]


class TestTries:
    def test_a_retry_after_the_decision_carries_it_out_and_asks_nobody(
        self, candidates: Any, tmp_path: Path
    ) -> None:
        task = ReviewTask(tmp_path, candidates).ask()
        first = task.answer("2")
        Path(first["image"]["uri"]).unlink()
        assert task.retry()["image"] == first["image"]
        assert Path(first["image"]["uri"]).exists()

    def test_a_clear_asks_again_with_the_candidates_of_all_rounds(
        self, candidates: Any, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = ReviewTask(tmp_path, candidates, **again(tmp_path)).ask()
        task.answer("Ask again")
        task.answer("5")
        submits = emulator.stats()["submits"]
        assert task.clear().answer("6")["image"]["sha256"] == task.state["candidates"][5]["sha256"]
        assert emulator.stats()["submits"] == submits

    def test_other_images_upstream_are_another_review(
        self, candidates: Any, emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        task = ReviewTask(tmp_path, candidates).ask()
        task.answer("2")
        task.candidates = generate_candidates(tmp_path / "fresh", 2)
        task.ask()
        assert len(task.state["candidates"]) == 2

    def test_a_planted_record_cannot_name_an_image_elsewhere(
        self, candidates: Any, tmp_path: Path
    ) -> None:
        folder = tmp_path / "shop"
        folder.mkdir()
        task = ReviewTask(folder, candidates, candidate_folders=str(tmp_path / "candidates")).ask()
        (record,) = folder.rglob("*.review.json")
        content = json.loads(record.read_text())
        content["candidates"][0]["generation"]["image"]["uri"] = "/etc/passwd"
        record.write_text(json.dumps(content))
        with pytest.raises(AirflowFailException, match="Candidate 1 has the file '/etc/passwd'"):
            task.answer("1")
