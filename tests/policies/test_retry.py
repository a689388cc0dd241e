"""FluxRetryPolicy, as Airflow asks it: in DAG runs on its database, against the emulator."""

from __future__ import annotations

import runpy
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow.sdk.definitions.retry_policy")

from airflow.models.taskinstancehistory import TaskInstanceHistory
from airflow.sdk import DAG, task
from airflow.sdk.definitions.retry_policy import (
    ExceptionRetryPolicy,
    RetryAction,
    RetryDecision,
    RetryRule,
)
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_provider_flux.bfl import errors
from airflow_provider_flux.emulator import EmulatorServer
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.policies.retry import FluxRetryPolicy
from airflow_provider_flux.sensors.credits import FluxCreditsSensor
from airflow_provider_flux.testing.dag_run import run_dag
from airflow_provider_flux.transfers.flux_to_object_storage import FluxToObjectStorageOperator
from tests.support.image_task import image_task
from tests.support.image_task import run_task as run_image_task
from tests.support.scripted_host import ScriptedHost, status

ROOT = Path(__file__).parents[2]
SHORT = timedelta(seconds=0.1)
LONG = timedelta(hours=1)
MODERATED = "a fox [[fault:moderated]]"


@pytest.fixture(scope="module", autouse=True)
def database() -> None:
    """The metadata database, which a DAG run needs."""
    initdb()


def run_task(build: Callable[[], Any], **arguments: Any) -> Any:
    """Run a DAG of the one task that ``build`` makes, and return its task instance."""
    with DAG("retries", schedule=None, **arguments) as dag:
        build()
    return run_dag(dag).get_task_instance("hero")


def hero(prompt: str, **arguments: Any) -> FluxGenerateOperator:
    arguments = {"retries": 1, "retry_delay": SHORT, "deferrable": False, **arguments}
    return FluxGenerateOperator(task_id="hero", prompt=prompt, **arguments)


def waits_of(ti: Any) -> list[tuple[float | None, str | None]]:
    """Return the delay and the reason that Airflow stored for each earlier try."""
    history = TaskInstanceHistory
    with create_session() as session:
        tries = session.scalars(
            select(history)
            .where(history.dag_id == ti.dag_id, history.run_id == ti.run_id)
            .order_by(history.try_number)
        ).all()
        return [(row.retry_delay_override, row.retry_reason) for row in tries]


class TestTasks:
    def test_a_moderated_image_uses_no_retries(self, emulator: EmulatorServer) -> None:
        ti = run_task(lambda: hero(MODERATED))
        assert (ti.state, ti.try_number) == ("failed", 1)
        assert emulator.stats()["submits"] == 1

    def test_a_policy_of_the_user_can_retry_a_moderated_image(
        self, emulator: EmulatorServer
    ) -> None:
        rule = RetryRule(errors.FluxModeratedError, RetryAction.RETRY, SHORT, "draw again")
        ti = run_task(lambda: hero(MODERATED, retry_policy=ExceptionRetryPolicy([rule])))
        assert (ti.state, ti.try_number) == ("failed", 2)
        assert waits_of(ti) == [(0.1, "draw again")]
        assert emulator.stats()["submits"] == 2

    def test_a_policy_of_the_default_arguments_can_fail_what_would_be_retried(
        self, emulator: EmulatorServer
    ) -> None:
        rule = RetryRule(errors.FluxGenerationError, RetryAction.FAIL)
        policy = ExceptionRetryPolicy([rule])
        ti = run_task(
            lambda: hero("a fox [[fault:error-422]]"), default_args={"retry_policy": policy}
        )
        assert (ti.state, ti.try_number) == ("failed", 1)

    def test_a_policy_of_the_user_without_a_rule_for_it_leaves_a_permanent_error_permanent(
        self, emulator: EmulatorServer
    ) -> None:
        policy = ExceptionRetryPolicy([RetryRule(KeyError)])
        ti = run_task(lambda: hero(MODERATED, retry_policy=policy))
        assert (ti.state, ti.try_number) == ("failed", 1)

    def test_no_policy_retries_a_submit_that_may_have_been_billed(
        self, emulator: EmulatorServer
    ) -> None:
        policy = ExceptionRetryPolicy([RetryRule(Exception, RetryAction.RETRY, SHORT)])
        ti = run_task(lambda: hero("a fox [[fault:submit-lost]]", retry_policy=policy))
        assert (ti.state, ti.try_number) == ("failed", 1)
        assert emulator.stats()["submits"] == 1

    def test_a_retry_after_a_rate_limit_waits_as_long_as_the_service_asks(
        self, emulator: EmulatorServer, hurry: None
    ) -> None:
        prompt = "a fox [[fault:rate-limit=3,1]]"
        ti = run_task(lambda: hero(prompt, timeout=1, retry_delay=LONG))
        assert ti.try_number > 1
        ((delay, reason),) = waits_of(ti)
        assert delay == 1
        assert str(reason).startswith("FluxRateLimitedError: ")

    def test_a_task_of_the_user_waits_through_an_outage(self, connect: Any) -> None:
        """The task calls the hook, and names the policy itself."""

        @task(task_id="hero", retries=2, retry_delay=LONG, retry_policy=FluxRetryPolicy())
        def read_balance() -> float:
            return FluxHook().get_conn().get_credits(retry=False)

        with ScriptedHost() as host:
            host.answers["/v1/credits"] = [
                lambda exchange: exchange.send(status=503, Retry_After=2),
                lambda exchange: exchange.send_json({"credits": 7}),
            ]
            connect(host.url)
            ti = run_task(read_balance)
        assert (ti.state, ti.try_number) == ("success", 2)
        assert waits_of(ti)[0][0] == 2

    def test_a_refused_key_of_a_sensor_is_decided_by_the_policy_of_the_user(
        self, connect: Any
    ) -> None:
        rule = RetryRule(errors.FluxAuthenticationError, RetryAction.RETRY, SHORT)
        with ScriptedHost() as host:
            host.answers["/v1/credits"] = [
                status(403),
                lambda exchange: exchange.send_json({"credits": 7}),
            ]
            connect(host.url)
            ti = run_task(
                lambda: FluxCreditsSensor(
                    task_id="hero",
                    minimum=5,
                    retries=1,
                    deferrable=False,
                    retry_policy=ExceptionRetryPolicy([rule]),
                )
            )
        assert (ti.state, ti.try_number) == ("success", 2)


class TestDecisions:
    @pytest.mark.parametrize(
        ("error", "decision"),
        [
            (errors.FluxRateLimitedError("x", retry_after=30), timedelta(seconds=30)),
            (errors.FluxServiceError("x", retry_after=0), timedelta(seconds=1)),
            (errors.FluxServiceError("x", retry_after=9000), timedelta(minutes=5)),
            (errors.FluxServiceError("x"), RetryAction.DEFAULT),
            (errors.FluxTimeoutError("x"), RetryAction.DEFAULT),
            (KeyError("x"), RetryAction.DEFAULT),
            (errors.FluxModeratedError("x"), RetryAction.FAIL),
            (errors.FluxRequestError("x"), RetryAction.FAIL),
            (errors.FluxInsufficientCreditsError("x"), RetryAction.FAIL),
            (errors.FluxSubmitUncertainError("x"), RetryAction.FAIL),
        ],
    )
    def test_an_error_carries_its_decision(self, error: Exception, decision: Any) -> None:
        found = FluxRetryPolicy().evaluate(error, 1, 3)
        assert decision in {found.action, found.retry_delay}

    def test_a_reason_fits_into_the_database_of_airflow(self) -> None:
        found = FluxRetryPolicy().evaluate(errors.FluxModeratedError("a word " * 900), 1, 3)
        assert len(found.reason or "") == 500

    def test_the_first_policy_decides_before(self) -> None:
        class Never(FluxRetryPolicy):
            def evaluate(self, *_: Any, **__: Any) -> RetryDecision:
                return RetryDecision.fail("never")

        found = FluxRetryPolicy(Never()).evaluate(errors.FluxServiceError("x"), 1, 3)
        assert found == RetryDecision.fail("never")


def test_operators_that_resume_have_the_durable_marker() -> None:
    def is_durable(operator: type) -> bool:
        return f"_{operator.__name__}__supports_durable_execution" in vars(operator)

    assert is_durable(FluxGenerateOperator)
    assert is_durable(FluxGenerateBatchOperator)
    assert not is_durable(FluxToObjectStorageOperator)


def test_the_dag_of_the_documentation_draws_a_moderated_image_again(
    emulator: EmulatorServer,
) -> None:
    """The emulator refuses each draw, so all retries are used."""
    module = runpy.run_path(str(ROOT / "docs/snippets/retry_policy.py"))
    dag = module["dag"]
    dag.task_dict["generate"].prompt = MODERATED
    ti = run_dag(dag).get_task_instance("generate")
    assert (ti.state, ti.try_number) == ("failed", 3)
    assert waits_of(ti) == [(1, "draw again")] * 2


class TestBudgets:
    @pytest.mark.parametrize(
        ("seconds", "delay", "action"),
        [
            (3600.0, timedelta(hours=2), RetryAction.RETRY),
            (3600.0, timedelta(minutes=10), RetryAction.FAIL),
            (3600.0, timedelta(0), RetryAction.FAIL),
            (None, timedelta(days=365), RetryAction.FAIL),
        ],
    )
    def test_a_budget_that_is_used_up_is_retried_after_its_reset_if_that_is_soon_enough(
        self, seconds: float | None, delay: timedelta, action: RetryAction
    ) -> None:
        resets_at = None if seconds is None else time.time() + seconds
        error = errors.FluxBudgetError("It is used up.", resets_at=resets_at)
        decision = FluxRetryPolicy(budget_delay=delay).evaluate(error, 1, 3)
        assert decision.action is action
        if action is RetryAction.RETRY:
            assert decision.retry_delay is not None
            assert 3590 < decision.retry_delay.total_seconds() < 3670

    def test_a_task_with_that_policy_leaves_the_decision_to_it(
        self, connect: Callable[..., None], emulator: EmulatorServer, tmp_path: Path
    ) -> None:
        budgets = [{"credits": 1, "per": "day"}]
        connect(emulator.url, account_path=str(tmp_path), budgets=budgets)
        policy = FluxRetryPolicy(budget_delay=timedelta(days=2))
        with pytest.raises(errors.FluxBudgetError, match="too little left") as caught:
            run_image_task(image_task(f"{tmp_path}/hero.{{ext}}", retry_policy=policy))
        assert caught.value.resets_at is not None
        assert emulator.stats()["submits"] == 0
