"""The chart of a report as positions in a picture. Pure: the page draws it as SVG.

Each bar has up to three parts, which differ in their fill and not in color alone: credits that BFL
reported, credits that are estimated, and credits that uncertain submits may have cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from airflow_provider_flux.accounting.costs.report import CostReport, CostRow

#: Size of the drawing of bars that stand, in its own units.
WIDTH, HEIGHT = 960.0, 260.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 4.0, 12.0, 28.0
#: A bar is no broader than this, and leaves this share of its slot free.
_MAX_BAR, _GAP = 44.0, 0.22
#: Labels of days below the bars, at most.
_MAX_LABELS = 10
#: Bars that lie, at most. The last one sums up all others.
MAX_BARS = 12
_ROW_HEIGHT, _ROW_BAR = 30.0, 18.0
_NAME_WIDTH, _VALUE_WIDTH = 240.0, 190.0
_MAX_NAME = 32
_TICKS = 4
_PARTS = ("reported", "estimated", "possible")


@dataclass(frozen=True)
class Part:
    """One part of a bar, as a rectangle.

    :param kind: ``reported``, ``estimated`` or ``possible``.
    :param x: its left edge.
    :param y: its upper edge.
    :param width: its width.
    :param height: its height.
    """

    kind: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Bar:
    """One group.

    :param name: its name.
    :param row: its costs.
    :param parts: its rectangles; empty if it costs nothing.
    :param label_x: position of its label.
    :param label_y: position of its label.
    :param value_x: position of its value.
    :param has_label: whether its name is shown.
    """

    name: str
    row: CostRow
    parts: Sequence[Part]
    label_x: float
    label_y: float
    value_x: float = 0.0
    has_label: bool = True


@dataclass(frozen=True)
class Tick:
    """A line of the scale.

    :param credits: the credits that it stands for.
    :param y: its position.
    """

    credits: float
    y: float


@dataclass(frozen=True)
class Chart:
    """The positions of a chart.

    :param width: width of the drawing in its own units.
    :param height: its height.
    :param bars: the groups.
    :param ticks: the scale; empty for bars that lie, which show their values.
    :param left: position at which the bars begin.
    :param kinds: the kinds of parts that there are, for the legend.
    """

    width: float
    height: float
    bars: Sequence[Bar]
    ticks: Sequence[Tick]
    left: float
    kinds: Sequence[str]

    @property
    def is_standing(self) -> bool:
        """Whether the bars stand: one for each day."""
        return bool(self.ticks)


def draw(report: CostReport) -> Chart | None:
    """Return the chart of a report.

    :param report: the report. That of days should have all of them.
    :return: ``None`` if there is nothing to draw.
    """
    if not any(_sum_of(row) > 0 for row in report.rows):
        return None
    return _draw_days(report.rows) if report.by == "day" else _draw_groups(report.rows)


def _draw_days(rows: Sequence[CostRow]) -> Chart:
    top = _round_up(max(map(_sum_of, rows)))
    bottom, height = HEIGHT - _BOTTOM, HEIGHT - _BOTTOM - _TOP
    slot = (WIDTH - _LEFT - _RIGHT) / len(rows)
    width = min(slot * (1 - _GAP), _MAX_BAR)
    each = math.ceil(len(rows) / _MAX_LABELS)
    bars = []
    for number, row in enumerate(rows):
        center = _LEFT + slot * (number + 0.5)
        parts, y = [], bottom
        for kind, amount in zip(_PARTS, _amounts_of(row), strict=True):
            size = height * amount / top
            y -= size
            if amount > 0:
                parts.append(
                    Part(kind, _place(center - width / 2), _place(y), _place(width), _place(size))
                )
        is_named = number % each == 0
        bars.append(Bar(row.key[0], row, parts, _place(center), HEIGHT - 8, has_label=is_named))
    ticks = [
        Tick(top * number / _TICKS, _place(bottom - height * number / _TICKS))
        for number in range(_TICKS + 1)
    ]
    return Chart(WIDTH, HEIGHT, bars, ticks, _LEFT, _kinds_of(bars))


def _draw_groups(rows: Sequence[CostRow]) -> Chart:
    shown = list(rows)
    if len(rows) > MAX_BARS:
        others = CostRow((f"{len(rows) - MAX_BARS + 1} others",))
        for row in rows[MAX_BARS - 1 :]:
            others.add(row)
        shown = [*rows[: MAX_BARS - 1], others]
    longest = max(map(_sum_of, shown))
    room = WIDTH - _NAME_WIDTH - _VALUE_WIDTH
    bars = []
    for number, row in enumerate(shown):
        y = number * _ROW_HEIGHT + (_ROW_HEIGHT - _ROW_BAR) / 2
        parts, x = [], _NAME_WIDTH
        for kind, amount in zip(_PARTS, _amounts_of(row), strict=True):
            size = room * amount / longest
            if amount > 0:
                parts.append(Part(kind, _place(x), _place(y), _place(size), _ROW_BAR))
            x += size
        baseline = _place(y + _ROW_BAR * 0.75)
        bars.append(Bar(_name_of(row), row, parts, _NAME_WIDTH - 10, baseline, _place(x + 8)))
    height = len(shown) * _ROW_HEIGHT
    return Chart(WIDTH, height, bars, (), _NAME_WIDTH, _kinds_of(bars))


def _amounts_of(row: CostRow) -> tuple[float, float, float]:
    return max(row.credits - row.estimated, 0.0), row.estimated, row.possible


def _sum_of(row: CostRow) -> float:
    return row.credits + row.possible


def _kinds_of(bars: Sequence[Bar]) -> list[str]:
    there = {part.kind for bar in bars for part in bar.parts}
    return [kind for kind in _PARTS if kind in there]


def _name_of(row: CostRow) -> str:
    name = " / ".join(row.key) or "unknown"
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}\u2026"


def _round_up(amount: float) -> float:
    """Return the end of a scale: 1, 2, 4 or 8 times a power of ten, at least an amount."""
    power = 10.0 ** math.floor(math.log10(amount))
    return next(step * power for step in (1, 2, 4, 8, 10) if step * power >= amount * 0.999)


def _place(number: float) -> float:
    return round(number, 2)
