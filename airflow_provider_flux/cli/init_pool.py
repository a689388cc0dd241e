"""The command ``init-pool``: create or update the Airflow pool that counts active BFL requests.

A deferred task has left its worker, but BFL still generates its image. So the pool counts deferred
tasks.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

from airflow.models.pool import Pool
from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.utils.cli import suppress_logs_and_warning
from airflow.utils.session import create_session
from sqlalchemy.exc import IntegrityError

from airflow_provider_flux.bfl.errors import FluxConfigurationError
from airflow_provider_flux.bfl.settings import FluxSettings
from airflow_provider_flux.cli.connections import use_database_connections
from airflow_provider_flux.hooks.flux import FluxHook

_DESCRIPTION = "Active generations of the BFL account"
#: Size of the column in Airflow's database.
_MAX_NAME_CHARS = 256
_UNLIMITED = -1


@dataclass(frozen=True)
class PoolChange:
    """A change of a pool.

    :param name: name of the pool.
    :param slots: its slots after the change.
    :param before: its slots before the change, -1 if they were unlimited; ``None`` if the pool did
        not exist.
    :param counted_deferred: whether it counted deferred tasks before the change.
    """

    name: str
    slots: int
    before: int | None
    counted_deferred: bool

    @property
    def is_change(self) -> bool:
        """Whether the settings differ from those before."""
        return self.before != self.slots or not self.counted_deferred

    @property
    def is_smaller(self) -> bool:
        """Whether the pool has fewer slots than before."""
        return self.before is not None and (self.before == _UNLIMITED or self.before > self.slots)

    def describe(self, *, dry_run: bool = False) -> str:
        """Return the change as a sentence without its period.

        :param dry_run: whether the change was not made.
        """
        slots = f"{self.slots} slot{'s' * (self.slots != 1)}"
        if not self.is_change:
            return f"Pool {self.name} already has these settings, with {slots}"
        subject = f"Pool {self.name} {'would be' if dry_run else 'was'}"
        if self.before is None:
            return f"{subject} created with {slots}"
        if self.before == self.slots:
            return f"{subject} updated to count deferred tasks, with {slots} as before"
        before = "unlimited" if self.before == _UNLIMITED else self.before
        deferred = "" if self.counted_deferred else ", and to count deferred tasks"
        return f"{subject} updated from {before} to {slots}{deferred}"


@suppress_logs_and_warning
def run(args: argparse.Namespace) -> None:
    """Create or update the pool unless it is a dry run, and print the change.

    :param args: the parsed options of the command.
    :raises SystemExit: with a message if an option or the connection is not valid.
    """
    use_database_connections()
    try:
        slots, source = _requested_slots(args)
        change = init_pool(args.pool, slots, dry_run=args.dry_run)
    except (FluxConfigurationError, ValueError) as error:
        raise SystemExit(f"init-pool: {error}") from None
    print(f"{change.describe(dry_run=args.dry_run)} ({source}).")  # noqa: T201
    if change.is_smaller:
        print(  # noqa: T201
            "The pool has fewer slots than before. Running tasks go on. No task starts until "
            f"enough of them end. A task with pool_slots above {slots} never starts.",
            file=sys.stderr,
        )


def _requested_slots(args: argparse.Namespace) -> tuple[int, str]:
    """Return the number of slots and its source, in words."""
    if args.slots is not None:
        return args.slots, "--slots"
    return slots_of_connection(args.flux_conn_id)


def slots_of_connection(flux_conn_id: str) -> tuple[int, str]:
    """Return ``max_active`` of a connection, and its source in words.

    Without a connection ``flux_default`` it is 24, which BFL grants every account.

    :param flux_conn_id: id of the connection.
    :raises FluxConfigurationError: if another connection does not exist, or the connection is not
        valid.
    """
    hook = FluxHook(flux_conn_id)
    try:
        hook.get_connection(flux_conn_id)
    except AirflowNotFoundException:
        if flux_conn_id != hook.default_conn_name:
            raise FluxConfigurationError(
                f"The connection {flux_conn_id!r} does not exist."
            ) from None
        source = f"BFL's usual limit, since the connection {flux_conn_id} does not exist"
        return FluxSettings.max_active, source
    return hook.settings.max_active, f"max_active of the connection {flux_conn_id}"


def init_pool(name: str, slots: int, *, dry_run: bool = False) -> PoolChange:
    """Create a pool that counts deferred tasks, or update an existing one.

    The other settings of an existing pool, for example its description, stay as they are.

    :param name: name of the pool, 1 to 256 characters.
    :param slots: number of slots, 1 or more.
    :param dry_run: whether to change nothing.
    :raises ValueError: if the name or the number of slots is not valid.
    """
    if slots < 1:
        raise ValueError(f"{slots} slots: a pool needs 1 or more, or none of its tasks ever starts")
    if not 1 <= len(name) <= _MAX_NAME_CHARS:
        raise ValueError(
            f"the name of a pool has 1 to {_MAX_NAME_CHARS} characters, but this one has "
            f"{len(name)}"
        )
    try:
        return _init_pool(name, slots, dry_run)
    except IntegrityError:  # Another machine has created the pool at the same moment.
        return _init_pool(name, slots, dry_run)


def _init_pool(name: str, slots: int, dry_run: bool) -> PoolChange:
    with create_session() as session:
        pool = Pool.get_pool(name, session=session)
        if pool is None:
            if not dry_run:
                Pool.create_or_update_pool(
                    name, slots, _DESCRIPTION, include_deferred=True, session=session
                )
            return PoolChange(name, slots, None, True)
        change = PoolChange(name, slots, pool.slots, pool.include_deferred)
        if not dry_run:
            # create_or_update_pool would remove the description and the team of the pool.
            pool.slots, pool.include_deferred = slots, True
        return change
