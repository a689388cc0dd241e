"""The quota of the account for one batch: its shared object, and limits that may change."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from airflow_provider_flux.account.governor.keeper import QuotaKeeper
from airflow_provider_flux.account.governor.open_quota import new_keeper, open_quota
from airflow_provider_flux.account.governor.quota import Quota
from airflow_provider_flux.account.governor.shares import QuotaLimits
from airflow_provider_flux.account.limit_groups import limits_by_group
from airflow_provider_flux.account.live_settings import LiveReader, LiveSettings
from airflow_provider_flux.account.shared_state import SharedState
from airflow_provider_flux.batch.execution.engine import Engine
from airflow_provider_flux.batch.execution.quota_share import QuotaChange
from airflow_provider_flux.batch.schedule.concurrency import ConcurrencyLimiter
from airflow_provider_flux.batch.settings import BatchSettings
from airflow_provider_flux.hooks.flux import FluxHook


class LiveQuota:
    """Limits of a running batch, as the connection and the Variable have them now.

    A task reads both through its supervisor, so this is used on the main thread.

    :param engine: the engine that works on the batch.
    :param reader: reader of the limits.
    :param max_active: ``max_active`` of the operator; ``None`` if it has none.
    """

    def __init__(self, engine: Engine, reader: LiveReader, max_active: int | None) -> None:
        self._engine = engine
        self._reader = reader
        self._max_active = max_active
        self._last: QuotaChange | None = None

    def update(self, now: float) -> None:
        """Look at the limits if a look is due, and pass changes on.

        :param now: time of the monotonic clock.
        """
        self.apply(self._reader.read(now))

    def apply(self, live: LiveSettings | None) -> None:
        """Pass limits on if they have changed.

        :param live: the limits; ``None`` if they are not known.
        """
        if live is None:
            return
        change = QuotaChange(live.limit(self._max_active), live.limit(), live.paused_by)
        if change != self._last:
            self._last = change
            self._engine.change_quota(change)


@dataclass(frozen=True)
class AccountQuota:
    """The quota of the account, as a batch found it before its first submit.

    :param shared: quota object of the account; ``None`` without ``account_path``.
    :param live: reader of the limits that may change.
    :param first_limits: the limits as they were at first; ``None`` if they could not be read.
    :param max_active: generations that the account may have active, by its connection.
    :param settings: settings of the batch.
    """

    shared: SharedState[Quota] | None
    live: LiveReader
    first_limits: LiveSettings | None
    max_active: int
    settings: BatchSettings

    def new_limiter(self, max_active: int) -> ConcurrencyLimiter:
        """Return what decides how many generations of the batch may be active.

        :param max_active: generations that the batch may have active.
        """
        return ConcurrencyLimiter(max_active, self._groups())

    def new_keeper(self) -> QuotaKeeper | None:
        """Return the keeper of the batch's entry; ``None`` without ``account_path``."""
        limits = QuotaLimits(self.max_active, self._groups())
        return new_keeper(self.shared, limits, self.settings.priority)

    def follow(self, engine: Engine) -> LiveQuota:
        """Apply the first limits to an engine, and return what passes later changes on.

        :param engine: the engine that works on the batch.
        """
        quota = LiveQuota(engine, self.live, self.settings.max_active)
        quota.apply(self.first_limits)
        return quota

    def _groups(self) -> Mapping[str, int]:
        return limits_by_group(self.settings.model_limits)


def open_account_quota(hook: FluxHook, settings: BatchSettings) -> AccountQuota:
    """Read the limits, and open the quota object of the account.

    :param hook: hook of the connection.
    :param settings: settings of the batch.
    :raises FluxConfigurationError: if a limit is malformed, or the store of ``account_path`` cannot
        compare and swap.
    """
    live = LiveReader(hook.flux_conn_id, settings.live_interval)
    first_limits = live.read_first(time.monotonic())
    shared = open_quota(hook.settings)
    return AccountQuota(shared, live, first_limits, hook.settings.max_active, settings)
