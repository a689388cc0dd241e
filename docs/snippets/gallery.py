"""Images for the gallery, a feed and a contact sheet. docs/gallery.md shows it."""

# [START gallery]
from airflow.sdk import DAG

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator

with DAG("flux_gallery", schedule=None):
    FluxGenerateBatchOperator(
        task_id="packshots",
        requests="s3://my_s3@media/in/products.csv",
        columns={"key": "sku", "prompt": "description"},
        output_path="s3://my_s3@media/packshots/{{ run_id }}/{key}.{ext}",
        renditions={  # stored beside each image; the gallery shows the thumb
            "thumb": {"width": 320, "format": "webp"},
            "square": {"width": 1080, "height": 1080, "fit": "crop"},
        },
        contact_sheet=True,  # one HTML file with all images, for people without a login
    )
# [END gallery]
