"""The budgets of an account, as its connection names them. Pure: no clock, no store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from airflow_provider_flux.bfl.errors import FluxConfigurationError
from airflow_provider_flux.bfl.responses import read_amount

Per = Literal["day", "week", "month"]

#: Budgets that one connection may have. Each of them is a counter in one small object.
MAX_BUDGETS = 32
#: ``dag`` or ``tag`` of a budget that each DAG, or each tag, has for itself.
EACH = "*"
_FIELDS = ("credits", "per", "dag", "tag", "timezone")
_MAX_NAME = 250
_EXAMPLE = '[{"credits": 5000, "per": "day"}]'


@dataclass(frozen=True)
class BudgetRule:
    """Credits that may be spent in each period.

    :param credits: credits in each period, 0.01 USD each. 0 forbids every submit.
    :param per: ``day``, ``week`` (from Monday) or ``month`` of the calendar.
    :param dag: id of the DAG that it limits; ``*`` for each DAG by itself; ``None`` for all.
    :param tag: Airflow tag of the DAGs that it limits; ``*`` for each tag by itself; ``None`` for
        all.
    :param timezone: time zone in which periods begin at midnight, by default ``UTC``.
    """

    credits: float
    per: Per
    dag: str | None = None
    tag: str | None = None
    timezone: str = "UTC"

    def __str__(self) -> str:
        """Return the rule in words, for messages."""
        scope = f" of DAG {self.dag!r}" if self.dag else f" of tag {self.tag!r}" if self.tag else ""
        zone = "" if self.timezone == "UTC" else f" ({self.timezone})"
        return f"{self.credits:g} credits per {self.per}{zone}{scope}"


def read_budget_rules(extra: Mapping[str, Any], source: str) -> tuple[BudgetRule, ...]:
    """Check the extra ``budgets`` of a connection.

    :param extra: extras of the connection. ``budgets`` is a list, or its JSON text.
    :param source: origin of the values for the message, for example ``connection 'flux_default'``.
    :raises FluxConfigurationError: if it is malformed, or if ``account_path`` is missing. The
        message names the field, its value, and the remedy.
    """
    value = extra.get("budgets")
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise FluxConfigurationError(
                f"budgets in {source} is not valid JSON. Write a list, for example {_EXAMPLE}."
            ) from None
    if not isinstance(value, (list, tuple)):
        raise FluxConfigurationError(
            f"budgets={value!r:.200} in {source} is not a list. Write it like {_EXAMPLE}."
        )
    if len(value) > MAX_BUDGETS:
        raise FluxConfigurationError(
            f"budgets in {source} has {len(value)} entries, more than {MAX_BUDGETS}. Remove some, "
            f'or give each DAG the same budget with "dag": "{EACH}".'
        )
    if value and not extra.get("account_path"):
        raise FluxConfigurationError(
            f"budgets in {source} need account_path, the folder in which all tasks of the account "
            "share what they spent. Set account_path to a folder of an object store."
        )
    return tuple(
        _read_rule(item, f"budgets[{number}]", source) for number, item in enumerate(value)
    )


def _read_rule(item: Any, name: str, source: str) -> BudgetRule:
    if not isinstance(item, Mapping):
        raise FluxConfigurationError(
            f"{name}={item!r:.200} in {source} is not an object. Write it like {_EXAMPLE[1:-1]}."
        )
    if unknown := sorted(set(map(str, item)) - set(_FIELDS)):
        raise FluxConfigurationError(
            f"{name} in {source} has the unknown field {unknown[0]!r:.100}. Use "
            f"{', '.join(_FIELDS)}."
        )
    credits_ = read_amount(item.get("credits"))
    if credits_ is None:
        raise FluxConfigurationError(
            f"{name}.credits={item.get('credits')!r:.100} in {source} is not a number of 0 or more."
        )
    per = item.get("per")
    if per not in get_args(Per):
        raise FluxConfigurationError(
            f"{name}.per={per!r:.100} in {source} is unknown. Use day, week or month."
        )
    dag, tag = (_read_name(item, field, name, source) for field in ("dag", "tag"))
    if dag and tag:
        raise FluxConfigurationError(
            f"{name} in {source} has both dag and tag. Write two budgets, one for each."
        )
    return BudgetRule(credits_, cast("Per", per), dag, tag, _read_timezone(item, name, source))


def _read_name(item: Mapping[str, Any], field: str, name: str, source: str) -> str | None:
    value = item.get(field)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > _MAX_NAME or not value.isprintable():
        raise FluxConfigurationError(
            f"{name}.{field}={value!r:.100} in {source} is not a text of up to {_MAX_NAME} "
            f"characters. Write the {'id of a DAG' if field == 'dag' else 'tag of DAGs'}, or "
            f'"{EACH}" for each of them.'
        )
    return value


def _read_timezone(item: Mapping[str, Any], name: str, source: str) -> str:
    value = item.get("timezone") or "UTC"
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise FluxConfigurationError(
            f"{name}.timezone={value!r:.100} in {source} is not a time zone. Write it like "
            "'Europe/Berlin'. Default: 'UTC'."
        ) from None
    return str(value)
