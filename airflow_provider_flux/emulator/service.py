"""Accounts, tasks and limits: the service behind the routes, without HTTP and with an injected clock."""

from __future__ import annotations

import math
import secrets
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypedDict

from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.emulator.accounts import Account
from airflow_provider_flux.emulator.config import EmulatorConfig
from airflow_provider_flux.emulator.faults import Fault, FaultCounter, parse_faults
from airflow_provider_flux.emulator.inputs import NO_INPUTS, Inputs
from airflow_provider_flux.emulator.links import LinkSigner
from airflow_provider_flux.emulator.plan import Plan, make_plan
from airflow_provider_flux.emulator.random_source import RandomSource
from airflow_provider_flux.emulator.tasks import Task, outcome_of, poll_body
from airflow_provider_flux.emulator.timeline import Timeline, timeline_of


class Stats(TypedDict):
    """What an emulator has seen since it was started or reset.

    ``submits`` counts the tasks made (and charged), ``refused`` the submits that made none;
    ``credits_spent`` is net of ``credits_refunded``; ``polls`` and ``downloads`` count requests,
    whatever their answer; ``webhooks`` counts those that were accepted by the receiver;
    ``license_generations`` adds up what was reported for the open weights, by model.
    """

    submits: int
    submits_per_prompt: dict[str, int]
    submits_per_model: dict[str, int]
    refused: int
    polls: int
    downloads: int
    webhooks: int
    webhooks_failed: int
    credits_spent: float
    credits_refunded: float
    active: int
    max_active: int
    key_seen_on_delivery: int
    license_generations: dict[str, int]


class Service:
    """All state of one emulator.

    Not thread-safe: it is used on the event loop alone.

    :param clock: returns epoch seconds.
    """

    def __init__(self, config: EmulatorConfig, clock: Callable[[], float]) -> None:
        self.config = config
        self.clock = clock
        self.script = parse_faults(config.faults)
        self.links = LinkSigner(secrets.token_bytes(32))
        self.reset()

    def reset(self) -> None:
        """Forget every account, task and count."""
        self.seen: Counter[str] = Counter()
        self.refused: Counter[int] = Counter()
        self._chance = RandomSource(self.config.seed)
        self.faults = FaultCounter(self._chance)
        self.license_generations: Counter[str] = Counter()
        self._accounts: dict[str, Account] = {}
        self._tasks: dict[str, Task] = {}
        self._prompts: Counter[str] = Counter()
        self._models: Counter[str] = Counter()
        self._charged = self._refunded = 0.0
        self._max_active = 0

    def submit(
        self,
        model: Model,
        parameters: Mapping[str, Any],
        inputs: Inputs = NO_INPUTS,
        *,
        key: str,
        home: str,
        faults: Mapping[str, Fault],
    ) -> Task:
        """Charge the account and start a task.

        :param inputs: the media of the request; while some are URLs, the task does not end.
        :param home: scheme and host the task is to live on.
        :raises RefusalError: if the account has not enough credits, or too many active tasks.
        """
        account = self.account(key)
        plan = make_plan(model, parameters, inputs, self._seed(parameters))
        account.check(model, parameters, plan.cost)
        task = self._make_task(
            model, parameters, inputs, plan, key=key, home=home, faults=self.faults.of_task(faults)
        )
        self._charge(account, task.plan.cost)
        account.add(task)
        self._tasks[task.id] = task
        self._prompts[task.prompt] += 1
        self._models[model.name] += 1
        self._max_active = max(self._max_active, self._count_active())
        return task

    def go_on(self, task: Task, parameters: Mapping[str, Any], inputs: Inputs) -> None:
        """Let a task end whose inputs have been fetched, or could not be.

        What is reported with the result is charged for what came; what was reported at submit is final.
        """
        plan = make_plan(task.model, parameters, inputs, task.picture.seed)
        if inputs.error or task.model.cost_reported != "when ready":
            plan = replace(plan, cost=task.plan.cost)
        account = self.account(task.key)
        self._charge(account, plan.cost - task.plan.cost)
        task.plan = plan
        task.outcome = outcome_of(task.faults, inputs.error)
        task.arrived_at = self.clock()
        account.expect(task)

    def find(self, task_id: str, *, host: str | None = None) -> Task | None:
        """Return a task that ``host`` knows (any host, if there are no regions) and has not forgotten."""
        task = self._tasks.get(task_id)
        if task is None or "lost" in task.faults:
            return None
        if self.config.region_hosts and host is not None and host != task.host:
            return None
        retention = self.config.retention
        is_forgotten = retention is not None and task.ends_at + retention <= self.clock()
        return None if is_forgotten else task

    def task(self, task_id: str) -> Task | None:
        """Return a task wherever it lives, for the delivery of its result."""
        return self._tasks.get(task_id)

    def body(self, task: Task) -> dict[str, Any]:
        """Return the poll body of a task, with a freshly signed URL once it is Ready."""
        now = self.clock()
        lifetime = (
            task.model.url_lifetime
            if self.config.url_lifetime is None
            else self.config.url_lifetime
        )

        def sign(path: str, content_type: str) -> str:
            return task.home + self.links.sign(
                path, content_type=content_type, now=now, lifetime=lifetime
            )

        return poll_body(task, sign=sign, now=now)

    def account(self, key: str) -> Account:
        """Return the account of a key, with all settled that has ended."""
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = Account(self.config)
        self._settle(account)
        return account

    def count_poll(self, task_id: str) -> None:
        """Count a poll, also one that does not find its task."""
        self.seen["polls"] += 1
        if task := self._tasks.get(task_id):
            task.polls += 1

    def refuse(self, status: int) -> None:
        """Count a submit that made no task."""
        self.seen["refused"] += 1
        self.refused[status] += 1

    def timeline(self) -> Timeline:
        """Return what became of each task, in order, and which submits were refused."""
        return timeline_of(self._tasks.values(), self.refused, self.clock())

    def stats(self) -> Stats:
        """Return what was seen so far."""
        active = self._count_active()
        return Stats(
            submits=self._prompts.total(),
            submits_per_prompt=dict(self._prompts),
            submits_per_model=dict(self._models),
            refused=self.seen["refused"],
            polls=self.seen["polls"],
            downloads=self.seen["downloads"],
            webhooks=self.seen["webhooks"],
            webhooks_failed=self.seen["webhooks_failed"],
            credits_spent=self._charged - self._refunded,
            credits_refunded=self._refunded,
            active=active,
            max_active=self._max_active,
            key_seen_on_delivery=self.seen["key_seen_on_delivery"],
            license_generations=dict(self.license_generations),
        )

    def _make_task(
        self,
        model: Model,
        parameters: Mapping[str, Any],
        inputs: Inputs,
        plan: Plan,
        *,
        key: str,
        home: str,
        faults: Mapping[str, Fault],
    ) -> Task:
        now = self.clock()
        return Task(
            id=str(uuid.uuid4()),
            model=model,
            prompt=parameters.get("prompt") or "",
            plan=plan,
            home=home,
            submitted_at=now,
            latency=self._latency(model, faults),
            arrived_at=math.inf if inputs.are_pending else now,
            outcome=outcome_of(faults, inputs.error),
            faults=faults,
            key=key,
            webhook_url=parameters.get("webhook_url"),
            webhook_secret=parameters.get("webhook_secret"),
        )

    def _latency(self, model: Model, faults: Mapping[str, Fault]) -> float:
        slow = faults.get("slow")
        if slow is not None and slow.seconds is not None:
            return slow.seconds
        usual = model.typical_seconds if self.config.latency is None else self.config.latency
        return self._chance.spread(usual, self.config.latency_spread)

    def _seed(self, parameters: Mapping[str, Any]) -> int:
        seed: int | None = parameters.get("seed")
        return self._chance.of("seed").randrange(2**32) if seed is None else seed

    def _charge(self, account: Account, credits_: float) -> None:
        account.credits -= credits_
        self._charged += credits_

    def _settle(self, account: Account) -> None:
        self._refunded += account.settle(self.clock())

    def _count_active(self) -> int:
        for account in self._accounts.values():
            self._settle(account)
        return sum(len(account.unsettled) for account in self._accounts.values())
