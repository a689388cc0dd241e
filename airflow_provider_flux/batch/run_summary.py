"""The summary of one run: the figures that its task returns."""

from __future__ import annotations

import logging
import time
from typing import Any

from airflow_provider_flux.batch.report.counters import ALL_OUTCOMES, Counters
from airflow_provider_flux.batch.row_reader import RowReader
from airflow_provider_flux.batch.run_survey import BatchSurvey
from airflow_provider_flux.batch.settings import BatchSettings
from airflow_provider_flux.batch.survey import NO_FIGURES

log = logging.getLogger(__name__)


def summarize_run(
    settings: BatchSettings,
    counters: Counters,
    reader: RowReader,
    survey: BatchSurvey,
    *,
    began: float,
    has_error: bool,
) -> dict[str, Any]:
    """Log and return the figures of a run.

    :param settings: settings of the batch.
    :param counters: counts and cost of the batch.
    :param reader: reader of its rows, which have their outcomes.
    :param survey: what was known before the first submit.
    :param began: when the run began, by the monotonic clock.
    :param has_error: whether an error ended it before all rows were tried.
    """
    outcomes = dict.fromkeys(ALL_OUTCOMES, 0) | reader.count_outcomes()
    seconds = time.monotonic() - began
    summary = counters.summarize(outcomes, estimated=survey.expected, seconds=seconds)
    is_trim = settings.on_budget == "trim" and not has_error
    summary["trimmed"] = outcomes["pending"] if is_trim else 0
    summary |= survey.counts.figures() if survey.counts else NO_FIGURES
    summary["manifest"] = settings.manifest
    if settings.failed:
        summary["failed_path"] = settings.failed
    figures = ", ".join(f"{name} {value}" for name, value in summary.items() if value)
    log.info("Summary: %s", figures)
    return summary
