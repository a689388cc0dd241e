"""The page of costs as HTML: chart, filters and table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from airflow_provider_flux.accounting.costs.chart import draw
from airflow_provider_flux.accounting.costs.period import Period
from airflow_provider_flux.accounting.costs.report import GROUPINGS, KEYS, CostReport, Grouping
from airflow_provider_flux.gallery.pages import Crumb, View, environment
from airflow_provider_flux.links.gallery import GALLERY_PREFIX, costs_path, ui_path

#: Rows of the table. The command prints all.
MAX_ROWS = 500
_LABELS = {
    "reported": "reported by BFL",
    "estimated": "estimated",
    "possible": "possible (uncertain)",
}


@dataclass(frozen=True)
class CostsPage:
    """The choices that the page shows.

    :param by: how the costs are grouped.
    :param start: text of the begin of the period, as the user wrote it.
    :param end: text of its end.
    :param zone: time zone.
    :param dag_id: the only DAG that counts; empty for all.
    :param dag_ids: DAGs with costs that the user may read.
    :param period: the period.
    """

    by: Grouping
    start: str
    end: str
    zone: str
    dag_id: str
    dag_ids: Sequence[str]
    period: Period


def render_costs(
    page: CostsPage, report: CostReport, notices: Sequence[str], *, is_running: bool
) -> str:
    """Return the page.

    :param page: what it shows.
    :param report: the costs.
    :param notices: sentences about costs that are missing.
    :param is_running: whether more is being read, so that the page offers to show it.
    """
    static = ui_path(f"{GALLERY_PREFIX}/static/")
    view = View(
        title="FLUX costs",
        action=costs_path(),
        crumbs=[Crumb("FLUX images", ui_path("/plugin/flux")), Crumb("Costs")],
        css=f"{static}gallery.css",
        js=f"{static}gallery.js",
        notices=notices,
    )
    rows = [row for row in report.rows if row.submits or row.uncertain or row.refused]
    template = environment().get_template("costs.html")
    return str(
        template.render(
            view=view,
            costs_css=f"{static}costs.css",
            page=page,
            report=report,
            chart=draw(report),
            labels=_LABELS,
            groupings=GROUPINGS,
            keys=KEYS[report.by],
            rows=rows[:MAX_ROWS],
            hidden=len(rows) - MAX_ROWS,
            is_running=is_running,
            again_url=_url_of(page),
        )
    )


def _url_of(page: CostsPage) -> str:
    """Return the URL of the page as it is."""
    query = {
        "by": page.by,
        "dag": page.dag_id,
        "from": page.start,
        "to": page.end,
        "timezone": page.zone,
    }
    return f"{costs_path()}?{urlencode(query, errors='replace')}"
