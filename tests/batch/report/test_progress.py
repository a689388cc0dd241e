"""What a batch says while it works, and how often."""

from __future__ import annotations

import pytest

from airflow_provider_flux.batch.report.counters import Counters
from airflow_provider_flux.batch.report.progress import Progress, format_duration, format_report


def test_a_line_at_a_human_pace() -> None:
    """Often at first, when one looks; then one a minute, however long it takes."""
    progress = Progress(Counters(10, 24), 0.0)
    said = [second for second in range(3600) if progress.is_due(float(second))]
    assert said[0] == 5
    assert sum(second < 60 for second in said) in range(3, 8)
    gaps = [after - before for before, after in zip(said[-20:], said[-19:], strict=False)]
    assert set(gaps) == {60}


def test_a_report() -> None:
    tally = Counters(1000, 24)
    progress = Progress(tally, 100.0)
    tally.outcomes.update({"landed": 90, "reused": 5, "moderated": 4, "failed": 1})
    tally.charge(360.0, is_reported=False)
    report = progress.report(150.0, active=24)
    assert report == {
        "rows": 1000, "done": 100, "images": 95, "failed": 1, "moderated": 4, "active": 24, "rate": 2.0,
        "seconds_left": 450, "credits": 360.0, "seconds": 50.0,
    }  # fmt: skip
    assert format_report(report, 4000.0) == (
        "100 of 1,000 rows (10.0 %), 95 images, 4 moderated, 1 failed, 24 active, 2 rows/s, about 8 min left, "
        "360 of 4,000 credits"
    )
    assert format_report(report, None).endswith("left, 360 credits")


def test_the_speed_is_that_of_the_last_minute() -> None:
    tally = Counters(10_000, 24)
    progress = Progress(tally, 0.0)
    for second in range(1, 301):
        tally.outcomes["landed"] += 10 if second <= 200 else 2
        rate = progress.report(float(second), active=1)["rate"]
        if 70 <= second <= 200:
            assert rate == pytest.approx(10, rel=0.1)
    assert rate == pytest.approx(2, rel=0.1)


def test_what_earlier_tries_have_done_is_no_speed() -> None:
    tally = Counters(100, 24)
    tally.outcomes["landed"] = 60
    progress = Progress(tally, 0.0)
    report = progress.report(10.0, active=4)
    assert (report["rate"], report["seconds_left"]) == (0, None)
    assert "left" not in format_report(report, None)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4, "4 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (7200, "2.0 h")],
)
def test_a_duration(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
