"""The review page as HTML. Every text is data of strangers, and is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_flux.bfl.responses import read_number
from airflow_provider_flux.gallery import page_filters
from airflow_provider_flux.gallery.card import clean_integer
from airflow_provider_flux.links.gallery import ui_path
from airflow_provider_flux.plugin.review_records import ReviewState, ShownCandidate, text_of
from airflow_provider_flux.review.answer import APPROVE_ALL, ASK_AGAIN, REJECT
from airflow_provider_flux.review.form import review_path

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER = Path(__file__).parent / "review_page"


def render_review(review: ReviewState, *, api: str, gallery: str, may_answer: bool) -> str:
    """Return the page of a review.

    :param review: the review.
    :param api: path of the form in Airflow's API, which takes the answer.
    :param gallery: path of the gallery of the task.
    :param may_answer: whether Airflow will accept an answer of the user.
    """
    content = review.content
    return str(
        _environment()
        .get_template("review.html")
        .render(
            review=review,
            candidates=[_links_of(review, shown) for shown in review.candidates],
            api=api,
            gallery=gallery,
            state=ui_path(review_path(review.task, "/state")),
            static=ui_path("/flux/review-static"),
            may_answer=may_answer and review.is_waiting,
            is_multiple=content.get("multiple") is True,
            may_ask_again=content.get("may_ask_again") is True,
            round=_integer(content, "round"),
            rounds_left=max(0, _integer(content, "max_rounds") - _integer(content, "round")),
            per_round=_integer(content, "per_round"),
            credits_left=read_number(content.get("credits_left")),
            prompt=text_of(content, "prompt") or "",
            options={"reject": REJECT, "ask_again": ASK_AGAIN, "approve_all": APPROVE_ALL},
        )
    )


def _links_of(review: ReviewState, shown: ShownCandidate) -> dict[str, Any]:
    base = f"/candidates/{shown.number}"
    return {
        "candidate": shown,
        "thumb": ui_path(review_path(review.task, f"{base}/thumb")),
        "full": ui_path(review_path(review.task, f"{base}/full")),
        "request": (
            ui_path(review_path(review.task, f"{base}/request.json")) if shown.sidecar else ""
        ),
    }


def _integer(content: Mapping[str, Any], name: str) -> int:
    return clean_integer(content.get(name)) or 0


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # not at DAG parse time

    return Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=page_filters.show,
        trim_blocks=True,
        lstrip_blocks=True,
    )
