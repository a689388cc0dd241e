"""A batch over a table of products: prompts from columns, a sweep, stable seeds.

docs/tables.md shows it.
"""

# [START sweep]
from airflow.sdk import DAG

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator

with DAG("flux_products", schedule="@daily"):
    FluxGenerateBatchOperator(
        task_id="products",
        requests="s3://my_s3@media/in/products.csv",  # sku, name, colour, category, ...
        columns={"key": "sku"},
        prompt="Photo of {name}, {colour}, {style}",
        matrix={"style": ["on white", "in a garden"]},
        seed="stable",
        keep_columns=["category"],
        output_path="s3://my_s3@media/products/{category}/{key}.{ext}",
        reuse="always",
        max_cost=500,
    )
# [END sweep]
