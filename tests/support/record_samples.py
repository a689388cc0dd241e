"""Hypothesis strategies for task identities and records of a ledger."""

from __future__ import annotations

from hypothesis import strategies as st

from airflow_provider_flux.generation_input import parse_generation
from airflow_provider_flux.landing.provenance import RequestSummary, TaskIdentity
from airflow_provider_flux.landing.target import Target
from airflow_provider_flux.ledger.record import Phase, Record

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
IDS = st.builds(
    TaskIdentity,
    dag_id=TEXT,
    run_id=TEXT,
    task_id=TEXT,
    map_index=st.integers(-1, 9),
    try_number=st.just(1),
)
PHASES = st.sampled_from(["intent", "submitted", "persisted", "returned", "failed"])
CLEAR_IDS = st.sampled_from(["3/monday", "7/monday", "3/tuesday"])
FINGERPRINTS = st.sampled_from(["a", "b"])


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Return a consistent record of any phase."""
    phase: Phase = draw(PHASES)
    generation = None
    if phase not in {"intent", "failed"}:
        parsed = parse_generation(
            {"request_id": draw(TEXT) or "r", "model": "m", "cost": 4, "cost_source": "estimated"}
        )
        generation = dict(parsed)
    return Record(
        phase=phase,
        owner=draw(IDS),
        clear_id=draw(CLEAR_IDS),
        flux_conn_id=draw(TEXT),
        model=draw(TEXT),
        fingerprint=draw(FINGERPRINTS),
        estimated_cost=draw(st.none() | st.floats(0, 100)),
        generation=generation,
        target=draw(st.none() | st.builds(Target, path=TEXT, root=TEXT)),
        request=draw(st.none() | st.builds(RequestSummary, prompt=TEXT)),
    )
