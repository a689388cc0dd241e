"""Videos from text, from a draft and from an image.

docs/how-to/video.md shows it, and the tests run it.
"""

# [START video]
from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

with DAG("flux_video", schedule=None):
    draft = FluxGenerateOperator(
        task_id="draft",
        model="flux-3-video",
        prompt="A drone flight over a misty forest at sunrise",
        parameters={"mode": "t2v", "duration": 5, "draft": True},
        output_path="s3://my_s3@media/out/flux_video/draft-{request_id}.{ext}",
        deferrable=True,
    )
    enhance = FluxGenerateOperator(
        task_id="enhance",
        model="flux-3-video",
        parameters={
            "mode": "draft_enhance",
            "draft_cache": "{{ ti.xcom_pull(task_ids='draft')['video']['draft_cache'] }}",
        },
        output_path="s3://my_s3@media/out/flux_video/final-{request_id}.{ext}",
        deferrable=True,
    )
    animate = FluxGenerateOperator(
        task_id="animate",
        model="flux-3-video",
        prompt="The camera moves slowly through the room",
        parameters={"mode": "i2v", "keyframes": "s3://my_s3@media/in/room.jpeg", "duration": 5},
        output_path="s3://my_s3@media/out/flux_video/room-{request_id}.{ext}",
        deferrable=True,
    )
    draft >> enhance
# [END video]
