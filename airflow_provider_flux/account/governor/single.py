"""The wait of a single task for a slot: while submits are paused, and while batches have them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from airflow_provider_flux.account.governor.member import QuotaMember, Usage
from airflow_provider_flux.account.governor.open_quota import new_member, open_quota
from airflow_provider_flux.account.governor.quota import Quota
from airflow_provider_flux.account.governor.shares import QuotaLimits, Slots
from airflow_provider_flux.account.limit_groups import group_of, limits_by_group
from airflow_provider_flux.account.live_settings import LiveReader, LiveSettings
from airflow_provider_flux.account.shared_state import SharedState
from airflow_provider_flux.bfl.errors import FluxRateLimitedError, FluxSubmitUncertainError
from airflow_provider_flux.bfl.priority import Priority
from airflow_provider_flux.configured_models import known_models, typical_seconds
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.object_store.filesystem import run_sync

#: Seconds between two looks for a slot.
_LOOK_SECONDS = (0.3, 0.6)
#: Seconds that one look or one write may take.
_ATTEMPT_SECONDS = 5.0
#: Bounds of the seconds for which a generation keeps its slot, and how many times as long as usual.
_KEEP_SECONDS = (5.0, 120.0)
_KEEP_FACTOR = 1.5

T = TypeVar("T")


@dataclass
class SlotOfTask:
    """The slot of one task.

    :param state: quota of the account.
    :param member: the entry of the task.
    :param usage: the one slot that it demands.
    """

    state: SharedState[Quota]
    member: QuotaMember
    usage: Usage

    def look(self) -> bool:
        """Look once, and return whether the task may submit."""
        now = time.monotonic()
        if self.member.prepare(_run(self.state.read()), self.usage, now):
            _run(
                self.state.update(
                    lambda quota: self.member.renew(quota, self.usage, time.monotonic())
                )
            )
            self.member.confirm(time.monotonic())
        permit, demand = self.member.permit, self.usage.demand
        return permit.total > 0 and all(permit.of(group) for group in demand.groups)

    def leave(self, active: Slots, seconds: float) -> None:
        """Give the slot back after a time.

        :param active: slots of the generation, if BFL accepted it.
        :param seconds: seconds for which it keeps them.
        """
        _run(self.state.update(lambda quota: self.member.leave(quota, active, seconds)))


@contextmanager
def slot_of_account(
    hook: FluxHook, model: str, priority: Priority, max_wait: float, log: Any
) -> Iterator[None]:
    """Wait for a slot of the account, and use it inside the ``with`` block for one submit.

    Without ``account_path``, or without other clients that share the quota by it, it waits only
    while submits are paused. If the store fails, the task submits without a slot, and BFL decides.

    :param hook: hook of the connection.
    :param model: model of the request.
    :param priority: priority of the submit among the tasks of the account.
    :param max_wait: seconds to wait.
    :param log: logger of the task.
    :raises FluxRateLimitedError: if there is no slot in time. Nothing was submitted.
    :raises FluxConfigurationError: if the settings of the quota are malformed.
    """
    until = time.monotonic() + max_wait
    live = _wait_while_paused(hook, until, log)
    limit = live.limit() if live else hook.settings.max_active
    slot = _enter(hook, model, priority, limit, log)
    if slot is None:
        yield
        return
    active, seconds = Slots(), 1.0
    try:
        _wait_for_slot(slot, priority, until, log)
        try:
            yield
        except FluxSubmitUncertainError:  # BFL may work on it
            active = slot.usage.demand
            raise
        active = slot.usage.demand
    finally:
        usual = _KEEP_FACTOR * typical_seconds(model)
        seconds = min(max(usual, _KEEP_SECONDS[0]), _KEEP_SECONDS[1])
        try:
            slot.leave(active, seconds)
        except Exception as error:
            log.debug("The slot of the account was not given back. %s", error)


def _wait_while_paused(hook: FluxHook, until: float, log: Any) -> LiveSettings | None:
    reader = LiveReader(hook.flux_conn_id)
    live = reader.read_first(time.monotonic())
    if live is None or not live.paused_by:
        return live
    log.warning("Paused by %s: nothing is submitted until it ends", live.paused_by)
    while live.paused_by:
        now = time.monotonic()
        if now >= until:
            raise FluxRateLimitedError(
                f"Submits are paused by {live.paused_by}. Nothing was submitted. End the pause, "
                "and clear the task if its retries are used up."
            )
        time.sleep(min(1.0, until - now))
        live = reader.read(time.monotonic()) or live
    log.info("The pause has ended")
    return live


def _enter(
    hook: FluxHook, model: str, priority: Priority, limit: int, log: Any
) -> SlotOfTask | None:
    """Return the slot of a task that has to share the quota with others."""
    state = open_quota(hook.settings)
    if state is None:
        return None
    try:
        quota = _run(state.read())
    except Exception as error:
        _report(error, log)
        return None
    if not quota.clients:
        return None
    groups = {group: min(slots, limit) for group, slots in limits_by_group({}).items()}
    group = group_of(model, known_models().get(model))
    demand = Slots(total=1, groups={group: 1} if group in groups else {})
    member = new_member(QuotaLimits(limit, groups), priority)
    return SlotOfTask(state, member, Usage(Slots(), demand))


def _wait_for_slot(slot: SlotOfTask, priority: Priority, until: float, log: Any) -> None:
    has_waited = False
    while True:
        try:
            if slot.look():
                return
        except Exception as error:
            _report(error, log)
            return
        if not has_waited:
            log.info("Waiting for a slot of the account (priority %s)", priority)
            has_waited = True
        if time.monotonic() >= until:
            raise FluxRateLimitedError(
                "Other tasks have all slots of the account, and none was free in time. Nothing was "
                "submitted."
            )
        time.sleep(random.uniform(*_LOOK_SECONDS))  # noqa: S311 - spreads tasks


def _report(error: Exception, log: Any) -> None:
    log.warning(
        "The quota in account_path cannot be used now (%s: %s). The task submits without it",
        type(error).__name__,
        error,
    )


def _run(work: Coroutine[Any, Any, T]) -> T:
    async def run_in_time() -> T:
        async with asyncio.timeout(_ATTEMPT_SECONDS):
            return await work

    return run_sync(run_in_time())
