"""A catalogue: it generates an image for each product without one, and stores the URIs in a table.

A second run pays for new products only, because it skips products that have an image.
"""

from __future__ import annotations

# [START flux_product_catalog]
import csv
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import DAG, task

from airflow_provider_flux.operators.generate import FluxGenerateOperator

OUTPUT = "{{ var.value.get('flux_output', 'file:///tmp/flux') }}"
DATABASE = "{{ var.value.get('flux_catalog_db', '/tmp/flux/catalog.db') }}"
PRODUCTS = Path(__file__).with_name("products.csv")


@task
def extract(database: str) -> list[dict[str, Any]]:
    """Create the table from the CSV, if necessary, and return the products without an image."""
    Path(database).parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(database)) as db, db:
        db.execute(
            "CREATE TABLE IF NOT EXISTS products (sku TEXT PRIMARY KEY, name TEXT, material TEXT)"
        )
        db.execute(
            "CREATE TABLE IF NOT EXISTS images "
            "(sku TEXT PRIMARY KEY, uri TEXT, seed INTEGER, credits REAL)"
        )
        with PRODUCTS.open(newline="") as file:
            db.executemany(
                "INSERT OR IGNORE INTO products VALUES (:sku, :name, :material)",
                list(csv.DictReader(file)),
            )
        db.row_factory = sqlite3.Row
        rows = db.execute(
            "SELECT * FROM products WHERE sku NOT IN (SELECT sku FROM images) ORDER BY sku"
        )
        return [dict(row) for row in rows]


@task
def to_request(product: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of one generation."""
    return {
        "prompt": f"Studio photo of a {product['name']} made of {product['material']}, on white",
        "seed": 1,
    }


@task
def load(database: str, products: list[dict[str, Any]], generations: list[dict[str, Any]]) -> int:
    """Store the URI, the seed and the cost of each image."""
    rows = [
        (product["sku"], generation["image"]["uri"], generation["seed"], generation["cost"])
        for product, generation in zip(products, generations, strict=True)
    ]
    with closing(sqlite3.connect(database)) as db, db:
        db.executemany("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?)", rows)
    return len(rows)


with DAG(
    "flux_product_catalog",
    schedule="@daily",
    start_date=pendulum.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,  # two runs at once would both pay for the same new product
):
    products = extract(DATABASE)
    images = FluxGenerateOperator.partial(
        task_id="generate",
        width=512,
        height=512,
        output_path=f"{OUTPUT}/catalog/{{request_id}}.{{ext}}",
        deferrable=True,
        retries=2,
        retry_delay=timedelta(seconds=30),  # the default of 5 minutes is half the life of a link
        max_active_tis_per_dagrun=24,
    ).expand_kwargs(to_request.expand(product=products))
    load(DATABASE, products, images.output)
# [END flux_product_catalog]
