"""Metrics of a command: Airflow starts its ``Stats`` in its own processes only."""

from __future__ import annotations

import logging
from inspect import signature
from typing import Any

from airflow.providers.common.compat.sdk import conf

log = logging.getLogger(__name__)


def start_metrics() -> None:
    """Send the metrics of this process where the settings of Airflow say, as a worker does.

    Before Airflow 3.2, ``Stats`` reads the settings by itself.
    """
    try:
        _start()
    except ImportError:
        return
    except Exception as error:  # a command pays and lands without metrics, too
        log.warning("The command sends no metrics (%s).", error)


def _start() -> None:
    from airflow.providers.common.compat.sdk import Stats
    from airflow.sdk.observability.metrics import stats_utils

    stats: Any = Stats
    new_factory: Any = stats_utils.get_stats_factory
    if signature(new_factory).parameters:  # Airflow 3.2
        stats.initialize(factory=new_factory(stats))
    else:
        is_legacy = conf.getboolean("metrics", "legacy_names_on")
        stats.initialize(factory=new_factory(), export_legacy_names=is_legacy)
