"""The periods of budgets, and the budgets that limit a task at a time. Pure: no clock, no store."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from airflow_provider_flux.bfl.budget_rules import EACH, BudgetRule, Per


@dataclass(frozen=True)
class Spender:
    """The task whose submits a budget counts.

    :param dag_id: its DAG; empty outside of a DAG.
    :param task_id: the task; empty outside of a task.
    :param tags: Airflow tags of its DAG.
    """

    dag_id: str = ""
    task_id: str = ""
    tags: Collection[str] = ()

    @property
    def label(self) -> str:
        """The name of the task in messages and in the shared object, at most 200 characters."""
        return (f"{self.dag_id}.{self.task_id}" if self.dag_id else self.task_id or "-")[:200]


def spender_of(dag_id: str | None, task_id: str | None, context: Any) -> Spender:
    """Return the task whose submits are counted.

    :param dag_id: id of its DAG; ``None`` outside of a DAG.
    :param task_id: id of the task; ``None`` outside of a task.
    :param context: context of the task. The tags are those of its DAG.
    """
    dag = context.get("dag") if hasattr(context, "get") else None
    tags = getattr(dag, "tags", None) or ()
    return Spender(dag_id or "", task_id or "", frozenset(str(tag)[:250] for tag in tags))


@dataclass(frozen=True)
class Cap:
    """One budget in its current period, for one task.

    :param key: name of its counter. It names the period, so that each period has its own.
    :param limit: credits that may be spent in the period.
    :param rule: the budget, in words.
    :param starts: epoch second at which the period began.
    :param ends: epoch second at which the next period begins.
    """

    key: str
    limit: float
    rule: str
    starts: float
    ends: float


def find_caps(rules: Iterable[BudgetRule], spender: Spender, now: float) -> tuple[Cap, ...]:
    """Return the budgets that limit a task, each in its current period.

    :param rules: the budgets of the connection.
    :param spender: the task.
    :param now: epoch seconds, by the clock of the shared store.
    """
    caps: dict[str, Cap] = {}
    for rule in rules:
        start, end = find_period(rule.per, rule.timezone, now)
        for scope in _scopes_of(rule, spender):
            key = f"{rule.per}|{rule.timezone}|{start.date().isoformat()}|{scope}"
            cap = Cap(key, rule.credits, str(rule), start.timestamp(), end.timestamp())
            if key not in caps or cap.limit < caps[key].limit:
                caps[key] = cap
    return tuple(caps.values())


def find_known_caps(
    rules: Iterable[BudgetRule], counters: Iterable[str], now: float
) -> tuple[Cap, ...]:
    """Return all budgets in their current periods, whatever task they limit.

    :param rules: the budgets of the connection.
    :param counters: keys of the known counters: a budget for each DAG or tag has one for each of
        them.
    :param now: epoch seconds.
    """
    scopes = {key.split("|", 3)[3] for key in counters if key.count("|") >= 3}
    found: dict[str, Cap] = {}
    for rule in rules:
        for spender in _spenders_of(rule, sorted(scopes)):
            for cap in find_caps([rule], spender, now):
                if cap.key not in found or cap.limit < found[cap.key].limit:
                    found[cap.key] = cap
    return tuple(found.values())


def _spenders_of(rule: BudgetRule, scopes: Iterable[str]) -> list[Spender]:
    """Return a task for each counter that a budget may have."""
    if rule.dag == EACH:
        return [Spender(scope[4:]) for scope in scopes if scope.startswith("dag=")]
    if rule.tag == EACH:
        return [Spender(tags=(scope[4:],)) for scope in scopes if scope.startswith("tag=")]
    return [Spender(rule.dag or "", tags=(rule.tag,) if rule.tag else ())]


def find_period(per: Per, timezone: str, now: float) -> tuple[datetime, datetime]:
    """Return the begin and the end of the period that holds a time.

    :param per: length of the period.
    :param timezone: time zone in which it begins at midnight.
    :param now: epoch seconds.
    """
    zone = ZoneInfo(timezone)
    day = datetime.fromtimestamp(now, UTC).astimezone(zone).date()
    match per:
        case "day":
            first, after = day, day + timedelta(days=1)
        case "week":
            first = day - timedelta(days=day.weekday())
            after = first + timedelta(days=7)
        case "month":
            first = day.replace(day=1)
            after = (first + timedelta(days=32)).replace(day=1)
    begin, end = (datetime(date.year, date.month, date.day, tzinfo=zone) for date in (first, after))
    return begin, end


def _scopes_of(rule: BudgetRule, spender: Spender) -> list[str]:
    """Return the scopes of a budget that hold a task: none if it does not limit the task."""
    if rule.dag is not None:
        is_held = rule.dag == spender.dag_id or (rule.dag == EACH and bool(spender.dag_id))
        return [f"dag={spender.dag_id}"] if is_held else []
    if rule.tag is not None:
        tags = sorted(spender.tags) if rule.tag == EACH else [rule.tag]
        return [f"tag={tag}" for tag in tags if tag in spender.tags]
    return ["account"]
