"""The DAG of docs/how-to/catalogue-from-postgresql.md, which the tests run."""

# [START catalogue_from_postgresql]
from datetime import timedelta

import pendulum
from airflow.sdk import DAG

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.transfers.flux_manifest_to_sql import FluxManifestToSqlOperator

with DAG(
    "flux_catalogue_from_postgresql",
    schedule="@daily",
    start_date=pendulum.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,  # two runs at once would both pay for the same products
):
    images = FluxGenerateBatchOperator(
        task_id="images",
        sql="SELECT sku, name, colour FROM products ORDER BY sku",
        sql_conn_id="my_postgres",
        columns={"key": "sku"},
        prompt="Studio photo on white: {name}, {colour}",
        seed="stable",  # the same product gives the same picture
        output_path="s3://my_s3@media/out/catalogue/{key}.{ext}",
        reuse="always",  # pay for new and changed products only
        max_cost=200,  # credits (1 credit = 0.01 USD) of one night
        on_budget="trim",  # what does not fit waits for the next night
        failed_path="s3://my_s3@media/out/catalogue/failed.csv",
        retries=3,
        retry_delay=timedelta(seconds=30),
    )
    to_table = FluxManifestToSqlOperator(
        task_id="to_table",
        conn_id="my_postgres",
        table="products",
        columns={"sku": "key", "image_uri": "uri", "alt_text": "alt_text"},
        key_columns=["sku"],
        on_missing="skip",  # products come from the shop, not from here
        retries=3,
    )
    images >> to_table
# [END catalogue_from_postgresql]
