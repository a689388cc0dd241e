"""The report of costs: periods, CSV cells, and the positions of the chart."""

from __future__ import annotations

import csv
import io

import pytest

from airflow_provider_flux.accounting.costs.chart import HEIGHT, MAX_BARS, WIDTH, draw
from airflow_provider_flux.accounting.costs.csv_output import as_csv
from airflow_provider_flux.accounting.costs.period import parse_period
from airflow_provider_flux.accounting.costs.report import CostReport, CostRow, fill_days
from airflow_provider_flux.bfl.errors import FluxRequestError


class TestPeriods:
    def test_neighboring_days_of_a_zone_share_no_moment(self) -> None:
        first = parse_period("2026-10-25", "2026-10-26", "Europe/Berlin")
        second = parse_period("2026-10-26", "2026-10-27", "Europe/Berlin")
        assert first.end_seconds == second.start_seconds
        assert first.end_seconds - first.start_seconds == 25 * 3600
        assert str(first) == "from 2026-10-25 until before 2026-10-26 (Europe/Berlin)"

    @pytest.mark.parametrize(
        ("start", "end", "zone", "named"),
        [
            ("2026-11-31", None, "UTC", "--from='2026-11-31'"),
            (None, "soon", "UTC", "--to='soon'"),
            ("0001-01-01", None, "Asia/Tokyo", "--from='0001-01-01'"),
            (None, None, "../etc/passwd", "--timezone='../etc/passwd'"),
            (None, None, "Mars/Base", "--timezone='Mars/Base'"),
            ("2026-11-02", "2026-11-02", "UTC", "--to='2026-11-02'"),
        ],
    )
    def test_an_option_that_is_no_date_or_zone_is_named(
        self, start: str | None, end: str | None, zone: str, named: str
    ) -> None:
        with pytest.raises(FluxRequestError) as caught:
            parse_period(start, end, zone)
        assert caught.value.message.startswith(named)


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "\uff1d1", "\uff0b1", " =1", "\t=1"])
def test_a_spreadsheet_takes_no_name_in_the_csv_for_a_formula(name: str) -> None:
    text = as_csv(["dag", "credits"], [{"dag": name, "credits": -1.5}])
    _, row = csv.reader(io.StringIO(text))
    assert row[0].startswith("'")
    assert row[1] == "-1.5"


def test_a_name_has_no_formula_for_a_spreadsheet_that_separates_by_semicolons() -> None:
    text = as_csv(["dag"], [{"dag": "a; =1+1;\uff1d2;b"}])
    assert text.splitlines()[1] == "a; '=1+1;'\uff1d2;b"


class TestChart:
    def test_all_bars_are_inside_the_drawing_and_as_long_as_their_credits(self) -> None:
        rows = [
            CostRow((f"2026-11-{day:02}",), submits=1, credits=day, estimated=day / 2, possible=day)
            for day in range(1, 31)
        ]
        chart = draw(CostReport("day", rows, CostRow(("all",))))
        assert chart is not None
        parts = [part for bar in chart.bars for part in bar.parts]
        assert len(parts) == 90
        assert all(part.x >= 0 and part.x + part.width <= WIDTH for part in parts)
        assert all(part.y >= 0 and part.y + part.height <= HEIGHT for part in parts)
        heights = [sum(part.height for part in bar.parts) for bar in chart.bars]
        assert heights[29] == pytest.approx(30 * heights[0], rel=0.05)
        assert chart.ticks[-1].credits >= 60

    def test_groups_that_have_no_room_are_summed_up_in_the_last_bar(self) -> None:
        rows = [CostRow((f"dag {n}",), submits=1, credits=100 - n) for n in range(30)]
        chart = draw(CostReport("dag", rows, CostRow(("all",))))
        assert chart is not None
        assert len(chart.bars) == MAX_BARS
        assert chart.bars[-1].name == "19 others"
        assert sum(bar.row.credits for bar in chart.bars) == sum(row.credits for row in rows)

    def test_days_without_a_submit_have_a_place_in_the_chart(self) -> None:
        period = parse_period("2026-11-01", "2026-11-11")
        report = CostReport("day", [CostRow(("2026-11-03",), credits=3)], CostRow(("all",)))
        filled = fill_days(report, period).rows
        assert [row.key[0] for row in filled if row.credits] == ["2026-11-03"]
        assert len(filled) == 10

    def test_a_report_without_costs_has_no_chart(self) -> None:
        assert draw(CostReport("dag", [CostRow(("x",), refused=1)], CostRow(("all",)))) is None
