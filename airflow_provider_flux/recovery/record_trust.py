"""Decide how far a record that was found in a bucket may say where its image lands, and by what.

Whoever may write to the bucket may have written the record. So the folder of the images and the
connection to BFL come from the place of the record, from Airflow's database or from the command
line. A record in Airflow's database is trusted as the tasks are, which wrote it.
"""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.hooks.flux import FluxHook
from airflow_provider_flux.landing.below_root import LandingGuard, describe_uri
from airflow_provider_flux.landing.output_path import check_output_path, fixed_folder
from airflow_provider_flux.landing.plan import LandingPlan
from airflow_provider_flux.landing.target import LandingOptions, Target
from airflow_provider_flux.ledger.ledger_folder import LEDGER_FOLDER
from airflow_provider_flux.ledger.record import Record
from airflow_provider_flux.recovery import metadata_db
from airflow_provider_flux.recovery.find import FoundRecord

#: Options by which a stored image becomes readable for others.
_ACCESS_OPTIONS = frozenset({"ACL"})


@dataclass(frozen=True)
class Landing:
    """The landing of the image of a record.

    :param plan: where and how it lands. It replaces no object.
    :param flux_conn_id: id of the connection to BFL.
    :param guard: limits of its name; ``None`` if the record or its path is trusted.
    :param is_conn_id_of_record: whether the record names the same connection. By another one, BFL
        may answer that it does not know the request.
    """

    plan: LandingPlan
    flux_conn_id: str
    guard: LandingGuard | None
    is_conn_id_of_record: bool


def plan_landing(found: FoundRecord, output_path: str | None, flux_conn_id: str | None) -> Landing:
    """Return how to land the image of a record.

    :param found: the record.
    :param output_path: where to land instead of the ``output_path`` of the record.
    :param flux_conn_id: id of the connection to BFL; ``None`` for that of the task.
    :raises FluxRequestError: if the path of the record is no valid ``output_path``.
    :raises FluxStorageError: if it is not known where the image may land, if the path of the record
        leaves that folder, or if it is a folder of another machine.
    """
    record = found.record
    facts = metadata_db.find_task_facts(record.owner, found.uri) if found.uri else None
    conn_id = _choose_connection(found, flux_conn_id, facts)
    plan, guard = record.landing_plan, None
    if output_path:
        plan = _at_output_path(plan or _new_plan(record), output_path)
    elif plan is None:
        raise FluxStorageError("Its task has no output_path. Set --output-path.")
    elif found.uri:
        guard = LandingGuard(_root_of(found.uri, facts))
        guard.check_path(plan.target.path)
    else:
        check_output_path(plan.target.path)
    if not output_path and not plan.target.is_on_this_host():
        raise FluxStorageError(
            f"Its output_path is a folder of the machine {plan.target.host}. Recover it there, or "
            "set --output-path."
        )
    if found.uri:
        plan = _without_access_options(plan)
    plan.target.options.check_store_options(plan.target.path)
    return Landing(plan.with_if_exists("error"), conn_id, guard, conn_id == record.flux_conn_id)


def _choose_connection(
    found: FoundRecord, flux_conn_id: str | None, facts: metadata_db.TaskFacts | None
) -> str:
    """Return the id of the connection, which a file in a bucket must not choose.

    :raises FluxStorageError: if the file names another one than the default, and nobody else does.
    """
    recorded = found.record.flux_conn_id
    if flux_conn_id:
        return flux_conn_id
    if found.uri is None:
        return recorded
    if facts:
        return facts.flux_conn_id
    if recorded != FluxHook.default_conn_name:
        raise FluxStorageError(
            f"The record names the connection {describe_uri(recorded)}, which only Airflow's "
            "database or --flux-conn-id may choose. If it is right, set --flux-conn-id."
        )
    return recorded


def _root_of(uri: str, facts: metadata_db.TaskFacts | None) -> str:
    """Return the folder below which the image of a record may land.

    A ledger beside its images is in ``_flux/ledger/`` of their folder. For another ``ledger_path``
    the database names the folder of the images.

    :raises FluxStorageError: if it is not known.
    """
    folder, ledger, _ = uri.rpartition(f"/{LEDGER_FOLDER}")
    if ledger:
        return f"{folder}/"
    if facts and facts.output_path and (root := fixed_folder(facts.output_path)):
        return root
    raise FluxStorageError(
        "The record is in a ledger_path, and Airflow's database does not show the output_path of "
        "its task any more. A record alone may not choose where to land. Set --output-path."
    )


def _at_output_path(plan: LandingPlan, output_path: str) -> LandingPlan:
    """Return the plan for another path, with the options of the store that fit there."""
    path = check_output_path(output_path)
    target, options = plan.target, {}
    if target.path.partition("://")[0] == path.partition("://")[0]:
        options = target.options.store_options
    landing_options = target.options.model_copy(update={"store_options": options})
    return plan.with_target(path=path, root="", options=landing_options)


def _new_plan(record: Record) -> LandingPlan:
    """Return a plan for a task without ``output_path``."""
    map_index = record.owner.map_index
    key = record.owner.task_id if map_index < 0 else str(map_index)
    target = Target(path="", key=key or "0", index=max(map_index, 0), options=LandingOptions())
    return LandingPlan(target=target, task=record.owner)


def _without_access_options(plan: LandingPlan) -> LandingPlan:
    options = plan.target.options
    private = {
        name: value for name, value in options.store_options.items() if name not in _ACCESS_OPTIONS
    }
    return plan.with_target(options=options.model_copy(update={"store_options": private}))
