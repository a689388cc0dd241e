"""The options of the webhook receiver in ``[flux]``."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import conf

_DEFAULT_CONN_ID = "flux_default"


def webhook_conn_ids() -> tuple[str, ...]:
    """Return the connections whose webhook secrets the receiver accepts.

    They are in ``[flux] webhook_conn_ids``, comma-separated. Default ``flux_default``.
    """
    text = conf.get("flux", "webhook_conn_ids", fallback=_DEFAULT_CONN_ID) or _DEFAULT_CONN_ID
    return tuple(name for part in text.split(",") if (name := part.strip()))
