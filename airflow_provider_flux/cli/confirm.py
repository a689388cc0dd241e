"""Ask the user before a command pays."""

from __future__ import annotations

import sys

from airflow_provider_flux.bfl.errors import FluxBudgetError


def confirm(question: str, *, is_confirmed: bool) -> FluxBudgetError | None:
    """Ask on the terminal whether to pay.

    :param question: what is about to be submitted, and its cost, as a sentence.
    :param is_confirmed: whether ``--yes`` was given.
    :return: ``None`` if the user agrees; the error that ends the command otherwise.
    """
    print(question, file=sys.stderr, flush=True)  # noqa: T201
    if is_confirmed:
        return None
    if not sys.stdin.isatty():
        return FluxBudgetError("Nobody confirmed the cost. Nothing was submitted. Add --yes.")
    print("Submit? [y/N] ", end="", file=sys.stderr, flush=True)  # noqa: T201
    if sys.stdin.readline().strip().lower() in {"y", "yes"}:
        return None
    return FluxBudgetError("You declined. Nothing was submitted.")
