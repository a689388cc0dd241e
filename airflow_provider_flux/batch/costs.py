"""The cost of a submit: by its generation, or by its estimate. Pure: no store, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_flux.bfl.responses import read_amount
from airflow_provider_flux.ledger.journaled_submit import JournaledSubmit

#: Names of the errors after which BFL charges nothing.
NOT_CHARGED = frozenset({"FluxModeratedError", "FluxGenerationError"})


def cost_of(submit: JournaledSubmit) -> float:
    """Return the credits that a submit cost, or may have cost.

    :param submit: one submit of a row. If its answer is not known, its estimated cost counts.
    """
    if submit.phase == "intent":
        return read_amount(submit.facts.estimated_cost) or 0.0
    if submit.generation is None or error_type(submit) in NOT_CHARGED:
        return 0.0
    return credits_of(submit.generation)


def credits_of(generation: Mapping[str, Any]) -> float:
    """Return the credits that an accepted generation costs, 0 if nobody knows.

    :param generation: the generation, from this try or from a journal. A cost that is no finite
        number of 0 or more does not count, and the estimate counts in its place.
    """
    cost = read_amount(generation.get("cost"))
    return (read_amount(generation.get("estimated_cost")) or 0.0) if cost is None else cost


def is_reported(generation: Mapping[str, Any] | None) -> bool:
    """Return whether BFL reported the cost of a generation.

    :param generation: the generation; ``None`` if BFL accepted none.
    """
    if generation is None or generation.get("cost_source") != "reported":
        return False
    return read_amount(generation.get("cost")) is not None


def error_type(submit: JournaledSubmit) -> str | None:
    """Return the name of the error that ended a submit; ``None`` if none did.

    :param submit: one submit of a row.
    """
    return str(submit.error.get("type")) if submit.phase == "failed" and submit.error else None
