"""The provenance of an image: the task instance that lands it, and what was requested."""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_flux.bfl.inputs import InlineMedia, MediaFile, map_inputs
from airflow_provider_flux.bfl.redaction import describe_url
from airflow_provider_flux.bfl.request import GenerationRequest

#: Parameters that no summary has: a secret, and a URL that may hold one.
_SECRET_PARAMETERS = frozenset({"webhook_secret", "webhook_url"})
_WEB_SCHEMES = ("http://", "https://")


class TaskIdentity(BaseModel):
    """A task instance of Airflow; all fields are ``None`` outside of a run.

    :param dag_id: the DAG.
    :param run_id: the DAG run.
    :param task_id: the task.
    :param map_index: the map index; -1 for a task that is not mapped.
    :param try_number: the try, from 1.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: int = -1
    try_number: int | None = None


class RequestSummary(BaseModel):
    """The summary of a request, without bytes, secrets and queries of URLs.

    :param model: name of the model.
    :param fingerprint: SHA-256 of model, parameters and inputs.
    :param prompt: the prompt.
    :param prompt_sha256: hash of the prompt, in place of a hidden one.
    :param parameters: all other parameters; inputs by URI and hash.
    """

    model_config = ConfigDict(frozen=True, defer_build=True)

    model: str | None = None
    fingerprint: str | None = None
    prompt: str | None = None
    prompt_sha256: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)


def summarize_request(request: GenerationRequest, *, hide_prompt: bool = False) -> RequestSummary:
    """Return the summary of a request, which holds no bytes, no secret and no query of a URL.

    :param request: the request, with its inputs prepared.
    :param hide_prompt: keep only a hash of the prompt.
    """
    media = set(request.media_fields)
    parameters: dict[str, Any] = {}
    for name, value in request.parameters.items():
        if name not in _SECRET_PARAMETERS and name != "prompt":
            parameters[name] = (
                map_inputs(value, _describe_input) if name in media else _without_queries(value)
            )
    prompt = request.parameters.get("prompt")
    text = prompt if isinstance(prompt, str) else None
    summary = RequestSummary(
        model=request.model,
        fingerprint=request.fingerprint,
        prompt=text,
        parameters=parameters,
    )
    return without_prompt(summary) if hide_prompt else summary


def without_prompt(summary: RequestSummary) -> RequestSummary:
    """Return a summary with a hash in place of the prompt.

    :param summary: what was requested.
    """
    if summary.prompt is None:
        return summary
    digest = hashlib.sha256(summary.prompt.encode(errors="surrogatepass")).hexdigest()
    return summary.model_copy(update={"prompt": None, "prompt_sha256": digest})


def identify_task(ti: Any) -> TaskIdentity:
    """Return the identity of a running task instance.

    :param ti: the task instance in the context.
    """
    map_index = getattr(ti, "map_index", None)
    return TaskIdentity(
        dag_id=getattr(ti, "dag_id", None),
        run_id=getattr(ti, "run_id", None),
        task_id=getattr(ti, "task_id", None),
        map_index=-1 if map_index is None else map_index,
        try_number=getattr(ti, "try_number", None),
    )


def _without_queries(value: Any) -> Any:
    """Return a value without the query of any URL in it, which can hold a signature."""
    if isinstance(value, dict):
        return {name: _without_queries(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_queries(item) for item in value]
    return (
        describe_url(value) if isinstance(value, str) and value.startswith(_WEB_SCHEMES) else value
    )


def _describe_input(value: Any) -> Any:
    if isinstance(value, MediaFile):
        return {
            "uri": value.source,
            "sha256": value.sha256,
            "media_type": value.media_type,
            "bytes": value.size,
        }
    if isinstance(value, InlineMedia):
        return {"uri": "base64"}
    return {"uri": describe_url(value) if str(value).startswith(_WEB_SCHEMES) else str(value)}
