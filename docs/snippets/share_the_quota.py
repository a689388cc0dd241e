"""Keep mapped images and videos under the limit of the account.

docs/how-to/share-the-quota.md shows it, and the tests run it.
"""

# [START share_the_quota]
from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

PROMPTS = [
    f"A {colour} door, studio photo" for colour in ("red", "blue", "green", "white", "black")
]

with DAG("flux_share_the_quota", schedule=None):
    FluxGenerateOperator.partial(
        task_id="images",
        pool="flux",
        output_path="s3://my_s3@media/out/flux_share_the_quota/{{ run_id }}/{index:03d}.{ext}",
        deferrable=True,
    ).expand(prompt=PROMPTS)
    FluxGenerateOperator.partial(
        task_id="teasers",
        model="flux-3-video",
        parameters={"mode": "t2v", "duration": 5, "draft": True},
        pool="flux_videos",
        output_path="s3://my_s3@media/out/flux_share_the_quota/{{ run_id }}/{index:03d}.{ext}",
        deferrable=True,
    ).expand(prompt=PROMPTS[:2])
# [END share_the_quota]
