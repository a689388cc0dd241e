"""Questions to a person, on an Airflow that can ask none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_flux.operators.review import FluxReviewOperator
from tests.support.run_operator import new_context


def test_a_review_before_airflow_3_1_fails_and_names_the_version_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "airflow.sdk.execution_time.hitl", None)  # as in Airflow 3.0
    operator = FluxReviewOperator(
        task_id="review", candidates=[], output_path=f"{tmp_path}/{{key}}.{{ext}}"
    )
    with pytest.raises(AirflowFailException, match=r"needs Airflow 3\.1 or newer"):
        operator.execute(new_context())
