"""The text of a notification: what a task returned, or why it failed. No I/O.

Values of tasks and errors come from strangers. They are texts of one line and limited length here,
and each receiver escapes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_flux.bfl.pricing import describe_credits
from airflow_provider_flux.bfl.redaction import redact_line
from airflow_provider_flux.generation import Rendition, renditions_of

#: Pictures of one notification.
MAX_PICTURES = 4
_MAX_CHARACTERS = 500
#: Counts of a batch beside its images, in the order of the summary.
_PROBLEMS = (
    *("moderated", "rejected", "invalid", "failed"),
    *("submitted", "uncertain", "lost", "pending"),
)


@dataclass(frozen=True)
class Message:
    """A notification.

    :param title: one line: the task and how it ended.
    :param facts: name and value of each further line.
    :param pictures: thumbs of the first images.
    """

    title: str
    facts: tuple[tuple[str, str], ...] = ()
    pictures: tuple[Rendition, ...] = ()


def describe_task(
    *,
    dag_id: str,
    run_id: str,
    task_id: str | None = None,
    map_index: int = -1,
    returned: Any = None,
    error: BaseException | str | None = None,
    state: str | None = None,
    url: str = "",
) -> Message:
    """Return the notification about a task, or about a DAG run.

    :param dag_id: id of the DAG.
    :param run_id: id of the run.
    :param task_id: id of the task; ``None`` for the run.
    :param map_index: map index of the task; -1 if it is not mapped.
    :param returned: what the task returned: a generation, a list of them, or a batch summary.
    :param error: why the task failed; ``None`` if it did not.
    :param state: state of the task or run; ``None`` if it is not known.
    :param url: URL of the page with the images; empty if there is none.
    """
    subject = _name_of(dag_id, task_id, map_index)
    facts: list[tuple[str, str]] = []
    pictures: list[Rendition] = []
    if error is not None:
        title = f"{subject} failed"
        facts.append(("Error", _describe_error(error)))
    elif isinstance(returned, Mapping) and "rows" in returned:
        title, facts = _describe_batch(subject, returned)
    else:
        generations = _generations_of(returned)
        title, facts, pictures = _describe_images(subject, generations, state)
    facts.append(("Run", _line(run_id)))
    if url:
        facts.append(("Images", url))
    return Message(title, tuple(facts), tuple(pictures))


def describe_review(
    *, dag_id: str, run_id: str, task_id: str, map_index: int, candidates: int, url: str
) -> Message:
    """Return the notification that a review waits for a person.

    :param dag_id: id of the DAG.
    :param run_id: id of the run.
    :param task_id: id of the task.
    :param map_index: map index of the task; -1 if it is not mapped.
    :param candidates: number of candidates.
    :param url: URL of the review page; empty if there is none.
    """
    subject = _name_of(dag_id, task_id, map_index)
    facts = [("Run", _line(run_id)), ("Review", url)]
    title = f"{subject}: {candidates} candidates wait for a reviewer"
    return Message(title, tuple(fact for fact in facts if fact[1]))


def _name_of(dag_id: str, task_id: str | None, map_index: int) -> str:
    name = dag_id if task_id is None else f"{dag_id}.{task_id}"
    return _line(f"{name}[{map_index}]" if map_index >= 0 else name)


def _describe_error(error: BaseException | str) -> str:
    text = _line(redact_line(str(error)))  # it may hold a key, or a signed URL
    name = "" if isinstance(error, str) else type(error).__name__
    return f"{name}: {text}" if name and text else text or name


def _describe_batch(subject: str, summary: Mapping[str, Any]) -> tuple[str, list[tuple[str, str]]]:
    counts = {name: _count(summary.get(name)) for name in ("rows", "landed", "reused", *_PROBLEMS)}
    title = f"{subject}: {counts['landed'] + counts['reused']} of {counts['rows']} images"
    facts = [
        (name.capitalize(), str(counts[name]))
        for name in ("landed", "reused", *_PROBLEMS)
        if counts[name]
    ]
    facts.append(("Cost", _describe_credits(summary.get("credits"))))
    if isinstance(summary.get("manifest"), str):
        facts.append(("Manifest", _line(summary["manifest"])))
    return title, facts


def _describe_images(
    subject: str, generations: Sequence[Mapping[str, Any]], state: str | None
) -> tuple[str, list[tuple[str, str]], list[Rendition]]:
    images = [made for made in (_landed(generation) for generation in generations) if made]
    facts: list[tuple[str, str]] = []
    if not generations:
        return f"{subject} {_line(state or 'ended')}", facts, []
    title = f"{subject}: {len(images)} of {len(generations)} images"
    if len(generations) == 1:
        title = f"{subject}: {'the image has landed' if images else 'no image has landed'}"
        facts += _describe_generation(generations[0])
    else:
        costs = [generation.get("cost") for generation in generations]
        facts.append(("Cost", _describe_credits(sum(map(_number, costs)))))
    pictures = [thumb for image in images if (thumb := renditions_of(image).get("thumb"))]
    return title, facts, pictures[:MAX_PICTURES]


def _describe_generation(generation: Mapping[str, Any]) -> list[tuple[str, str]]:
    image = _landed(generation)
    size = f"{image.get('width')} x {image.get('height')}" if image else None
    members = {
        "Model": generation.get("model"),
        "Seed": generation.get("seed"),
        "Size": size,
        "File": image.get("uri") if image else None,
        "Status": None if image else generation.get("status"),
        "Request": generation.get("request_id"),
    }
    facts = [(name, _line(str(value))) for name, value in members.items() if value is not None]
    if generation.get("cost") is not None:
        facts.append(("Cost", _describe_credits(generation["cost"])))
    return facts


def _generations_of(returned: Any) -> list[Mapping[str, Any]]:
    values = returned if isinstance(returned, (list, tuple)) else [returned]
    return [value for value in values if isinstance(value, Mapping) and "request_id" in value]


def _landed(generation: Mapping[str, Any]) -> Mapping[str, Any] | None:
    landed = generation.get("image") or generation.get("video")
    return landed if isinstance(landed, Mapping) else None


def _describe_credits(value: Any) -> str:
    return describe_credits(_number(value))


def _number(value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if is_number else 0.0


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _line(text: str) -> str:
    """Return a text as one line of limited length."""
    return " ".join(text.split())[:_MAX_CHARACTERS]
