"""Videos from a video: continued, enlarged, edited.

docs/how-to/video.md shows it, and the tests run it.
"""

# [START video_from_video]
from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator

CLIP = "s3://my_s3@media/in/clip.mp4"

with DAG("flux_video_from_video", schedule=None):
    FluxGenerateOperator(
        task_id="go_on",
        model="flux-3-video",
        prompt="The camera turns to the window, and it starts to snow outside",
        parameters={"mode": "v2v", "start_video": CLIP, "duration": 5},
        output_path="s3://my_s3@media/out/flux_video_from_video/longer-{request_id}.{ext}",
        deferrable=True,
    )
    FluxGenerateOperator(
        task_id="upscale",
        model="flux-tools/video-upscale-v1",
        parameters={"input_video": CLIP, "upscale_factor": 2, "creativity": 0},
        output_path="s3://my_s3@media/out/flux_video_from_video/large-{request_id}.{ext}",
        deferrable=True,
    )
    FluxGenerateOperator(
        task_id="edit",
        model="flux-tools/video-edit-v1",
        prompt="Make the walls dark green",
        parameters={"video": CLIP},
        output_path="s3://my_s3@media/out/flux_video_from_video/edited-{request_id}.{ext}",
        deferrable=True,
    )
# [END video_from_video]
