"""Four candidates at night, and a person picks one in the morning. It needs Airflow 3.1 or newer.

The review waits without a worker. Whoever answers may approve one candidate, reject all, or ask for
four others within the budget. If nobody answers within two days, the task is skipped.
"""

from __future__ import annotations

# [START flux_review]
from datetime import timedelta

import pendulum
from airflow.sdk import DAG

from airflow_provider_flux.operators.batch import FluxGenerateBatchOperator
from airflow_provider_flux.operators.review import FluxReviewOperator

OUTPUT = "{{ var.value.get('flux_output', 'file:///tmp/flux') }}"
DAY = "{{ dag_run.run_after | ds }}"
PROMPT = "A lighthouse on a cliff, {{ dag_run.run_after.strftime('%B') }} light, photo"

with DAG(
    "flux_review",
    schedule="0 2 * * *",
    start_date=pendulum.datetime(2026, 1, 1),
    catchup=False,
):
    candidates = FluxGenerateBatchOperator(
        task_id="candidates",
        requests=[{"key": f"candidate-{n}", "prompt": PROMPT} for n in range(1, 5)],
        output_path=f"{OUTPUT}/review/{DAY}/{{key}}.{{ext}}",
        max_cost=20,
        retries=2,
        retry_delay=timedelta(seconds=30),
    )
    FluxReviewOperator(
        task_id="pick",
        candidates=candidates.output,
        subject="Pick the hero image of " + DAY,
        output_path=f"{OUTPUT}/review/{DAY}/hero.{{ext}}",
        prompt=PROMPT,  # reviewers may ask for other candidates
        candidates_path=f"{OUTPUT}/review/{DAY}/{{key}}.{{ext}}",
        max_cost=40,
        response_timeout=timedelta(days=2),
        defaults="reject",
        retries=2,
        retry_delay=timedelta(seconds=30),
    )
# [END flux_review]
