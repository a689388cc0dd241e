"""The records of a review in Airflow's database: candidates, form, answer and folders."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow.models.hitl import HITLDetail
from airflow.models.renderedtifields import RenderedTaskInstanceFields
from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_provider_flux.bfl.responses import read_number
from airflow_provider_flux.gallery.card import clean_integer
from airflow_provider_flux.landing.below_root import is_below
from airflow_provider_flux.landing.provenance import TaskIdentity
from airflow_provider_flux.plugin.json_column import decode_column
from airflow_provider_flux.review.candidates import MAX_CANDIDATES
from airflow_provider_flux.review.page_state import REVIEW_XCOM

_IDS = ("dag_id", "run_id", "task_id", "map_index")
#: States of a task that waits for a person: since Airflow 3.3, and before.
WAITING_STATES = ("awaiting_input", "deferred")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_TEXT_CHARACTERS = 32_000
#: The candidates must stay in sight below it.
_MAX_NOTE_CHARACTERS = 1000
_INTEGER_FACTS = ("seed", "width", "height", "round")
#: Schemes of the stores that an operator lands in. Others, such as http, are never opened.
_SCHEMES = frozenset({"", "file", "local", "s3", "s3a", "s3n", "gs", "gcs", "abfs", "abfss"})


@dataclass(frozen=True)
class ShownCandidate:
    """A candidate as the page shows it. Its values are data of strangers.

    :param number: its number, from 1.
    :param key: its name for the reviewers.
    :param uri: URI of the image or video.
    :param thumb: URI of its thumbnail; ``None`` if it has none.
    :param sidecar: URI of its sidecar; ``None`` if it has none.
    :param sha256: SHA-256 of the image or video.
    :param bytes: size; ``None`` if it is not known.
    :param is_video: whether it is a video.
    :param is_removed: whether its files were removed.
    :param facts: model, seed, size and cost, as texts.
    """

    number: int
    key: str
    uri: str
    thumb: str | None
    sidecar: str | None
    sha256: str
    bytes: int | None
    is_video: bool
    is_removed: bool
    facts: tuple[str, ...]


@dataclass(frozen=True)
class ReviewState:
    """A review, as the database has it.

    :param task: the task instance.
    :param task_state: its state in Airflow.
    :param subject: headline of the form.
    :param assigned_user_ids: ids of the users who may answer; empty for no such limit.
    :param answer: options of the answer; ``None`` while there is none.
    :param answered_by: name of the user who answered; ``None`` for the default of a timeout.
    :param fields: names of the fields of the form.
    :param candidates: the candidates.
    :param content: the other members of the XCom.
    :param folders: folders below which the candidates are.
    """

    task: TaskIdentity
    task_state: str | None
    subject: str
    assigned_user_ids: frozenset[str]
    answer: tuple[str, ...] | None
    answered_by: str | None
    fields: tuple[str, ...]
    candidates: Sequence[ShownCandidate]
    content: Mapping[str, Any]
    folders: Sequence[str]

    @property
    def is_waiting(self) -> bool:
        """Whether a person may answer now."""
        return self.answer is None and self.task_state in WAITING_STATES

    @property
    def version(self) -> str:
        """Text that changes when the page must change."""
        parts = (self.task_state, self.content.get("round"), self.content.get("phase"))
        return "/".join(map(str, (*parts, self.answer is not None, bool(self.note))))

    @property
    def note(self) -> str | None:
        """The reason why the last answer was not carried out; ``None`` if it was."""
        note = text_of(self.content, "note")
        return None if note is None else note[:_MAX_NOTE_CHARACTERS]

    def find(self, number: int) -> ShownCandidate | None:
        """Return a candidate by its number; ``None`` if there is none, or its files are gone.

        :param number: the number, from 1.
        """
        found = (shown for shown in self.candidates if shown.number == number)
        return next((shown for shown in found if not shown.is_removed), None)

    def has(self, uri: str | None) -> bool:
        """Whether an object is where a task of the DAG may have written it.

        :param uri: URI of the object, from the XCom.
        """
        if uri is None or (uri.partition("://")[0] if "://" in uri else "") not in _SCHEMES:
            return False
        return any(is_below(uri, folder) for folder in self.folders)


def find_review(task: TaskIdentity) -> ReviewState | None:
    """Return the review of a task instance.

    :param task: the task instance.
    :return: ``None`` if the task does not exist, or has asked nobody.
    """
    ids = {name: getattr(task, name) for name in _IDS}
    detail_of_task = (
        select(HITLDetail, TaskInstance.state)
        .join(TaskInstance, HITLDetail.ti_id == TaskInstance.id)
        .where(*(getattr(TaskInstance, name) == value for name, value in ids.items()))
    )
    xcom = select(XComModel.value).filter_by(**ids, key=REVIEW_XCOM)
    rendered = select(RenderedTaskInstanceFields.rendered_fields).filter_by(**ids)
    with create_session() as session:
        found = session.execute(detail_of_task).first()
        content = decode_column(session.scalar(xcom))
        arguments = decode_column(session.scalar(rendered))
        if found is None or not isinstance(content, dict):
            return None
        detail, task_state = found
        user = detail.responded_by
        return ReviewState(
            task=task,
            task_state=task_state,
            subject=str(detail.subject)[:_MAX_TEXT_CHARACTERS],
            assigned_user_ids=frozenset(str(user["id"]) for user in detail.assigned_users),
            answer=tuple(map(str, detail.chosen_options or ())) if detail.responded_at else None,
            answered_by=str(user.get("name")) if isinstance(user, dict) else None,
            fields=tuple(detail.params or ()),
            candidates=_candidates_of(content),
            content=content,
            folders=_folders_of(arguments),
        )


def find_next(task: TaskIdentity) -> TaskIdentity | None:
    """Return another task instance of the run whose review waits for a person.

    :param task: the task instance of this review.
    :return: the first by task and map index; ``None`` if there is none.
    """
    joined = [getattr(XComModel, name) == getattr(TaskInstance, name) for name in _IDS]
    query = (
        select(TaskInstance.task_id, TaskInstance.map_index)
        .join(HITLDetail, HITLDetail.ti_id == TaskInstance.id)
        .where(
            TaskInstance.dag_id == task.dag_id,
            TaskInstance.run_id == task.run_id,
            TaskInstance.state.in_(WAITING_STATES),
            HITLDetail.responded_at.is_(None),
            select(XComModel.key).where(*joined, XComModel.key == REVIEW_XCOM).exists(),
        )
        .order_by(TaskInstance.task_id, TaskInstance.map_index)
        .limit(2)
    )
    with create_session() as session:
        others = [tuple(row) for row in session.execute(query)]
    for task_id, map_index in others:
        if (task_id, map_index) != (task.task_id, task.map_index):
            return TaskIdentity(
                dag_id=task.dag_id, run_id=task.run_id, task_id=task_id, map_index=map_index
            )
    return None


def text_of(content: Mapping[str, Any], name: str) -> str | None:
    """Return a text of an XCom; ``None`` if the member is none.

    :param content: the XCom.
    :param name: name of the member.
    """
    value = content.get(name)
    return value[:_MAX_TEXT_CHARACTERS] if isinstance(value, str) and value else None


def _candidates_of(content: Mapping[str, Any]) -> list[ShownCandidate]:
    listed = content.get("candidates")
    items = listed if isinstance(listed, list) else []
    candidates = (
        _candidate_of(number, item) for number, item in enumerate(items[:MAX_CANDIDATES], 1)
    )
    return [candidate for candidate in candidates if candidate is not None]


def _candidate_of(number: int, item: Any) -> ShownCandidate | None:
    if not isinstance(item, dict) or not isinstance(item.get("uri"), str):
        return None
    sha256, size = item.get("sha256"), item.get("bytes")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        return None
    return ShownCandidate(
        number=number,
        key=(text_of(item, "key") or str(number))[:200],
        uri=item["uri"],
        thumb=text_of(item, "thumb"),
        sidecar=text_of(item, "sidecar"),
        sha256=sha256,
        bytes=size if isinstance(size, int) and size > 0 else None,
        is_video=str(item.get("content_type")).startswith("video/"),
        is_removed=item.get("is_removed") is True,
        facts=_facts_of(item),
    )


def _facts_of(item: Mapping[str, Any]) -> tuple[str, ...]:
    """Return model, seed, size and cost of a candidate as short texts."""
    facts = [text_of(item, "model") or ""]
    numbers = {name: clean_integer(item.get(name)) for name in _INTEGER_FACTS}
    if numbers["seed"] is not None:
        facts.append(f"seed {numbers['seed']}")
    if numbers["width"] and numbers["height"]:
        facts.append(f"{numbers['width']} x {numbers['height']}")
    if (cost := read_number(item.get("cost"))) is not None:
        facts.append(f"{cost:g} credits")
    if numbers["round"]:
        facts.append(f"round {numbers['round']}")
    return tuple(fact[:200] for fact in facts if fact)


def _folders_of(arguments: Any) -> list[str]:
    """Return the folders that the operator rendered. What Airflow masked or cut counts as none."""
    folders = arguments.get("candidate_folders") if isinstance(arguments, dict) else None
    listed = [folders] if isinstance(folders, str) else folders
    return [
        f"{folder.rstrip('/')}/"
        for folder in (listed if isinstance(listed, list) else [])
        if isinstance(folder, str) and folder.strip("/") and "***" not in folder
    ]
