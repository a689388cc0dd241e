"""A product table in a database: every night, new and changed products get an image.

The table is in PostgreSQL, or in any other database with a hook of common.sql. Create the
connection ``flux_products`` and run the DAG: it makes a table with a few products. A DAG with
``schedule=[Asset("flux_products_lamps")]`` runs whenever a lamp has a new image.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from datetime import timedelta
from itertools import product
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import AssetAlias, BaseHook
from airflow.sdk import DAG, Asset, ObjectStoragePath, task

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.transfers.flux_manifest_to_sql import FluxManifestToSqlOperator

CONN_ID = "flux_products"
OUTPUT = "{{ var.value.get('flux_output', 'file:///tmp/flux') }}/products"
LINES = AssetAlias("flux_product_lines")

ARTICLES = {"lamps": ("Desk lamp", "Floor lamp"), "vases": ("Vase", "Bottle vase")}
COLOURS = ("brass", "forest green", "off-white")


@task
def prepare() -> None:
    """Create the table with its products, if it does not exist."""
    products = [
        (line, name, colour)
        for line, names in ARTICLES.items()
        for name, colour in product(names, COLOURS)
    ]
    hook: Any = BaseHook.get_connection(CONN_ID).get_hook()  # type: ignore[no-untyped-call]
    with closing(hook.get_conn()) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "CREATE TABLE IF NOT EXISTS flux_products "
            "(id INTEGER PRIMARY KEY, line VARCHAR(20) NOT NULL, name VARCHAR(80) NOT NULL, "
            "colour VARCHAR(40) NOT NULL, image_uri TEXT, alt_text TEXT, seed BIGINT)"
        )
        mark = hook.placeholder
        cursor.executemany(
            "INSERT INTO flux_products (id, line, name, colour) "  # noqa: S608 - a placeholder
            f"VALUES ({mark}, {mark}, {mark}, {mark}) ON CONFLICT (id) DO NOTHING",
            [(number, *row) for number, row in enumerate(products, 101)],
        )
        connection.commit()


@task(outlets=[LINES])
def announce(summary: dict[str, Any], outlet_events: Any = None) -> dict[str, int]:
    """Emit an event for the asset of each product line that has new images."""
    manifest = ObjectStoragePath(summary["manifest"]).read_bytes()
    rows = [json.loads(line) for line in manifest.splitlines()]
    images = Counter(row["input"]["line"] for row in rows if row["outcome"] == "landed")
    for line, count in images.items():
        extra = {"images": count, "manifest": summary["manifest"]}
        outlet_events[LINES].add(Asset(f"flux_products_{line}"), extra=extra)
    return dict(images)


# [START flux_product_table]
with DAG(
    "flux_product_table",
    schedule="@daily",
    start_date=pendulum.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
):
    images = FluxGenerateBatchOperator(
        task_id="images",
        sql="SELECT id, line, name, colour FROM flux_products ORDER BY id",
        sql_conn_id=CONN_ID,
        columns={"key": "id"},
        prompt="Studio photo on white: {name}, {colour}",
        keep_columns=["line"],
        model="flux-2-klein-4b",
        defaults={"width": 768, "height": 768},
        seed="stable",  # the same product gives the same picture
        output_path=f"{OUTPUT}/{{line}}/{{key}}.{{ext}}",
        reuse="always",  # pay for new and changed products only
        checks=["not_blank"],
        max_rerolls=1,
        max_cost=500,
        on_budget="trim",
        failed_path=f"{OUTPUT}/failed.csv",
        retries=3,
        retry_delay=timedelta(minutes=1),
    )
    to_table = FluxManifestToSqlOperator(
        task_id="to_table",
        conn_id=CONN_ID,
        table="flux_products",
        columns={"id": "key", "image_uri": "uri", "alt_text": "alt_text", "seed": "seed"},
        key_columns=["id"],
        on_missing="skip",  # products come from the shop, not from here
        on_gone="null",
        retries=3,
    )
    prepare() >> images >> to_table >> announce(images.output)  # type: ignore[arg-type]
# [END flux_product_table]
