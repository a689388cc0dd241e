"""Checks of Airflow: versions, database, pool and triggerer."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version

from airflow.providers.common.compat.sdk import AirflowException, conf

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.cli.doctor.check import Finding
from airflow_provider_flux.hooks.flux import FluxHook

_DISTRIBUTION = "airflow-provider-flux"
_LOWER_BOUND = re.compile(r"([\w.-]+)[^;]*?>=\s*([\d.]+)[^;]*$")


def check_versions() -> Finding:
    """Check that the installed packages are as new as the provider requires."""
    shown = {"Python": platform.python_version()}
    too_old = []
    for name in ("apache-airflow", _DISTRIBUTION, "apache-airflow-providers-common-compat"):
        shown[name] = version(name)
    for requirement in requires(_DISTRIBUTION) or []:
        match = _LOWER_BOUND.fullmatch(requirement)
        if match is None:
            continue  # of an extra, or without a lower bound
        name, bound = match.groups()
        try:
            installed = version(name)
        except PackageNotFoundError:
            installed = "0"
        if _numbers(installed) < _numbers(bound):
            too_old.append(f"{name} {installed} (needed: {bound})")
    detail = ", ".join(f"{name} {number}" for name, number in shown.items())
    if too_old:
        return Finding("failed", f"Too old: {', '.join(too_old)}", "Upgrade these packages.")
    return Finding("ok", detail)


def check_database() -> Finding:
    """Check that this machine reaches Airflow's metadata database, and that it is migrated."""
    from airflow.models.pool import Pool

    try:
        Pool.get_pools()
    except Exception as error:
        return Finding(
            "failed",
            f"Airflow's database cannot be read ({type(error).__name__}).",
            "Run `airflow db check` and `airflow db migrate`. Commands need [database] "
            "sql_alchemy_conn; workers do not.",
        )
    return Finding("ok", "Airflow's database answers.")


def check_pool(name: str, flux_conn_id: str) -> Finding:
    """Check that the pool counts deferred tasks, and has no more slots than the account.

    :param name: name of the pool.
    :param flux_conn_id: id of the connection, whose ``max_active`` counts.
    """
    from airflow.models.pool import Pool

    pool = Pool.get_pool(name)
    if pool is None:
        return Finding(
            "warning",
            f"There is no pool {name}, so nothing keeps tasks below the limit of the account.",
            f"Run: airflow flux init-pool --pool {name}",
        )
    try:
        limit = FluxHook(flux_conn_id).settings.max_active
    except (FluxError, AirflowException):
        limit = FluxSettings.max_active
    problems = []
    if not pool.include_deferred:
        problems.append("does not count deferred tasks")
    if not 0 < pool.slots <= limit:
        problems.append(f"has {pool.slots} slots, but the account allows {limit} generations")
    if problems:
        return Finding(
            "warning",
            f"The pool {name} {' and '.join(problems)}.",
            f"Run: airflow flux init-pool --pool {name}",
        )
    return Finding("ok", f"The pool {name} has {pool.slots} slots and counts deferred tasks.")


def check_triggerer() -> Finding:
    """Check that a triggerer has sent a heartbeat lately: deferred tasks need one."""
    from airflow.jobs.job import most_recent_job

    job = most_recent_job("TriggererJob")
    is_alive = job is not None and job.is_alive()
    if job is not None and is_alive:
        return Finding("ok", f"A triggerer runs on {job.hostname}.")
    detail = (
        "No triggerer has ever run."
        if job is None
        else f"The last heartbeat of a triggerer is of {job.latest_heartbeat}."
    )
    remedy = "Start one with `airflow triggerer`, or set deferrable=False in each task."
    if conf.getboolean("operators", "default_deferrable", fallback=False):
        return Finding("failed", f"{detail} Tasks defer by default.", remedy)
    return Finding("warning", f"{detail} Tasks with deferrable=True wait for one.", remedy)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])
