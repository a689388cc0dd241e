"""Encryption and tiers of the stores. docs/object-storage.md shows it, and the tests run it."""

# [START store_options]
from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

with DAG("flux_store_options", schedule=None):
    FluxGenerateOperator(
        task_id="s3",
        prompt="A paper boat on a puddle",
        output_path="s3://my_s3@media/boats/{request_id}.{ext}",
        cache_control="max-age=86400",
        store_options={
            "ServerSideEncryption": "aws:kms",
            "SSEKMSKeyId": "alias/media",
            "StorageClass": "STANDARD_IA",
        },
    )
    FluxGenerateOperator(
        task_id="azure",
        prompt="A paper boat on a puddle",
        output_path="abfs://my_azure_string@media/boats/{request_id}.{ext}",
        store_options={"standard_blob_tier": "Cool", "encryption_scope": "media"},
    )
    FluxGenerateOperator(
        task_id="gcs",
        prompt="A paper boat on a puddle",
        output_path="gs://my_gcs_key@media/boats/{request_id}.{ext}",
        store_options={
            "kms_key_name": "projects/my-project/locations/eu/keyRings/media/cryptoKeys/images",
        },
    )
# [END store_options]
