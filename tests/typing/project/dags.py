"""DAGs of a user: every operator, decorator, hook and trigger, as a type checker sees them.

A line that ends in ``type: ignore`` is a mistake that the type checker has to find.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, AssetAlias, ObjectStoragePath, task

from airflow_provider_flux.decorators import flux_batch_task, flux_task
from airflow_provider_flux.generation import (
    CostSource,
    Generation,
    LandedImage,
    LandedVideo,
    Rendition,
    renditions_of,
)
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.rendition_options import RenditionSpec
from airflow_provider_flux.operators.asset_events import (
    BatchEventExtra,
    ImageEventExtra,
    ImageListEventExtra,
)
from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.generate import FluxGenerateOperator
from airflow_provider_flux.operators.review import FluxReviewOperator
from airflow_provider_flux.policies.retry import FluxRetryPolicy
from airflow_provider_flux.sensors.credits import FluxCreditsSensor
from airflow_provider_flux.transfers.flux_manifest_to_sql import FluxManifestToSqlOperator
from airflow_provider_flux.transfers.flux_to_object_storage import FluxToObjectStorageOperator
from airflow_provider_flux.triggers.claim import FluxClaimTrigger
from airflow_provider_flux.triggers.credits import FluxCreditsTrigger
from airflow_provider_flux.triggers.result import FluxResultTrigger

IMAGES = Asset("images")
SQUARE: RenditionSpec = {"width": 1080, "height": 1080, "fit": "crop"}

with DAG("operators", schedule=None):
    FluxCreditsSensor(task_id="credits", minimum=100, poke_interval=60, deferrable=True)
    hero = FluxGenerateOperator(
        task_id="hero",
        prompt="a fox",
        model="flux-2-pro",
        width="{{ params.width }}",
        parameters={"safety_tolerance": 2},
        output_path=ObjectStoragePath("s3://my_s3@media/hero.jpeg"),
        renditions={"square": SQUARE, "thumb": {"width": "{{ params.width }}", "format": "webp"}},
        timeout=timedelta(minutes=5),
        on_clear="keep",
        outlets=[IMAGES, AssetAlias("single_images")],
        prompt_in_events=True,
        retries=2,
        retry_policy=FluxRetryPolicy(max_delay=timedelta(minutes=1)),
    )
    FluxToObjectStorageOperator(
        task_id="copy", generation=hero.output, output_path="s3://my_s3@media/copy.jpeg"
    )
    batch = FluxGenerateBatchOperator(
        task_id="batch",
        requests=["a fox", {"prompt": "a hare", "key": "hare"}],
        output_path="s3://my_s3@media/{key}.jpeg",
        max_failed="2%",
        partition_by_key=True,
    )
    FluxManifestToSqlOperator(
        task_id="write_back",
        manifest_path=batch.output,
        conn_id="shop",
        table="product_images",
        columns={"sku": "key", "image_url": "uri", "name": "input.name"},
        key_columns=["sku"],
    )
    FluxGenerateBatchOperator(
        task_id="from_table",
        sql="SELECT sku, name, line FROM products",
        sql_conn_id="shop",
        columns={"key": "sku"},
        prompt="Photo of {name}, {style}",
        matrix={"style": ["noir", "pop"]},
        seed="stable",
        keep_columns=["name", "line"],
        output_path="s3://my_s3@media/{line}/{key}.{ext}",
        reuse="always",
        prune="delete",
        max_cost=400,
        on_budget="trim",
        checks=["not_blank", {"text": "name"}],
        max_rerolls=2,
        failed_path="s3://my_s3@media/failed.jsonl",
    )
    FluxReviewOperator(
        task_id="pick",
        candidates=hero.output,
        output_path="s3://my_s3@media/picked.{ext}",
        defaults="reject",
        response_timeout=timedelta(days=1),
        assigned_users=[{"id": "7", "name": "ada"}],
        prompt="a fox",
        max_cost=20,
    )
    FluxGenerateOperator(task_id="wrong", on_clear="reuse")  # type: ignore[arg-type]

with DAG("decorators", schedule=None):

    @flux_task
    def plain() -> str:
        return "a fox"

    @flux_task(model="flux-2-pro", output_path="s3://my_s3@media/x.jpeg", retries=2)
    def request(animal: str, run_id: str = "") -> dict[str, Any]:
        return {"prompt": f"{animal} {run_id}", "width": 512}

    @flux_task(deferrable=True)
    async def asynchronous() -> str:
        return "a fox"

    @flux_batch_task(output_path="s3://my_s3@media/{key}.jpeg", max_cost=100)
    def rows() -> Iterator[dict[str, str]]:
        yield {"key": "fox", "prompt": "a fox"}

    @flux_batch_task(output_path="s3://my_s3@media/{key}.jpeg")
    async def asynchronous_rows() -> AsyncIterator[str]:
        yield "a fox"

    @task
    def animal() -> str:
        return "a fox"

    @task
    def read(generation: Generation) -> int:
        return width_of(generation)

    first = request(animal())
    request.override(task_id="again")("a hare")
    request.partial(run_id="x").expand(animal=["a fox", "a hare"])
    request.expand_kwargs([{"animal": "a fox"}])
    plain() >> asynchronous() >> rows() >> asynchronous_rows()

    @task.flux(output_path="s3://my_s3@media/y.jpeg")
    def attribute() -> str:
        return "a fox"

    @task.flux_batch(output_path="s3://my_s3@media/{key}.jpeg")
    def attribute_rows() -> list[str]:
        return ["a fox"]

    first >> [attribute(), attribute_rows()]

    @flux_task  # type: ignore[arg-type]
    def wrong_result() -> int:
        return 1

    wrong_argument = flux_task(width=[1])  # type: ignore[call-overload]
    no_output_path = flux_batch_task(max_cost=1)  # type: ignore[call-overload]


def width_of(generation: Generation) -> int:
    """Return the width of what a generation has landed."""
    source: CostSource | None = generation["cost_source"]
    media: LandedImage | LandedVideo | None = generation["image"] or generation["video"]
    if media is None:
        raise ValueError(f"{source}: nothing has landed")
    return media["width"]


def thumb_of(generation: Generation) -> str | None:
    """Return the URI of the thumb of an image."""
    thumb: Rendition | None = renditions_of(generation["image"]).get("thumb")
    return thumb["uri"] if thumb else None


def describe(image: ImageEventExtra, images: ImageListEventExtra, batch: BatchEventExtra) -> str:
    """Return a text about the events of assets."""
    seeds = [listed["seed"] for listed in images["images"]]
    return f"{image['uri']} {seeds} {batch['manifest']} {batch['credits']:.1f}"


def submit(hook: FluxHook | None = None) -> str:
    """Submit a request by the hook, and return its id."""
    flux = hook or FluxHook("flux_default")
    request_id: str = flux.submit(flux.build_request("flux-2-pro", {"prompt": "x"})).request_id
    return request_id


def path_of(trigger: FluxResultTrigger | FluxCreditsTrigger | FluxClaimTrigger) -> str:
    """Return the class of a trigger as Airflow stores it."""
    path, _ = trigger.serialize()
    return path
