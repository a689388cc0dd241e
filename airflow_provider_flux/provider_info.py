"""The metadata that Airflow reads. Every component imports it, so it imports nothing itself."""

from __future__ import annotations

from typing import Any

#: The standard fields of the connection form; the hook gives the same to Airflow before 3.2.
#: Airflow's Test button sends port 0 for a connection without a port, and the API server refuses to
#: test another port than the stored one. So the form shows the port, which may be stored as 0.
CONNECTION_FORM: dict[str, Any] = {
    "hidden_fields": ["schema", "login"],
    "relabeling": {"password": "API key", "host": "Base URL", "port": "Port (0: none)"},
    "placeholders": {"host": "https://api.bfl.ai", "password": "bfl_...", "port": "0"},
}

_CONNECTION_FIELDS: dict[str, Any] = {
    "region": {
        "label": "Region",
        "description": "Region of the API if there is no base URL: global, eu (GDPR) or us.",
        "schema": {"type": ["string", "null"], "enum": ["global", "eu", "us"], "default": "global"},
    },
    "max_active": {
        "label": "Max active generations",
        "description": "Limit of active generations of the account, 24 by default.",
        "schema": {"type": ["integer", "null"], "minimum": 1, "maximum": 10000},
    },
    "pause": {
        "label": "Pause submits",
        "description": (
            "Whether no task submits anything, false by default. Running batches obey in seconds."
        ),
        "schema": {"type": ["boolean", "null"]},
    },
    "connect_timeout": {
        "label": "Connect timeout (s)",
        "description": "Seconds to open a connection, 10 by default.",
        "schema": {"type": ["number", "null"], "minimum": 0.1},
    },
    "read_timeout": {
        "label": "Read timeout (s)",
        "description": "Seconds to wait for the next bytes of an answer, 60 by default.",
        "schema": {"type": ["number", "null"], "minimum": 0.1},
    },
    "proxy": {
        "label": "Proxy",
        "description": "http://host:port. By default HTTPS_PROXY and NO_PROXY of the environment.",
        "schema": {"type": ["string", "null"]},
    },
    "webhook_secret": {
        "label": "Webhook secret",
        "description": (
            "Sent as webhook_secret with each request that has a webhook_url and no secret."
        ),
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "webhook_hosts": {
        "label": "Webhook hosts",
        "description": (
            "Hosts that may get the webhook secret beside those that a DAG file names, "
            "comma-separated."
        ),
        "schema": {"type": ["string", "null"]},
    },
    "trusted_hosts": {
        "label": "Trusted hosts",
        "description": (
            "Hosts beside BFL's that may serve polling and delivery URLs, comma-separated."
        ),
        "schema": {"type": ["string", "null"]},
    },
    "private_input_hosts": {
        "label": "Private input hosts",
        "description": (
            "Hosts with private addresses that may serve input images and videos, comma-separated."
        ),
        "schema": {"type": ["string", "null"]},
    },
    "account_path": {
        "label": "Account path",
        "description": (
            "Folder that all tasks of this account share, for example s3://aws_default@bucket/flux."
        ),
        "schema": {"type": ["string", "null"]},
    },
    "budgets": {
        "label": "Budgets",
        "description": (
            'Credits for each day, week or month, as JSON: [{"credits": 5000, "per": "day"}]. '
            "They need the account path."
        ),
        "schema": {"type": ["string", "array", "null"]},
    },
}


_CONFIG: dict[str, Any] = {
    "flux": {
        "description": "Options of the FLUX provider.",
        "options": {
            "models": {
                "description": (
                    "Models that BFL has opened and this version of the provider does not know, as "
                    "a JSON object: for each name, the known model that it is like, and the "
                    "differences."
                ),
                "version_added": None,
                "type": "string",
                "example": '{"flux-2-next": {"like": "flux-2-pro", "price": 4}}',
                "default": "",
            },
            "max_prune_share": {
                "description": (
                    "Share of the images of a batch, from 0 to 1, that prune='delete' may delete "
                    "in one run, and of the rows of a table that on_gone may change. If more rows "
                    "are gone, none is, because a broken query must not delete a catalogue."
                ),
                "version_added": None,
                "type": "float",
                "example": "1.0",
                "default": "0.5",
            },
            "gallery": {
                "description": (
                    "Show the gallery of landed images in Airflow's UI: tabs on task instance, run "
                    "and DAG, and a page in the menu. Airflow 3.1 and newer can show it. Restart "
                    "the API server after a change."
                ),
                "version_added": None,
                "type": "boolean",
                "example": None,
                "default": "True",
            },
            "cache_folder": {
                "description": (
                    "Local folder for the index of costs, which only the user of the process may "
                    "read: a folder in ~/.cache by default. It can be removed at any time."
                ),
                "version_added": None,
                "type": "string",
                "example": "/var/cache/airflow-flux",
                "default": "",
            },
            "webhooks": {
                "description": (
                    "Receive webhooks of BFL in the API server, at /flux/webhooks. They resume "
                    "deferred tasks at once. Airflow 3.1 and newer can receive them. Restart the "
                    "API server after a change."
                ),
                "version_added": None,
                "type": "boolean",
                "example": None,
                "default": "False",
            },
            "webhook_conn_ids": {
                "description": (
                    "Connections whose webhook_secret the receiver accepts, comma-separated."
                ),
                "version_added": None,
                "type": "string",
                "example": "flux_default,flux_eu",
                "default": "flux_default",
            },
        },
    },
}


def get_provider_info() -> dict[str, Any]:
    """Return the provider metadata, as ``provider_info.schema.json`` of Airflow describes it."""
    integration = "FLUX (Black Forest Labs)"
    return {
        "package-name": "airflow-provider-flux",
        "name": integration,
        "description": "FLUX image generation by `Black Forest Labs (BFL) <https://bfl.ai>`__.",
        "integrations": [
            {
                "integration-name": integration,
                "external-doc-url": "https://docs.bfl.ai",
                "tags": ["service"],
            }
        ],
        "hooks": _modules(integration, "airflow_provider_flux.hooks.flux"),
        "operators": _modules(
            integration,
            "airflow_provider_flux.operators.generate",
            "airflow_provider_flux.operators.batch",
            "airflow_provider_flux.operators.review",
        ),
        "task-decorators": [
            {"name": name, "class-name": f"airflow_provider_flux.decorators.{name}.{name}_task"}
            for name in ("flux", "flux_batch")
        ],
        "sensors": _modules(integration, "airflow_provider_flux.sensors.credits"),
        "triggers": _modules(
            integration,
            "airflow_provider_flux.triggers.claim",
            "airflow_provider_flux.triggers.credits",
            "airflow_provider_flux.triggers.result",
        ),
        "transfers": [
            {
                "source-integration-name": integration,
                "target-integration-name": "Object Storage",
                "python-module": "airflow_provider_flux.transfers.flux_to_object_storage",
            },
            {
                "source-integration-name": integration,
                "target-integration-name": "Common SQL",
                "python-module": "airflow_provider_flux.transfers.flux_manifest_to_sql",
            },
        ],
        "notifications": ["airflow_provider_flux.notifications.flux.FluxNotifier"],
        "extra-links": [
            "airflow_provider_flux.links.gallery.GalleryLink",
            "airflow_provider_flux.links.object_store.LandedImageLink",
            "airflow_provider_flux.links.object_store.ManifestLink",
            "airflow_provider_flux.links.review.ReviewLink",
        ],
        "config": _CONFIG,
        "cli": ["airflow_provider_flux.cli.commands.get_flux_cli_commands"],
        "connection-types": [
            {
                "connection-type": "flux",
                "hook-class-name": "airflow_provider_flux.hooks.flux.FluxHook",
                "hook-name": integration,
                "ui-field-behaviour": {
                    name.replace("_", "-"): value for name, value in CONNECTION_FORM.items()
                },
                "conn-fields": _CONNECTION_FIELDS,
            }
        ],
    }


def _modules(integration: str, *modules: str) -> list[dict[str, Any]]:
    return [{"integration-name": integration, "python-modules": list(modules)}]
