"""The emulated service: accounts, tasks and limits, without HTTP and with an injected clock."""

from __future__ import annotations

import math
import secrets
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from airflow_provider_flux.bfl.catalog import Model
from airflow_provider_flux.emulator.accounts import Account
from airflow_provider_flux.emulator.charges import Charge, compute_charge, round_credits
from airflow_provider_flux.emulator.config import EmulatorConfig
from airflow_provider_flux.emulator.drawing.picture import Picture, compose_picture
from airflow_provider_flux.emulator.drawing.scenes import SCENES
from airflow_provider_flux.emulator.fault_scripts import Fault, FaultCounter, parse_faults
from airflow_provider_flux.emulator.inputs import NO_INPUTS, Inputs
from airflow_provider_flux.emulator.random_source import RandomSource
from airflow_provider_flux.emulator.signed_urls import UrlSigner
from airflow_provider_flux.emulator.stats import Stats, Timeline, build_timeline
from airflow_provider_flux.emulator.tasks import Task, describe_task, outcome_of

#: The lifetime of a URL that has expired when it is signed, in seconds.
_EXPIRED = -60.0


class Service:
    """The state of one emulator. Not thread-safe: only the event loop uses it.

    :param config: the configuration of the emulator.
    :param clock: returns epoch seconds.
    """

    def __init__(self, config: EmulatorConfig, clock: Callable[[], float]) -> None:
        self.config = config
        self.clock = clock
        self.default_faults = parse_faults(config.faults)
        self.url_signer = UrlSigner(secrets.token_bytes(32))
        self.reset()

    def reset(self) -> None:
        """Forget every account, task and count."""
        self.counts: Counter[str] = Counter()
        self.refused_by_status: Counter[int] = Counter()
        self.license_generations: Counter[str] = Counter()
        self._random_source = RandomSource(self.config.seed)
        self.fault_counter = FaultCounter(self._random_source)
        self._accounts: dict[str, Account] = {}
        self._tasks: dict[str, Task] = {}
        self._submits_per_prompt: Counter[str] = Counter()
        self._submits_per_model: Counter[str] = Counter()
        self._charged = self._refunded = 0.0
        self._max_active = 0

    def submit(
        self,
        model: Model,
        parameters: Mapping[str, Any],
        inputs: Inputs = NO_INPUTS,
        *,
        key: str,
        base_url: str,
        faults: Mapping[str, Fault],
    ) -> Task:
        """Charge the account and start a task.

        :param model: the model of the request.
        :param parameters: the checked body of the request.
        :param inputs: the media of the request; the task does not end while some are pending.
        :param key: the API key of the request.
        :param base_url: scheme and host that will know the task.
        :param faults: the faults of the request, by name.
        :raises RefusalError: if the balance is too low, or the account has too many active tasks.
        """
        account = self.account_of(key)
        picture = compose_picture(model, parameters, inputs.files, self._choose_seed(parameters))
        charge = compute_charge(model, parameters, picture, inputs)
        account.check(model, parameters, charge.cost)
        task = self._make_task(
            model,
            parameters,
            inputs,
            picture,
            charge,
            key=key,
            base_url=base_url,
            faults=self.fault_counter.draw_task_faults(faults),
        )
        self._charge(account, charge.cost)
        account.add(task)
        self._tasks[task.id] = task
        self._submits_per_prompt[task.prompt] += 1
        self._submits_per_model[model.name] += 1
        self._max_active = max(self._max_active, self._count_active())
        return task

    def complete_inputs(self, task: Task, parameters: Mapping[str, Any], inputs: Inputs) -> None:
        """Give a task its fetched inputs, after which it can end.

        A cost that is reported with the result is that of the fetched inputs. A cost that was
        reported at submit is final.

        :param task: a task with pending inputs.
        :param parameters: the checked body of its request.
        :param inputs: the fetched inputs, or the error that ends the task.
        """
        composed = compose_picture(task.model, parameters, inputs.files, task.picture.seed)
        picture = replace(composed, scene=task.picture.scene)
        charge = compute_charge(task.model, parameters, picture, inputs)
        if inputs.error or task.model.cost_reported != "when ready":
            charge = Charge(task.charge.cost, charge.input_mp, charge.output_mp)
        account = self.account_of(task.key)
        self._charge(account, charge.cost - task.charge.cost)
        task.picture, task.charge = picture, charge
        task.outcome = outcome_of(task.faults, inputs.error)
        task.inputs_at = self.clock()
        account.update_end(task)

    def release(self, text: str) -> list[Task]:
        """End the waiting of the held tasks whose prompt has a text, and return them.

        :param text: a part of the prompt; empty stands for all.
        """
        held = [task for task in self._tasks.values() if task.is_held and text in task.prompt]
        for task in held:
            task.released_at = self.clock()
            self.account_of(task.key).update_end(task)
        return held

    def find_task(self, task_id: str, *, host: str | None = None) -> Task | None:
        """Return a task that a poll can see, or ``None``.

        :param task_id: the id of the poll.
        :param host: the host of the poll. With region hosts, only the host of the task knows it;
            ``None`` stands for any host.
        """
        task = self._tasks.get(task_id)
        if task is None or "lost" in task.faults:
            return None
        if self.config.region_hosts and host is not None and host != task.host:
            return None
        retention = self.config.retention
        is_expired = retention is not None and task.ends_at + retention <= self.clock()
        return None if is_expired else task

    def find_task_to_deliver(self, task_id: str) -> Task | None:
        """Return a task for the download of its result, or ``None`` if there is no such task.

        :param task_id: the id in the path of the download.
        """
        return self._tasks.get(task_id)

    def describe(self, task: Task) -> dict[str, Any]:
        """Return the poll body of a task, with freshly signed URLs once it is ready.

        :param task: the task that is polled.
        """
        now = self.clock()
        configured = self.config.url_lifetime
        lifetime = task.model.url_lifetime if configured is None else configured
        if (expired := task.faults.get("expired")) and expired.is_endless:
            lifetime = _EXPIRED

        def sign_url(path: str, content_type: str) -> str:
            signed = self.url_signer.sign(
                path, content_type=content_type, now=now, lifetime=lifetime
            )
            return task.base_url + signed

        return describe_task(task, sign_url=sign_url, now=now)

    def account_of(self, key: str) -> Account:
        """Return the account of a key, after the tasks that have ended are released.

        :param key: an API key; a new one gets a new account.
        """
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = Account(self.config)
        self._release_ended(account)
        return account

    def count_poll(self, task_id: str) -> None:
        """Count a poll, including one for an unknown task.

        :param task_id: the id of the poll.
        """
        self.counts["polls"] += 1
        if task := self._tasks.get(task_id):
            task.polls += 1

    def count_refusal(self, status: int) -> None:
        """Count a submit that made no task.

        :param status: the HTTP status of its answer.
        """
        self.counts["refused"] += 1
        self.refused_by_status[status] += 1

    def timeline(self) -> Timeline:
        """Return the tasks in the order of their submits, and the refused submits by status."""
        return build_timeline(self._tasks.values(), self.refused_by_status, self.clock())

    def stats(self) -> Stats:
        """Return the counts so far."""
        active = self._count_active()
        return Stats(
            submits=self._submits_per_prompt.total(),
            submits_per_prompt=dict(self._submits_per_prompt),
            submits_per_model=dict(self._submits_per_model),
            refused=self.counts["refused"],
            polls=self.counts["polls"],
            downloads=self.counts["downloads"],
            webhooks=self.counts["webhooks"],
            webhooks_failed=self.counts["webhooks_failed"],
            credits_spent=round_credits(self._charged - self._refunded),
            credits_refunded=round_credits(self._refunded),
            active=active,
            max_active=self._max_active,
            key_seen_on_delivery=self.counts["key_seen_on_delivery"],
            license_generations=dict(self.license_generations),
        )

    def _make_task(
        self,
        model: Model,
        parameters: Mapping[str, Any],
        inputs: Inputs,
        picture: Picture,
        charge: Charge,
        *,
        key: str,
        base_url: str,
        faults: Mapping[str, Fault],
    ) -> Task:
        now = self.clock()
        return Task(
            id=str(uuid.uuid4()),
            model=model,
            prompt=parameters.get("prompt") or "",
            picture=self._with_scene(picture, parameters, faults),
            charge=charge,
            base_url=base_url,
            submitted_at=now,
            latency=self._choose_latency(model, faults),
            inputs_at=math.inf if inputs.are_pending else now,
            outcome=outcome_of(faults, inputs.error),
            faults=faults,
            key=key,
            webhook_url=parameters.get("webhook_url"),
            webhook_secret=parameters.get("webhook_secret"),
        )

    def _with_scene(
        self, picture: Picture, parameters: Mapping[str, Any], faults: Mapping[str, Fault]
    ) -> Picture:
        """Return a picture with the scene that a fault asks for, counted by the prompt."""
        if picture.clip is not None:
            return picture
        prompt = parameters.get("prompt") or ""
        fault = self.fault_counter.next_due(faults, SCENES, ("scene", prompt))
        return replace(picture, scene=fault.name) if fault else picture

    def _choose_latency(self, model: Model, faults: Mapping[str, Fault]) -> float:
        slow = faults.get("slow")
        if slow is not None and slow.seconds is not None:
            return slow.seconds
        configured = self.config.latency
        mean = model.typical_seconds if configured is None else configured
        return self._random_source.draw_latency(mean, self.config.latency_spread)

    def _choose_seed(self, parameters: Mapping[str, Any]) -> int:
        seed: int | None = parameters.get("seed")
        if seed is not None:
            return seed
        return self._random_source.generator_for("seed").randrange(2**32)

    def _charge(self, account: Account, cost: float) -> None:
        account.credits = round_credits(account.credits - cost)
        self._charged += cost

    def _release_ended(self, account: Account) -> None:
        self._refunded += account.release_ended(self.clock())

    def _count_active(self) -> int:
        for account in self._accounts.values():
            self._release_ended(account)
        return sum(len(account.active) for account in self._accounts.values())
