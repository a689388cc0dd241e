"""Progress of a batch: when it is due, and what it reports."""

from __future__ import annotations

import pytest

from airflow_provider_flux.batch.report.counters import Counters
from airflow_provider_flux.batch.report.progress import Progress, format_duration, format_report


def test_progress_is_logged_often_at_first_and_then_once_a_minute() -> None:
    progress = Progress(Counters(10, 24), 0.0)
    due_at = [second for second in range(3600) if progress.is_due(float(second))]
    assert due_at[0] == 5
    assert sum(second < 60 for second in due_at) in range(3, 8)
    gaps = [after - before for before, after in zip(due_at[-20:], due_at[-19:], strict=False)]
    assert set(gaps) == {60}


def test_a_progress_report_has_counts_rate_and_cost() -> None:
    counters = Counters(1000, 24)
    progress = Progress(counters, 100.0)
    counters.outcomes.update({"landed": 90, "reused": 5, "moderated": 4, "failed": 1})
    counters.charge(360.0, is_reported=False)
    report = progress.report(150.0, active=24)
    assert report == {
        "rows": 1000,
        "done": 100,
        "images": 95,
        "failed": 1,
        "moderated": 4,
        "active": 24,
        "rate": 2.0,
        "seconds_left": 450,
        "credits": 360.0,
        "seconds": 50.0,
    }
    assert format_report(report, 4000.0) == (
        "100 of 1,000 rows (10.0 %), 95 images, 4 moderated, 1 failed, 24 active, 2 rows/s, "
        "about 8 min left, 360 of 4,000 credits"
    )
    assert format_report(report, None).endswith("left, 360 credits")


def test_the_rate_is_that_of_the_last_minute() -> None:
    counters = Counters(10_000, 24)
    progress = Progress(counters, 0.0)
    for second in range(1, 301):
        counters.outcomes["landed"] += 10 if second <= 200 else 2
        rate = progress.report(float(second), active=1)["rate"]
        if 70 <= second <= 200:
            assert rate == pytest.approx(10, rel=0.1)
    assert rate == pytest.approx(2, rel=0.1)


def test_rows_of_earlier_tries_do_not_count_for_the_rate() -> None:
    counters = Counters(100, 24)
    counters.outcomes["landed"] = 60
    progress = Progress(counters, 0.0)
    report = progress.report(10.0, active=4)
    assert (report["rate"], report["seconds_left"]) == (0, None)
    assert "left" not in format_report(report, None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4, "4 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (7200, "2.0 h")],
)
def test_a_duration_is_shown_in_seconds_minutes_or_hours(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
