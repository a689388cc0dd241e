"""The page of costs: what the DAGs that a user may read have paid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.responses import HTMLResponse, Response

from airflow_provider_flux.accounting.costs.index_file import open_index
from airflow_provider_flux.accounting.costs.period import Period, latest_days, parse_period
from airflow_provider_flux.accounting.costs.report import (
    CostReport,
    Grouping,
    Scope,
    dags_in,
    fill_days,
    read_report,
)
from airflow_provider_flux.accounting.costs.sources import describe_problems
from airflow_provider_flux.bfl.errors import FluxConfigurationError, FluxRequestError
from airflow_provider_flux.gallery.page_filters import show_count
from airflow_provider_flux.plugin.access import logged_in_user, may_read_dag, readable_dag_ids
from airflow_provider_flux.plugin.cost_updates import CostUpdates, UpdateState
from airflow_provider_flux.plugin.costs_view import CostsPage, render_costs
from airflow_provider_flux.plugin.workers import in_cost_thread, in_database_thread

router = APIRouter()

#: Days that the page shows if nobody chooses a period.
_DAYS = 30
_NAMES = ("from", "to", "timezone")
#: The refreshes of this process.
_UPDATES = CostUpdates()


@dataclass(frozen=True)
class CostsQuery:
    """The choices of a request for the page.

    :param by: how to group the costs.
    :param start: text of the begin of the period.
    :param end: text of its end.
    :param zone: time zone.
    :param dag_id: the only DAG that counts; empty for all that the user may read.
    """

    by: Grouping
    start: str
    end: str
    zone: str
    dag_id: str

    @property
    def period(self) -> Period:
        """The period.

        :raises FluxRequestError: if a text is no date, or the zone is not known.
        """
        return parse_period(self.start, self.end, self.zone, names=_NAMES)


async def _query_of(
    by: Grouping = "day",
    start: Annotated[str | None, Query(alias="from", max_length=40)] = None,
    end: Annotated[str | None, Query(alias="to", max_length=40)] = None,
    timezone: Annotated[str, Query(max_length=60)] = "UTC",
    dag: Annotated[str, Query(max_length=250)] = "",
) -> CostsQuery:
    first, last = latest_days(_DAYS, datetime.now(UTC).date())
    return CostsQuery(
        by,
        first if start is None else start.strip(),
        last if end is None else end.strip(),
        timezone.strip() or "UTC",
        dag,
    )


@router.get("/costs")
async def costs_page(
    user: Annotated[Any, Depends(logged_in_user)],
    query: Annotated[CostsQuery, Depends(_query_of)],
) -> Response:
    """Show the costs of the DAGs that the user may read.

    :param user: the user.
    :param query: what to show.
    """
    try:
        period = query.period
    except FluxRequestError as error:
        raise HTTPException(400, error.message) from None
    state = await _UPDATES.update()
    try:
        return await _show(user, query, period, state)
    except FluxConfigurationError as error:  # no folder for the index
        raise HTTPException(503, error.message) from None


async def _show(user: Any, query: CostsQuery, period: Period, state: UpdateState) -> Response:
    known = await in_cost_thread(_find_dags) if state.scope else []
    dag_ids = await in_database_thread(_readable_of, user, known)
    chosen = [query.dag_id] if query.dag_id in dag_ids else [] if query.dag_id else dag_ids
    scope = replace(state.scope or Scope(), dag_ids=frozenset(chosen))
    report, problems = await in_cost_thread(_read, scope, query.by, period)
    page = CostsPage(query.by, query.start, query.end, query.zone, query.dag_id, dag_ids, period)
    html = render_costs(page, report, _notices_of(state, problems), is_running=state.is_running)
    return HTMLResponse(html.encode(errors="replace"))


def _find_dags() -> list[str]:
    index = open_index()
    try:
        return dags_in(index.connection)
    finally:
        index.close()


def _readable_of(user: Any, dag_ids: Sequence[str]) -> list[str]:
    readable = readable_dag_ids(user)
    return [dag_id for dag_id in dag_ids if dag_id in readable and may_read_dag(user, dag_id)]


def _read(scope: Scope, by: Grouping, period: Period) -> tuple[CostReport, int]:
    index = open_index()
    try:
        report = read_report(index.connection, scope, by, period)
        problems = describe_problems(index, scope, 0)[0] if scope.dag_ids else 0
    finally:
        index.close()
    return (fill_days(report, period) if by == "day" else report), problems


def _notices_of(state: UpdateState, problems: int) -> list[str]:
    notices = []
    progress = state.progress
    if state.is_running and progress and progress.changed:
        notices.append(
            f"The ledgers are being read: {progress.read:,} of {progress.changed:,} new objects so "
            "far. Until then, costs are missing here."
        )
    elif state.is_running:
        notices.append("The ledgers are being listed. Until then, costs may be missing here.")
    if state.error:
        notices.append(f"The ledgers could not be read: {state.error}")
    if progress and progress.unlisted:
        notices.append(
            f"{show_count(len(progress.unlisted), 'folder')} of ledgers could not be listed. Costs "
            "may be missing or old. The command airflow flux costs names each."
        )
    if problems:
        notices.append(
            f"{show_count(problems, 'object')} of ledgers cannot be read, or stands in a wrong "
            "place, and does not count. The command airflow flux costs names each."
        )
    return notices
