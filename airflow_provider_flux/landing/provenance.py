"""What is known of an image before it is there: the run that wants it, and the request."""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_flux.bfl.inputs import InlineMedia, MediaFile, map_inputs
from airflow_provider_flux.bfl.redaction import describe_url
from airflow_provider_flux.bfl.request import GenerationRequest

#: Never kept: a secret, and a URL that may hold one.
_NEVER_KEPT = frozenset({"webhook_secret", "webhook_url"})
_WEB = ("http://", "https://")


class TaskIdentity(BaseModel):
    """The task that made an image."""

    model_config = ConfigDict(frozen=True)

    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: int = -1
    try_number: int | None = None


class RequestSummary(BaseModel):
    """The request an image was made for.

    :param parameters: without the prompt; inputs by URI and sha256.
    :param prompt_sha256: in place of the prompt, where that is not to be kept.
    """

    model_config = ConfigDict(frozen=True)

    model: str | None = None
    fingerprint: str | None = None
    prompt: str | None = None
    prompt_sha256: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)


def summarize_request(request: GenerationRequest, *, hide_prompt: bool = False) -> RequestSummary:
    """Return what is kept of a request: no bytes, no secret, no query of a URL."""
    media = set(request.media_fields)
    kept: dict[str, Any] = {}
    for name, value in request.parameters.items():
        if name not in _NEVER_KEPT and name != "prompt":
            kept[name] = map_inputs(value, _describe) if name in media else _without_queries(value)
    prompt = request.parameters.get("prompt")
    text = prompt if isinstance(prompt, str) else None
    facts = RequestSummary(
        model=request.model,
        fingerprint=request.fingerprint,
        prompt=text,
        parameters=kept,
    )
    return without_prompt(facts) if hide_prompt else facts


def without_prompt(facts: RequestSummary) -> RequestSummary:
    """Return the facts with a hash in place of the prompt."""
    if facts.prompt is None:
        return facts
    digest = hashlib.sha256(facts.prompt.encode(errors="surrogatepass")).hexdigest()
    return facts.model_copy(update={"prompt": None, "prompt_sha256": digest})


def identify_task(ti: Any) -> TaskIdentity:
    """Return what is kept of a running task instance."""
    map_index = getattr(ti, "map_index", None)
    return TaskIdentity(
        dag_id=getattr(ti, "dag_id", None),
        run_id=getattr(ti, "run_id", None),
        task_id=getattr(ti, "task_id", None),
        map_index=-1 if map_index is None else map_index,
        try_number=getattr(ti, "try_number", None),
    )


def _without_queries(value: Any) -> Any:
    """Return a value without the query of any URL in it: what is signed is there."""
    if isinstance(value, dict):
        return {name: _without_queries(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_queries(item) for item in value]
    return describe_url(value) if isinstance(value, str) and value.startswith(_WEB) else value


def _describe(value: Any) -> Any:
    if isinstance(value, MediaFile):
        return {
            "uri": value.source,
            "sha256": value.sha256,
            "media_type": value.media_type,
            "bytes": value.size,
        }
    if isinstance(value, InlineMedia):
        return {"uri": "base64"}
    return {"uri": describe_url(value) if str(value).startswith(_WEB) else str(value)}
