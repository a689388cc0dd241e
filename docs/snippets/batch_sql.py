"""A batch whose rows come from a table, and one whose rows a query task returns.

docs/tables.md shows them, and the tests run the first one.
"""

# [START batch_sql]
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator

with DAG("flux_batch_sql", schedule=None, params={"season": "spring"}):
    FluxGenerateBatchOperator(
        task_id="products",
        sql="SELECT sku, description, updated_at FROM products WHERE season = %(season)s",
        sql_conn_id="my_postgres",
        sql_parameters={"season": "{{ params.season }}"},
        columns={"key": "sku", "prompt": "description"},  # the key identifies a row
        output_path="s3://my_s3@media/out/products/{key}.{ext}",
        max_cost=2000,
        retries=3,
        retry_delay=timedelta(seconds=30),
    )
# [END batch_sql]

# [START batch_column_names]
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator

with DAG("flux_batch_column_names", schedule=None):
    few = SQLExecuteQueryOperator(
        task_id="few", conn_id="my_postgres", sql="SELECT sku, description FROM hero_products"
    )
    FluxGenerateBatchOperator(
        task_id="heroes",
        requests=few.output,  # tuples without names, in an XCom: for some hundred rows
        column_names=["key", "prompt"],
        output_path="s3://my_s3@media/out/heroes/{key}.{ext}",
    )
# [END batch_column_names]
