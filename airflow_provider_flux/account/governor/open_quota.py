"""The quota object of an account, from its connection."""

from __future__ import annotations

import logging
from uuid import uuid4

from airflow_provider_flux.account.folder import account_folder
from airflow_provider_flux.account.governor.keeper import QuotaKeeper
from airflow_provider_flux.account.governor.member import QuotaMember
from airflow_provider_flux.account.governor.quota import MAX_QUOTA_BYTES, Quota
from airflow_provider_flux.account.governor.shares import QuotaLimits
from airflow_provider_flux.account.shared_state import SharedState
from airflow_provider_flux.bfl.errors import FluxStorageError
from airflow_provider_flux.bfl.priority import Priority
from airflow_provider_flux.bfl.settings import FluxSettings

log = logging.getLogger(__name__)

QUOTA_FILE = "quota.json"


def open_quota(settings: FluxSettings) -> SharedState[Quota] | None:
    """Open the quota object of an account. Do not call this on an event loop.

    :param settings: settings of the account.
    :return: ``None`` without ``account_path``, and if its store does not answer: then clients share
        the quota without it.
    :raises FluxConfigurationError: if the store of ``account_path`` cannot compare and swap.
    """
    try:
        folder = account_folder(settings)
    except FluxStorageError as error:
        log.warning("The quota is shared without account_path. %s", error)
        return None
    if folder is None:
        return None
    return SharedState(
        folder.uri(QUOTA_FILE), Quota, Quota, folder.write_options, MAX_QUOTA_BYTES, seconds=5.0
    )


def new_keeper(
    quota: SharedState[Quota] | None, limits: QuotaLimits, priority: Priority
) -> QuotaKeeper | None:
    """Return the keeper of a new client; ``None`` without a quota object.

    :param quota: quota object of the account.
    :param limits: limits of the account.
    :param priority: priority of the submits of the client.
    """
    return None if quota is None else QuotaKeeper(quota, new_member(limits, priority))


def new_member(limits: QuotaLimits, priority: Priority) -> QuotaMember:
    """Return a client that is not in the quota yet.

    :param limits: limits of the account.
    :param priority: priority of its submits.
    """
    return QuotaMember(uuid4().hex, limits, priority)
