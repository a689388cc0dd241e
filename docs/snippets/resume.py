"""The DAG of docs/start/resume.md, whose first try is killed. The tests run it."""

# [START resume]
import os
import signal
import threading
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider_flux.operators.generate import FluxGenerateOperator


def kill_the_first_try(context: Any) -> None:
    """Kill the process of the task after five seconds, as the loss of its machine would."""
    if context["ti"].try_number == 1:
        threading.Timer(5, os.kill, (os.getpid(), signal.SIGKILL)).start()


with DAG("flux_resume", schedule=None):
    FluxGenerateOperator(
        task_id="hero",
        prompt="A lighthouse on a cliff, editorial photo",
        output_path="file:///tmp/flux/resume/{{ run_id }}/hero.{ext}",
        pre_execute=kill_the_first_try,
        deferrable=False,
        retries=2,
        retry_delay=timedelta(seconds=5),
    )
# [END resume]
