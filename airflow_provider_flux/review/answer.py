"""From what a person answered to a decision. Pure: no I/O, no Airflow."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

#: Options of the form, beside the numbers of the candidates.
REJECT = "Reject"
ASK_AGAIN = "Ask again"
APPROVE_ALL = "Approve all"
#: Fields of the form.
COMMENT = "comment"
PROMPT = "prompt"
SEED = "seed"
ROUND = "round"

MAX_COMMENT_CHARACTERS = 4_000
MAX_PROMPT_CHARACTERS = 32_000
_MAX_SEED = 2**64

DecisionKind = Literal["approve", "reject", "ask_again"]


class Decision(BaseModel):
    """The decision of a person, or the default of a timeout.

    :param kind: ``approve``, ``reject`` or ``ask_again``.
    :param chosen: numbers of the approved candidates, from 1, in ascending order.
    :param comment: what the person wrote. For ``ask_again`` it is the feedback.
    :param prompt: prompt for other candidates; ``None`` to keep the one of the task.
    :param seed: first seed of other candidates; ``None`` for random seeds.
    :param decided_by_id: id of the user; ``None`` for a timeout.
    :param decided_by_name: name of the user; ``None`` for a timeout.
    :param decided_at: time of the answer, ISO 8601.
    :param is_timeout: whether nobody answered in time.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    kind: DecisionKind
    chosen: tuple[int, ...] = ()
    comment: str = ""
    prompt: str | None = None
    seed: int | None = None
    decided_by_id: str | None = None
    decided_by_name: str | None = None
    decided_at: str
    is_timeout: bool = False


class AnswerError(ValueError):
    """An answer that cannot be carried out; the message tells the reviewer why."""


def read_answer(
    event: Mapping[str, Any],
    *,
    choosable: Collection[int],
    multiple: bool,
    may_ask_again: bool,
    current_round: int,
) -> Decision:
    """Return the decision that an answer makes.

    :param event: event of Airflow: ``chosen_options``, ``params_input``, ``responded_at``,
        ``responded_by_user`` and ``timedout``.
    :param choosable: numbers of the candidates that exist.
    :param multiple: whether several may be chosen.
    :param may_ask_again: whether the task can generate other candidates.
    :param current_round: how many times other candidates were asked for.
    :raises AnswerError: if the answer contradicts itself, names a candidate that does not exist, or
        was given to candidates that are no longer the current ones.
    """
    fields = event.get("params_input")
    fields = fields if isinstance(fields, Mapping) else {}
    options = list(dict.fromkeys(map(str, event.get("chosen_options") or ())))
    kind = _kind_of(options)
    if kind != "approve":
        _check_round(fields.get(ROUND), current_round)
    if kind == "ask_again" and not may_ask_again:
        raise AnswerError("No other candidates can be asked for.")
    user = event.get("responded_by_user") or {}
    return Decision(
        kind=kind,
        chosen=_numbers(options, choosable, multiple) if kind == "approve" else (),
        comment=_text(fields.get(COMMENT), MAX_COMMENT_CHARACTERS, "comment"),
        prompt=_prompt(fields.get(PROMPT)) if kind == "ask_again" else None,
        seed=_seed(fields.get(SEED)) if kind == "ask_again" else None,
        decided_by_id=_name(user, "id"),
        decided_by_name=_name(user, "name"),
        decided_at=_time(event.get("responded_at")),
        is_timeout=bool(event.get("timedout")),
    )


def revise_prompt(prompt: str, decision: Decision) -> str:
    """Return the prompt of other candidates.

    :param prompt: prompt of the task.
    :param decision: decision to ask again. Its own prompt replaces that of the task, and its
        feedback follows on a new line.
    """
    return "\n".join(part for part in (decision.prompt or prompt, decision.comment) if part)


def seeds_for(decision: Decision, count: int) -> list[int | None]:
    """Return a seed for each other candidate, because equal requests give equal images.

    :param decision: decision to ask again.
    :param count: number of candidates.
    :return: consecutive seeds from that of the decision; ``None`` each for random seeds.
    """
    if decision.seed is None:
        return [None] * count
    return [(decision.seed + offset) % _MAX_SEED for offset in range(count)]


def _kind_of(options: Sequence[str]) -> DecisionKind:
    if not options:
        raise AnswerError("No option was chosen.")
    if REJECT not in options and ASK_AGAIN not in options:
        return "approve"
    if len(options) > 1:
        raise AnswerError(f"{options[0]!r} and {options[1]!r} contradict each other.")
    return "reject" if options[0] == REJECT else "ask_again"


def _check_round(value: Any, current: int) -> None:
    """Refuse an answer that was given before other candidates were there."""
    if value in (None, "") or value == current:
        return
    raise AnswerError("There are other candidates since. Look at them first.")


def _numbers(options: Sequence[str], choosable: Collection[int], multiple: bool) -> tuple[int, ...]:
    if APPROVE_ALL in options and multiple:
        return tuple(sorted(choosable))
    numbers = sorted(int(option) for option in options if option.isdecimal())
    if len(numbers) != len(options) or not set(numbers) <= set(choosable):
        raise AnswerError(f"There is no candidate {', '.join(options)}.")
    if len(numbers) > 1 and not multiple:
        raise AnswerError("Only one candidate may be chosen.")
    return tuple(numbers)


def _text(value: Any, limit: int, name: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if len(text) > limit:
        raise AnswerError(f"The {name} has {len(text)} characters, more than {limit}.")
    return text


def _prompt(value: Any) -> str | None:
    return _text(value, MAX_PROMPT_CHARACTERS, "prompt") or None


def _seed(value: Any) -> int | None:
    if value in (None, ""):
        return None
    text = str(value).strip()
    if isinstance(value, bool) or not text.isdecimal() or int(text[:30]) >= _MAX_SEED:
        raise AnswerError("The seed must be a whole number from 0.")
    return int(text)


def _name(user: Any, field: str) -> str | None:
    value = user.get(field) if isinstance(user, Mapping) else None
    return None if value is None else str(value)[:200]


def _time(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value or "")
