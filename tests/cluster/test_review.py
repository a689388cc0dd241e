"""Reviews on a real Airflow: people answer by its REST API, as the form and the review page do."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

import httpx
import pytest

from airflow_provider_flux.emulator import EmulatorConfig
from tests.support.airflow_names import AIRFLOW
from tests.support.checkpoint_proxy import Checkpoint
from tests.support.cluster.checkpointed_cluster import Site, open_site
from tests.support.cluster.kill import FIRST_POLL, kill_runner, lose_worker
from tests.support.cluster.processes import wait_until

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(AIRFLOW < (3, 1), reason="Airflow 3.0 cannot ask a person"),
]

#: The state of a task that waits for a person.
WAITING = "awaiting_input" if AIRFLOW >= (3, 3) else "deferred"
DECIDED = Checkpoint(
    "answered", "PUT", r"/_flux/ledger/.*\.review\.json$", body='"phase":"decided"'
)
FINAL_PUT = Checkpoint("answered", "PUT", r"/out/.*/hero.*\.jpeg$")
#: Where a try ends, and how. ``make soak`` tries each way at each point.
KILLS = [
    pytest.param(DECIDED, lose_worker, id="decided-lost"),
    pytest.param(FINAL_PUT, kill_runner, id="final-put-killed"),
]
if os.environ.get("FLUX_KILLS"):
    KILLS += [
        pytest.param(DECIDED, kill_runner, id="decided-killed"),
        pytest.param(FINAL_PUT, lose_worker, id="final-put-lost"),
    ]
DAGS = """
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.review import FluxReviewOperator

AGAIN = {
    "prompt": "{{ run_id }} again",
    "candidates_path": "s3://my_s3@media/out/{{ run_id }}/again/{key}.{ext}",
    "parameters": {"width": 256, "height": 256},
    "per_round": 2,
    "max_rounds": 2,
    "max_cost": 20,
}
VARIANTS = {
    "one": AGAIN,
    "several": {"multiple": True, "unchosen": "remove"},
    "timeout": {"response_timeout": timedelta(seconds=8), "defaults": 3, "prompt": None},
    "unanswered": {"response_timeout": timedelta(seconds=8), "retries": 0},
}
for name, arguments in VARIANTS.items():
    with DAG(f"review_{name}", schedule=None, max_active_runs=99) as dag:
        candidates = FluxGenerateBatchOperator(
            task_id="candidates",
            requests=[{"key": f"c{n}", "prompt": f"{{{{ run_id }}}} {n}"} for n in (1, 2, 3, 4)],
            defaults={"width": 256, "height": 256},
            output_path="s3://my_s3@media/candidates/{{ run_id }}/{key}.{ext}",
        )
        FluxReviewOperator(
            task_id="review",
            candidates=candidates.output,
            output_path="s3://my_s3@media/out/{{ run_id }}/hero-{key}.{ext}",
            **{"retries": 5, "retry_delay": timedelta(seconds=1)} | arguments,
        )
"""


@pytest.fixture(scope="module")
def site(s3: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    config = EmulatorConfig(latency=1, credits=1_000_000)
    with open_site(tmp_path_factory.mktemp("site"), DAGS, s3, config=config) as site:
        yield site


class Review:
    """One run of a DAG that has four candidates, up to its review."""

    def __init__(self, site: Site, variant: str) -> None:
        self.site = site
        self.token = f"{variant}-{uuid4().hex[:8]}"
        self.run = site.cluster.run_dag(f"review_{variant}", run_id=self.token)
        self.path = f"{self.run.path}/taskInstances/review/-1/hitlDetails"
        self._parks = 0

    def wait(self) -> Review:
        """Wait until the task waits for a person, and the scheduler knows that its phase ended.

        Airflow fails a task that resumes before that, which an answer within a second can cause.
        """
        self._parks += 1
        self.site.cluster.wait_task(self.run, "review", WAITING)
        log = self.site.cluster.component_logs / "scheduler.log"

        def is_known() -> bool:
            lines = log.read_text(errors="replace").splitlines()
            ended = [line for line in lines if "TaskInstance Finished" in line]
            own = [line for line in ended if self.token in line and "task_id=review" in line]
            return sum(f"state={WAITING}" in line for line in own) >= self._parks

        assert wait_until(is_known, 120)
        return self

    def wait_round(self, round_: int) -> None:
        """Wait until the task shows the candidates of a round."""

        def is_open() -> bool:
            try:
                state = self.state()
            except (
                LookupError
            ):  # Airflow removes the XComs of a killed try when the next one starts
                return False
            return (state["round"], state["phase"]) == (round_, "open")

        assert wait_until(is_open, 120), self.site.cluster.dump()
        self.wait()

    def state(self) -> dict[str, Any]:
        """Return what the review page shows."""
        state: dict[str, Any] = self.site.cluster.xcom(self.run, "review", "flux_review")
        return state

    def detail(self) -> dict[str, Any]:
        """Return the form of Airflow with its answer."""
        detail: dict[str, Any] = self.site.cluster.rest.get(self.path)
        return detail

    def answer(self, *options: str, **fields: Any) -> dict[str, Any]:
        """Answer as the form does: with all fields."""
        known = dict.fromkeys(self.detail()["params"])
        body = {"chosen_options": list(options), "params_input": {**known, **fields}}
        answer: dict[str, Any] = self.site.cluster.rest.patch(self.path, body)
        return answer

    def task_state(self, *, timeout: float = 240) -> str:
        """Wait until the run has ended, and return the state of the review."""
        self.site.cluster.wait(self.run, timeout=timeout)
        rows = self.site.cluster.task_instances(self.run)
        return str(next(row.state for row in rows if row.task_id == "review"))

    def result(self) -> Any:
        """Return the XCom of the review."""
        return self.site.cluster.xcom(self.run, "review")

    def keys(self, folder: str) -> list[str]:
        """Return the keys of the run in a folder of the bucket."""
        return self.site.bucket.keys(f"{folder}/{self.token}/")

    def sidecar(self, uri: str) -> dict[str, Any]:
        """Return the sidecar of an image."""
        sidecar: dict[str, Any] = json.loads(
            self.site.bucket.read(f"{self.site.bucket.key_of(uri)}.json")
        )
        return sidecar

    def submits(self) -> int:
        """Return the number of submits for other candidates."""
        stats = self.site.emulator.stats()["submits_per_prompt"]
        again = f"{self.token} again"
        return sum(count for prompt, count in stats.items() if prompt.startswith(again))

    def assert_promoted(self, generation: dict[str, Any], number: int) -> dict[str, Any]:
        """Assert that an image is the whole candidate, and return the review in its sidecar."""
        candidate = self.state()["candidates"][number - 1]
        image = generation["image"]
        data = self.site.bucket.read(self.site.bucket.key_of(image["uri"]))
        assert hashlib.sha256(data).hexdigest() == image["sha256"] == candidate["sha256"]
        review: dict[str, Any] = self.sidecar(image["uri"])["review"]
        assert review["promoted_from"] == candidate["uri"]
        assert (review["outcome"], review["candidate"]) == ("approved", number)
        return review


class TestAnswers:
    def test_an_approved_candidate_is_copied_and_the_sidecars_say_who_decided(
        self, site: Site
    ) -> None:
        review = Review(site, "one").wait()
        assert review.detail()["options"][:4] == ["1", "2", "3", "4"]

        review.answer("2", comment="the light is right")

        assert review.task_state() == "success"
        note = review.assert_promoted(review.result(), 2)
        assert (note["comment"], note["is_timeout"]) == ("the light is right", False)
        assert note["decided_by_name"]
        outcomes = [
            review.sidecar(candidate["uri"])["review"]["outcome"]
            for candidate in review.state()["candidates"]
        ]
        assert outcomes == ["not_chosen", "approved", "not_chosen", "not_chosen"]
        assert review.submits() == 0

    def test_several_candidates_are_approved_and_the_others_are_removed(self, site: Site) -> None:
        review = Review(site, "several").wait()

        review.answer("1", "4")

        assert review.task_state() == "success"
        for generation, number in zip(review.result(), (1, 4), strict=True):
            review.assert_promoted(generation, number)
        names = {key.rpartition("/")[2].partition(".")[0] for key in review.keys("candidates")}
        assert names >= {"c1", "c4"}
        assert not names & {"c2", "c3"}

    def test_a_rejection_skips_the_task_and_lands_nothing(self, site: Site) -> None:
        review = Review(site, "one").wait()

        review.answer("Reject", comment="wrong product")

        assert review.task_state() == "skipped"
        assert not review.keys("out")
        note = review.sidecar(review.state()["candidates"][0]["uri"])["review"]
        assert (note["outcome"], note["comment"]) == ("rejected", "wrong product")

    def test_a_contradictory_answer_asks_again_and_says_why(self, site: Site) -> None:
        review = Review(site, "several").wait()

        review.answer("1", "Reject")

        assert wait_until(lambda: bool(review.state()["note"]), 60)
        assert "contradict" in review.state()["note"]
        review.wait().answer("3")
        assert review.task_state() == "success"
        review.assert_promoted(review.result()[0], 3)


class TestAskAgain:
    def test_feedback_and_seed_change_the_request_and_the_budget_ends_it(self, site: Site) -> None:
        review = Review(site, "one").wait()

        review.answer("Ask again", comment="warmer", seed=41)
        review.wait_round(1)

        state = review.state()
        assert [candidate["seed"] for candidate in state["candidates"][4:]] == [41, 42]
        assert state["credits_left"] == 20 - 8
        stats = site.emulator.stats()["submits_per_prompt"]
        assert stats[f"{review.token} again\nwarmer"] == 2

        review.answer("Ask again", prompt=f"{review.token} again, at night")
        review.wait_round(2)
        assert review.submits() == 4
        review.answer("Ask again")  # the third time is one too many

        assert wait_until(lambda: bool(review.state()["note"]), 60)
        review.wait().answer("7")
        assert review.task_state() == "success"
        assert review.assert_promoted(review.result(), 7)["round"] == 2
        assert review.submits() == 4

    def test_an_answer_to_an_earlier_round_does_not_ask_twice(self, site: Site) -> None:
        """Two reviewers look at round 0. Both ask again, the second one after the first is done."""
        review = Review(site, "one").wait()
        review.answer("Ask again", round=0)
        review.wait_round(1)

        review.answer("Ask again", round=0)

        assert wait_until(lambda: bool(review.state()["note"]), 60)
        review.wait().answer("1")
        assert review.task_state() == "success"
        assert review.submits() == 2


class TestTimeout:
    def test_the_default_applies_when_nobody_answers(self, site: Site) -> None:
        review = Review(site, "timeout")

        assert review.task_state() == "success"

        note = review.assert_promoted(review.result(), 3)
        assert (note["is_timeout"], note["decided_by_id"]) == (True, None)

    def test_a_review_without_a_default_fails(self, site: Site) -> None:
        review = Review(site, "unanswered")

        assert review.task_state() == "failed"

        assert "HITLTimeoutError" in site.cluster.task_log(review.run, "review")
        assert not review.keys("out")


class TestTwoReviewers:
    def test_of_two_answers_at_once_one_counts_and_its_image_is_promoted(self, site: Site) -> None:
        review = Review(site, "one").wait()
        fields = dict.fromkeys(review.detail()["params"])

        statuses = _patch_at_once(site, review.path, [("1", fields), ("2", fields)])

        # Airflow 3.3 locks the form, but decides by what it had read before. So both answers may be
        # accepted, and then the task goes on with one of them.
        assert sorted(statuses) in ([200, 409], [200, 200])
        assert review.task_state() == "success"
        generation = review.result()
        number = review.sidecar(generation["image"]["uri"])["review"]["candidate"]
        assert statuses[number - 1] == 200
        review.assert_promoted(generation, number)
        images = [key for key in review.keys("out") if key.endswith(".jpeg")]
        assert len(images) == 1


class TestKills:
    @pytest.mark.parametrize(("point", "act"), KILLS)
    def test_a_killed_try_does_not_ask_again(self, site: Site, point: Checkpoint, act: Any) -> None:
        review = Review(site, "one").wait()
        strike = site.store.plan(review.token, point, act)

        review.answer("4")

        assert review.task_state(timeout=400) == "success"
        assert strike.done.is_set()
        review.assert_promoted(review.result(), 4)

    def test_candidates_of_a_killed_try_are_paid_once(self, site: Site) -> None:
        review = Review(site, "one").wait()
        strike = site.bfl.plan(review.token, FIRST_POLL, kill_runner)

        review.answer("Ask again")

        review.wait_round(1)
        assert strike.done.is_set()
        assert review.submits() == 2
        review.answer("6")
        assert review.task_state() == "success"
        review.assert_promoted(review.result(), 6)

    def test_a_cleared_review_asks_again_with_all_candidates(self, site: Site) -> None:
        review = Review(site, "one").wait()
        review.answer("1")
        assert review.task_state() == "success"

        site.cluster.clear(review.run, "review")

        review.wait().answer("2")
        assert review.task_state() == "success"
        review.assert_promoted(review.result(), 2)


def _patch_at_once(
    site: Site, path: str, answers: Sequence[tuple[str, dict[str, Any]]]
) -> list[int]:
    """Send answers from threads that start together, and return the statuses in their order."""
    barrier = threading.Barrier(len(answers))
    statuses = [0] * len(answers)
    token = httpx.get(f"{site.cluster.api_url}/auth/token").json()["access_token"]

    def send(position: int, option: str, fields: dict[str, Any]) -> None:
        body = {"chosen_options": [option], "params_input": fields}
        barrier.wait()
        statuses[position] = httpx.patch(
            f"{site.cluster.api_url}/api/v2{path}",
            json=body,
            headers={"Authorization": f"Bearer {token}"},
            timeout=60,
        ).status_code

    threads = [
        threading.Thread(target=send, args=(position, *answer))
        for position, answer in enumerate(answers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses
