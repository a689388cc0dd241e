"""The standard form of Airflow for a review: options, fields and text.

Airflow stores the form once for a task and does not change it, so it says nothing that a later
round would change. The review page shows the current candidates.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Literal
from urllib.parse import quote, urlencode

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.review.answer import (
    APPROVE_ALL,
    ASK_AGAIN,
    COMMENT,
    MAX_COMMENT_CHARACTERS,
    MAX_PROMPT_CHARACTERS,
    PROMPT,
    REJECT,
    ROUND,
    SEED,
)
from airflow_provider_flux.review.candidates import Candidate

#: Answer after the timeout, as an argument of the operator: a kind, or numbers of candidates.
Defaults = Literal["approve", "reject"] | int | Sequence[int] | None

#: Pictures in the text of the form. The review page has all.
_MAX_PICTURES = 12
#: Path below which the API server answers for the plugin.
_PREFIX = "/flux"


def review_path(task: TaskIdentity, part: str = "", **more: Any) -> str:
    """Return the path of the review page of a task instance on the API server.

    :param task: the task instance.
    :param part: path below that of the page.
    :param more: further values of the query.
    """
    names = (("dags", task.dag_id), ("runs", task.run_id), ("tasks", task.task_id))
    path = "".join(f"/{name}/{quote(value or '', safe='')}" for name, value in names)
    index = {"map_index": task.map_index} if task.map_index >= 0 else {}
    query = urlencode({**index, **more})
    return f"{_PREFIX}{path}/review{part}{'?' if query else ''}{query}"


def build_options(most: int, *, multiple: bool, may_ask_again: bool) -> list[str]:
    """Return the options of the form.

    :param most: number of candidates after all rounds.
    :param multiple: whether several candidates may be chosen.
    :param may_ask_again: whether other candidates can be asked for.
    """
    options = [str(number) for number in range(1, most + 1)]
    options += [APPROVE_ALL] if multiple else []
    options += [ASK_AGAIN] if may_ask_again else []
    return [*options, REJECT]


def build_defaults(
    defaults: Defaults, choosable: Collection[int], *, multiple: bool
) -> list[str] | None:
    """Return the options of the form that apply after the timeout.

    :param defaults: argument of the operator.
    :param choosable: numbers of the candidates that can be chosen.
    :param multiple: whether several may be chosen.
    :return: ``None`` for none.
    :raises FluxRequestError: if an option does not exist, or there are too many.
    """
    if defaults is None:
        return None
    if defaults == "reject":
        return [REJECT]
    if not choosable:
        raise FluxRequestError(
            f"defaults={defaults!r} must be reject: an earlier decision removed the files of all "
            "candidates."
        )
    if defaults == "approve":
        return [APPROVE_ALL] if multiple else [str(min(choosable))]
    numbers = [defaults] if isinstance(defaults, int) else list(defaults)
    is_one = multiple or len(numbers) == 1
    if not (numbers and is_one and set(numbers) <= set(choosable)):
        raise FluxRequestError(
            f"defaults={defaults!r} must be approve, reject, or numbers of candidates, "
            f"which are {min(choosable)} to {max(choosable)}."
        )
    return [str(number) for number in numbers]


def build_fields(prompt: str | None, *, may_ask_again: bool) -> dict[str, dict[str, Any]]:
    """Return the fields of the form, as arguments of ``Param`` by name.

    :param prompt: prompt that the field begins with; ``None`` for an empty field.
    :param may_ask_again: whether other candidates can be asked for.
    """
    text = {"type": ["string", "null"]}
    fields: dict[str, dict[str, Any]] = {
        COMMENT: {
            "default": None,
            "title": "Comment or feedback",
            "description": (
                "Kept in the sidecars. If you ask again, it is added to the prompt."
                if may_ask_again
                else "Kept in the sidecars."
            ),
            "maxLength": MAX_COMMENT_CHARACTERS,
            **text,
        }
    }
    if may_ask_again:
        fields[PROMPT] = {
            "default": prompt,
            "title": "Prompt",
            "description": "For other candidates, if you ask again.",
            "maxLength": MAX_PROMPT_CHARACTERS,
            **text,
        }
        fields[SEED] = {
            "default": None,
            "title": "Seed",
            "description": "For other candidates, if you ask again. Empty for random seeds.",
            "type": ["integer", "null"],
            "minimum": 0,
        }
    fields[ROUND] = {
        "default": None,
        "title": "Round",
        "description": "Leave it empty. The review page fills it in.",
        "type": ["integer", "null"],
    }
    return fields


def build_body(task: TaskIdentity, candidates: Sequence[Candidate], base: str, text: str) -> str:
    """Return the text of the form: a link to the review page, and the first candidates.

    :param task: the task instance of the review.
    :param candidates: the candidates.
    :param base: path of the API server, for example ``/airflow``; empty for the root.
    :param text: text of the DAG that stands above, in Markdown; empty for none.
    """
    lines = [text] if text else []
    lines.append(f"[Open the review page]({base}{review_path(task)})")
    for number, candidate in enumerate(candidates[:_MAX_PICTURES], 1):
        picture = f"{base}{review_path(task, f'/candidates/{number}/thumb')}"
        facts = f"{candidate.generation['model']}, seed {candidate.generation['seed']}"
        lines.append(f"**{number}**: {_plain(candidate.key)} ({_plain(facts)})")
        if candidate.generation["image"]:
            lines.append(f"![candidate {number}]({picture})")
    if len(candidates) > _MAX_PICTURES:
        lines.append(f"The review page shows all {len(candidates)} candidates.")
    return "\n\n".join(lines)


def _plain(text: str) -> str:
    """Return a text of a stranger without characters that Markdown reads."""
    return "".join(char if char.isalnum() or char in " -.,:" else "_" for char in text)
