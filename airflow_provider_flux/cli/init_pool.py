"""The Airflow pool that counts what is active at BFL. For a command on a machine that may read Airflow's database.

A deferred task has left its worker while its image is still being generated: so the pool has to count deferred tasks.
"""

from __future__ import annotations

from dataclasses import dataclass

from airflow.models.pool import Pool
from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.utils.session import create_session
from sqlalchemy.exc import IntegrityError

from airflow_provider_flux.bfl.errors import FluxConfigurationError
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.hooks.flux import FluxHook

DESCRIPTION = "Active tasks of the BFL account"
#: What the column of Airflow's database takes.
_LONGEST_NAME = 256


@dataclass(frozen=True)
class PoolChange:
    """What became of a pool, or would become of it.

    :param before: its slots before, -1 if they were unlimited; ``None`` if there was no pool.
    :param counted_deferred: whether it counted deferred tasks before.
    """

    name: str
    slots: int
    before: int | None
    counted_deferred: bool

    @property
    def is_change(self) -> bool:
        """Whether there is anything to do."""
        return self.before != self.slots or not self.counted_deferred

    @property
    def shrinks(self) -> bool:
        """Whether tasks may hold more slots than are left."""
        return self.before is not None and (self.before == -1 or self.before > self.slots)

    def sentence(self, *, dry_run: bool = False) -> str:
        """Say what became of the pool, or would become of it."""
        slots = f"{self.slots} slot{'s' * (self.slots != 1)}"
        if not self.is_change:
            return f"Pool {self.name} is already so, with {slots}"
        begun = f"Pool {self.name} {'would be' if dry_run else 'is'}"
        if self.before is None:
            return f"{begun} created with {slots}"
        if self.before == self.slots:
            return f"{begun} updated to count deferred tasks, with {slots} as before"
        before = "unlimited" if self.before == -1 else self.before
        return f"{begun} updated from {before} to {slots}" + ", and counts deferred tasks" * (
            not self.counted_deferred
        )


def slots_of_connection(flux_conn_id: str) -> tuple[int, str]:
    """Return ``max_active`` of a connection, and in words where it is from.

    ``flux_default`` may be missing: BFL gives an account 24 then.

    :raises FluxConfigurationError: if another connection is missing, or one is malformed.
    """
    hook = FluxHook(flux_conn_id)
    try:
        hook.get_connection(flux_conn_id)
    except AirflowNotFoundException:
        if flux_conn_id != hook.default_conn_name:
            raise FluxConfigurationError(
                f"The connection {flux_conn_id!r} does not exist."
            ) from None
        return (
            FluxSettings.max_active,
            f"BFL's usual limit, as there is no connection {flux_conn_id}",
        )
    return hook.settings.max_active, f"max_active of the connection {flux_conn_id}"


def init_pool(name: str, slots: int, *, dry_run: bool = False) -> PoolChange:
    """Create a pool that counts deferred tasks, or give one that is there so many slots; nothing if it has them.

    Its description, and what else it has, is left as it is.

    :param name: 1 to 256 characters.
    :param slots: 1 or more.
    :param dry_run: change nothing.
    :raises ValueError: if name or slots cannot be.
    """
    if slots < 1:
        raise ValueError(f"{slots} slots: a pool needs 1 or more, or no task of it would ever run")
    if not 1 <= len(name) <= _LONGEST_NAME:
        raise ValueError(
            f"the name of a pool has 1 to {_LONGEST_NAME} characters, and this one {len(name)}"
        )
    try:
        return _init_pool(name, slots, dry_run)
    except IntegrityError:  # two machines that start at once: the other one has just created it
        return _init_pool(name, slots, dry_run)


def _init_pool(name: str, slots: int, dry_run: bool) -> PoolChange:
    with create_session() as session:
        pool = Pool.get_pool(name, session=session)
        if pool is None:
            if not dry_run:
                Pool.create_or_update_pool(
                    name, slots, DESCRIPTION, include_deferred=True, session=session
                )
            return PoolChange(name, slots, None, True)
        change = PoolChange(name, slots, pool.slots, pool.include_deferred)
        if (
            not dry_run
        ):  # not by create_or_update_pool, which would take its description and its team away
            pool.slots, pool.include_deferred = slots, True
        return change
