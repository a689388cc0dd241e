"""A nightly catalogue: one batch for all products without an image, and a table with the outcomes.

The table is a sqlite file with 500 made-up products, so that the DAG runs on any Airflow. For your
own database, use its hook in ``prepare``, ``choose`` and ``load`` in place of ``open_table``, for
example ``PostgresHook("my_db").get_conn()``, and its placeholders in place of those of sqlite. Then
no state is left on one machine.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from contextlib import closing
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import AirflowSkipException
from airflow.sdk import DAG, ObjectStoragePath, Param, task

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator

DATABASE = (
    Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "flux_nightly_catalogue.db"
)
OUTPUT = "{{ var.value.get('flux_output', 'file:///tmp/flux') }}/nightly"
ROWS = f"{OUTPUT}/rows/{{{{ run_id }}}}.jsonl"
MANIFEST = f"{OUTPUT}/manifests/{{{{ run_id }}}}.jsonl"

ARTICLES = {
    "desk lamp": ("brass", "steel", "oak", "ceramic"),
    "table lamp": ("brass", "glass", "ceramic", "walnut"),
    "vase": ("glass", "stoneware", "porcelain", "brass"),
    "bowl": ("stoneware", "porcelain", "oak", "glass"),
    "mug": ("stoneware", "porcelain", "enamel", "glass"),
    "teapot": ("stoneware", "porcelain", "enamel", "cast iron"),
    "tray": ("oak", "walnut", "steel", "cork"),
    "stool": ("oak", "walnut", "steel", "rattan"),
    "armchair": ("linen", "leather", "velvet", "rattan"),
    "cushion": ("linen", "velvet", "wool", "cotton"),
    "blanket": ("wool", "cotton", "linen", "cashmere"),
    "rug": ("wool", "cotton", "jute", "sisal"),
    "basket": ("rattan", "jute", "felt", "leather"),
    "weekend bag": ("canvas", "leather", "felt", "wool"),
    "backpack": ("canvas", "leather", "nylon", "cork"),
    "wall clock": ("oak", "steel", "brass", "cork"),
    "picture frame": ("oak", "walnut", "brass", "steel"),
    "candle holder": ("brass", "cast iron", "glass", "stoneware"),
    "plant pot": ("terracotta", "stoneware", "steel", "porcelain"),
    "bookend": ("marble", "cast iron", "oak", "brass"),
    "pen holder": ("leather", "walnut", "steel", "marble"),
    "coat hook": ("brass", "oak", "cast iron", "porcelain"),
    "watering can": ("enamel", "copper", "steel", "brass"),
    "salad server": ("olive wood", "steel", "walnut", "horn"),
    "jewellery box": ("walnut", "leather", "velvet", "marble"),
}
COLOURS = ("natural", "forest green", "terracotta red", "midnight blue", "off-white")


def open_table(database: str) -> closing[sqlite3.Connection]:
    """Open the file. Closing it drops uncommitted changes."""
    db = sqlite3.connect(database)
    db.row_factory = sqlite3.Row
    return closing(db)


@task
def prepare(database: str) -> None:
    """Create the table with its products, if it does not exist."""
    kinds = [
        (article, material) for article, materials in ARTICLES.items() for material in materials
    ]
    names = [
        f"{article} of {material}, {colour}"
        for (article, material), colour in product(kinds, COLOURS)
    ]
    rows = [
        (f"P-{number:04d}", name, f"Studio photo on white: {name}")
        for number, name in enumerate(names, 1)
    ]
    Path(database).parent.mkdir(parents=True, exist_ok=True)
    with open_table(database) as db, db:
        db.execute(
            "CREATE TABLE IF NOT EXISTS products "
            "(sku TEXT PRIMARY KEY, name TEXT NOT NULL, description TEXT NOT NULL, "
            "outcome TEXT, reason TEXT, image TEXT, sha256 TEXT, credits REAL, night TEXT)"
        )
        db.executemany(
            "INSERT OR IGNORE INTO products (sku, name, description) VALUES (?, ?, ?)", rows
        )


@task
def choose(database: str, limit: str, rows: str) -> int:
    """Write the products without an image to a file; skip the run if there are none.

    The task leaves out moderated and invalid products, because the same prompt ends the same way,
    and products whose image is billed and missing. The column ``reason`` explains each. After you
    fix a product, set its ``outcome`` to NULL.
    """
    # A 'submitted' product is billed, and a new run would pay again. The retries of its run
    # landed the images they could. `airflow flux recover` lands the others. Then set outcome to
    # NULL: the next run finds the image by `reuse`.
    with open_table(database) as db:
        products = db.execute(
            "SELECT sku, description FROM products "
            "WHERE outcome IS NULL OR outcome IN ('failed', 'pending') ORDER BY sku LIMIT ?",
            (int(limit),),
        ).fetchall()
    if not products:
        raise AirflowSkipException("All products have their images.")
    file = ObjectStoragePath(rows)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{json.dumps(dict(row))}\n" for row in products))
    return len(products)


@task(trigger_rule="none_skipped", retries=3)
def load(database: str, manifest: str, night: str) -> int:
    """Store the outcome of each product, also if the batch failed."""
    file = ObjectStoragePath(manifest)
    if not file.exists():
        raise AirflowSkipException("The batch has tried nothing.")
    rows = [{**json.loads(line), "night": night} for line in file.read_bytes().splitlines()]
    with open_table(database) as db, db:
        db.executemany(
            "UPDATE products SET outcome = :outcome, reason = :reason, image = :uri, "
            "sha256 = :sha256, credits = CASE WHEN :uri IS NOT NULL THEN :cost END, "
            "night = :night WHERE sku = :key",
            rows,
        )
    return len(rows)


@task
def report(summary: dict[str, Any]) -> None:
    """Log the cost of the run. This task is the last one, so a failed batch fails the run."""
    logging.getLogger("airflow.task").info(
        "%(landed)d of %(rows)d images for %(credits)g credits ($%(usd).2f), "
        "%(moderated)d moderated",
        summary,
    )


# [START flux_nightly_catalogue]
with DAG(
    "flux_nightly_catalogue",
    schedule="@daily",
    start_date=pendulum.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,  # two runs at once would both pay for the same products
    params={
        "database": Param(str(DATABASE), type="string"),
        "products": Param(500, type="integer", minimum=1, description="Most products of one night"),
        "max_cost": Param(
            700,
            type="number",
            minimum=0,
            description="Most credits of one night (1 credit = 0.01 USD)",
        ),
    },
):
    table, night = "{{ params.database }}", "{{ dag_run.run_after | ds }}"
    images = FluxGenerateBatchOperator(
        task_id="generate",
        requests=ROWS,
        columns={"key": "sku", "prompt": "description"},
        model="flux-2-klein-4b",
        defaults={"width": 768, "height": 768, "seed": 7},
        output_path=f"{OUTPUT}/images/{{key}}.{{ext}}",
        manifest_path=MANIFEST,
        reuse="always",  # use images that exist, even if the table lacks them
        max_cost="{{ params.max_cost }}",
        max_moderated="2%",
        on_invalid_row="skip",
        retries=3,
        retry_delay=timedelta(minutes=1),
    )
    chosen = choose(table, "{{ params.products }}", ROWS)
    loaded = load(table, MANIFEST, night)
    prepare(table) >> chosen >> images >> loaded >> report(images.output)  # type: ignore[arg-type]
# [END flux_nightly_catalogue]
