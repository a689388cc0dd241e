"""The URL by which the webhook receiver in Airflow's API server finds the task of a request."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow.providers.common.compat.sdk import Asset

from airflow_provider_flux.bfl.errors import FluxRequestError
from airflow_provider_flux.bfl.request import GenerationRequest
from airflow_provider_flux.bfl.webhook import (
    MIN_SECRET_CHARACTERS,
    RECEIVER_PATH,
    append_reference,
    is_receiver,
)
from airflow_provider_flux.links.gallery import has_pages

if TYPE_CHECKING:
    from airflow_provider_flux.hooks.flux import FluxHook

#: XCom key of the asset whose event the receiver emits when the image is ready.
READY_ASSET_XCOM = "flux_ready_asset"


def add_reference(request: GenerationRequest, hook: FluxHook, ti: Any) -> GenerationRequest:
    """Append the reference of a task instance to a webhook URL of the receiver.

    Other webhook URLs are sent as they are.

    :param request: the request.
    :param hook: hook of the connection to BFL.
    :param ti: the running task instance.
    :raises FluxRequestError: if the receiver could not accept the webhook.
    :raises FluxConfigurationError: if the connection is missing or malformed.
    """
    url, own = (request.parameters.get(name) for name in ("webhook_url", "webhook_secret"))
    if not is_receiver(url):
        return request
    if not has_pages():
        raise FluxRequestError(
            f"webhook_url ends with {RECEIVER_PATH}: this is the receiver in Airflow, which needs "
            "Airflow 3.1 or newer. Remove the webhook."
        )
    secret = hook.settings.webhook_secret
    if secret is None or len(secret) < MIN_SECRET_CHARACTERS:
        raise FluxRequestError(
            f"webhook_url ends with {RECEIVER_PATH}: this is the receiver in Airflow, which needs "
            f"a webhook_secret of at least {MIN_SECRET_CHARACTERS} characters in the connection "
            f"{hook.flux_conn_id!r}. Add a random one."
        )
    if own is not None and own != secret:
        raise FluxRequestError(
            f"webhook_secret differs from that of the connection {hook.flux_conn_id!r}, which the "
            f"receiver at {RECEIVER_PATH} checks. Remove the argument."
        )
    task_instance = getattr(ti, "id", None)
    if not isinstance(task_instance, UUID):
        raise FluxRequestError(
            f"webhook_url ends with {RECEIVER_PATH}: this is the receiver in Airflow, which "
            "resumes tasks of DAG runs only. Remove the webhook."
        )
    referenced = append_reference(str(url), task_instance, secret)
    return replace(request, parameters={**request.parameters, "webhook_url": referenced})


def refuse_receiver(url: Any) -> None:
    """Refuse the URL of the receiver for requests of a batch, which waits on its worker.

    :param url: the ``webhook_url`` of the requests; ``None`` for none.
    :raises FluxRequestError: if it is the receiver.
    """
    if is_receiver(url):
        raise FluxRequestError(
            f"webhook_url ends with {RECEIVER_PATH}: this is the receiver in Airflow, which "
            "resumes deferred tasks. A batch polls on its worker. Remove webhook_url from defaults."
        )


def check_ready_asset(asset: Any, *, wait: Any, output_path: Any) -> None:
    """Check the arguments of an operator that only submits.

    :param asset: argument ``ready_asset``.
    :param wait: argument ``wait``.
    :param output_path: argument ``output_path``.
    :raises FluxRequestError: if the arguments contradict each other.
    """
    if not isinstance(wait, bool):
        raise FluxRequestError(f"wait={wait!r} must be True or False.")
    if not wait and output_path is not None:
        raise FluxRequestError(
            "wait=False lands nothing, so output_path has no use. Give it to "
            "FluxToObjectStorageOperator, which lands the image when it is ready."
        )
    if asset is None:
        return
    if not isinstance(asset, Asset):
        raise FluxRequestError(f"ready_asset={asset!r:.80} must be an Asset.")
    if wait:
        raise FluxRequestError(
            "ready_asset needs wait=False. A task that waits emits the events of its outlets."
        )


def push_ready_asset(asset: Asset | None, request: GenerationRequest, ti: Any) -> None:
    """Leave the name of the asset to the receiver, before BFL can call it.

    :param asset: argument ``ready_asset``.
    :param request: the request, before a reference is appended to its webhook URL.
    :param ti: the running task instance.
    :raises FluxRequestError: if no webhook would reach the receiver.
    """
    if asset is None:
        return
    if not is_receiver(request.parameters.get("webhook_url")):
        raise FluxRequestError(
            f"ready_asset needs a webhook_url that ends with {RECEIVER_PATH}: the receiver in "
            "Airflow emits the event."
        )
    ti.xcom_push(key=READY_ASSET_XCOM, value={"name": asset.name, "uri": asset.uri})
