"""Accounts, tasks and limits: the service behind the routes, without HTTP and with an injected clock."""

from __future__ import annotations

import secrets
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.bfl.media import inputs_of
from airflow_provider_flux.emulator.config import EmulatorConfig
from airflow_provider_flux.emulator.faults import Fault, FaultCounter, parse_faults
from airflow_provider_flux.emulator.links import LinkSigner
from airflow_provider_flux.emulator.picture import compose
from airflow_provider_flux.emulator.tasks import Task, outcome_of, poll_body

# The limit of most routes; a route with a smaller one keeps it, whatever the account may do.
_USUAL_MAX_ACTIVE = 24


class RefusalError(Exception):
    """A request is answered with an error of the service.

    :param detail: what stands in ``detail`` of the body.
    :param retry_after: seconds for the ``Retry-After`` header.
    """

    def __init__(self, status: int, detail: Any, *, retry_after: float | None = None) -> None:
        super().__init__(f"HTTP {status}: {detail}")
        self.status = status
        self.detail = detail
        self.retry_after = retry_after


class Stats(TypedDict):
    """What an emulator has seen since it was started or reset.

    ``submits`` counts the tasks made (and charged), ``refused`` the submits that made none;
    ``credits_spent`` is net of ``credits_refunded``; ``polls`` and ``downloads`` count requests,
    whatever their answer; ``webhooks`` counts those that were accepted by the receiver.
    """

    submits: int
    submits_per_prompt: dict[str, int]
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


@dataclass
class _Account:
    """Balance of one API key, and its tasks that are not settled yet."""

    credits: float
    unsettled: list[Task] = field(default_factory=list)


class Service:
    """All state of one emulator.

    Not thread-safe: it is used on the event loop alone.

    :param clock: returns epoch seconds.
    """

    def __init__(self, config: EmulatorConfig, clock: Callable[[], float]) -> None:
        self.config = config
        self.clock = clock
        self.script = parse_faults(config.faults)
        self.links = LinkSigner(secrets.token_bytes(32), config.url_lifetime)
        self.reset()

    def reset(self) -> None:
        """Forget every account, task and count."""
        self.seen: Counter[str] = Counter()
        self.faults = FaultCounter()
        self._accounts: dict[str, _Account] = {}
        self._tasks: dict[str, Task] = {}
        self._prompts: Counter[str] = Counter()
        self._charged = self._refunded = 0.0
        self._max_active = 0

    def submit(
        self, model: Model, parameters: Mapping[str, Any], *, key: str, home: str, faults: Mapping[str, Fault]
    ) -> Task:
        """Charge the account and start a task.

        :param home: scheme and host the task is to live on.
        :raises RefusalError: if the account has not enough credits, or too many active tasks.
        """
        account = self._account(key)
        task = self._make_task(model, parameters, home, faults)
        if account.credits < task.cost:
            raise RefusalError(402, "Insufficient credits")
        self._check_active(account, model)
        account.credits -= task.cost
        self._charged += task.cost
        account.unsettled.append(task)
        self._tasks[task.id] = task
        self._prompts[task.prompt] += 1
        self._max_active = max(self._max_active, self._count_active())
        return task

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
        """Return a task wherever it lives, for the delivery of its image."""
        return self._tasks.get(task_id)

    def body(self, task: Task) -> dict[str, Any]:
        """Return the poll body of a task, with a freshly signed URL once it is Ready."""
        now = self.clock()
        signed = self.links.sign(task.sample_path, content_type=task.content_type, now=now)
        return poll_body(task, sample=f"{task.home}{signed}", now=now)

    def balance(self, key: str) -> float:
        """Return the credits of an account."""
        return self._account(key).credits

    def stats(self) -> Stats:
        """Return what was seen so far."""
        active = self._count_active()
        return Stats(
            submits=self._prompts.total(),
            submits_per_prompt=dict(self._prompts),
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
        )

    def _make_task(self, model: Model, parameters: Mapping[str, Any], home: str, faults: Mapping[str, Fault]) -> Task:
        seed = parameters.get("seed")
        inputs = inputs_of(model, parameters)
        images_in = sum(len(group) for group in inputs.values())
        estimate = model.price.estimate(parameters, {name: [None] * len(group) for name, group in inputs.items()})
        return Task(
            id=str(uuid.uuid4()),
            prompt=parameters.get("prompt") or "",
            picture=compose(model, parameters, secrets.randbelow(2**32) if seed is None else seed),
            home=home,
            submitted_at=self.clock(),
            latency=self._latency(model, faults),
            cost=estimate.credits or 0.0,
            cost_shown=model.cost_reported == "at submit",
            images_in=images_in,
            outcome=outcome_of(faults),
            faults=faults,
            webhook_url=parameters.get("webhook_url"),
            webhook_secret=parameters.get("webhook_secret"),
        )

    def _latency(self, model: Model, faults: Mapping[str, Fault]) -> float:
        slow = faults.get("slow")
        if slow is not None and slow.seconds is not None:
            return slow.seconds
        return model.typical_seconds if self.config.latency is None else self.config.latency

    def _check_active(self, account: _Account, model: Model) -> None:
        of_model = sum(1 for task in account.unsettled if task.picture.model == model.name)
        is_narrow = model.max_active < _USUAL_MAX_ACTIVE
        if len(account.unsettled) >= self.config.max_active or (is_narrow and of_model >= model.max_active):
            raise RefusalError(429, "Rate limit exceeded: too many active tasks")

    def _account(self, key: str) -> _Account:
        account = self._accounts.setdefault(key, _Account(self.config.credits))
        self._settle(account)
        return account

    def _settle(self, account: _Account) -> None:
        """Let go of the tasks that have ended, and give back what is not billed."""
        now = self.clock()
        refund = sum(task.refund for task in account.unsettled if task.ends_at <= now)
        account.credits += refund
        self._refunded += refund
        account.unsettled = [task for task in account.unsettled if task.ends_at > now]

    def _count_active(self) -> int:
        for account in self._accounts.values():
            self._settle(account)
        return sum(len(account.unsettled) for account in self._accounts.values())
