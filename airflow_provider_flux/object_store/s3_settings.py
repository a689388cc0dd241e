"""The settings of an S3 client that Airflow's object storage leaves at the defaults of AWS."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_flux.object_store import fsspec_adapter

#: Connections to one S3 store. botocore's default of 10 would slow down 24 active generations.
_MAX_CONNECTIONS = 32
#: Settings of the checksums of botocore. Its default sends a CRC behind the body, in a trailer that
#: many S3 servers refuse, for example Ceph before 18 over HTTPS.
_CHECKSUM_SETTINGS = ("request_checksum_calculation", "response_checksum_validation")
_WHEN_REQUIRED = "when_required"
#: Ends of the host names of AWS itself, in all of its partitions.
_AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws")


def complete_s3_settings(fs: Any, conn_id: str) -> None:
    """Complete the settings of an S3 filesystem. A setting of the user always wins.

    - One connection for each active image.
    - The ``verify`` of the connection, which Airflow's object storage does not pass on.
    - No checksum in a trailer, if the server is not AWS.

    :param fs: an ``S3FileSystem``. Others are left as they are.
    :param conn_id: id of its Airflow connection; empty without one.
    """
    if "s3" not in fs.protocol or not isinstance(getattr(fs, "config_kwargs", None), dict):
        return
    missing: dict[str, Any] = {"max_pool_connections": _MAX_CONNECTIONS}
    profile = _read_profile(fs)
    if not is_aws(_configured_endpoint(fs, profile)):
        for name in _CHECKSUM_SETTINGS:
            if f"AWS_{name.upper()}" not in os.environ and name not in profile:
                missing[name] = _WHEN_REQUIRED
    added = {name: value for name, value in missing.items() if name not in fs.config_kwargs}
    verify = _verify_of(conn_id)
    is_verify_new = verify is not None and "verify" not in fs.client_kwargs
    if added or is_verify_new:
        fs.config_kwargs.update(added)
        if is_verify_new:
            fs.client_kwargs["verify"] = verify
        fsspec_adapter.renew_s3_client(fs)


def is_aws(endpoint: str | None) -> bool:
    """Whether an endpoint is one of AWS.

    :param endpoint: URL of the S3 service; ``None`` for the default, which is AWS.
    """
    return endpoint is None or (urlsplit(endpoint).hostname or "").endswith(_AWS_HOSTS)


def _configured_endpoint(fs: Any, profile: Mapping[str, Any]) -> str | None:
    """Return the endpoint by connection, environment or profile; ``None`` without one."""
    of_environment = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return fs.endpoint_url or of_environment or profile.get("endpoint_url") or None


def _read_profile(fs: Any) -> Mapping[str, Any]:
    """Return the profile of the AWS configuration file; empty if there is none."""
    try:
        profile: Mapping[str, Any] = fs.session.get_scoped_config()
    except Exception:  # no session, or no such profile: the first request reports that
        return {}
    return profile


def _verify_of(conn_id: str) -> bool | str | None:
    """Return the ``verify`` of a connection; ``None`` if it has none."""
    try:
        verify = BaseHook.get_connection(conn_id).extra_dejson.get("verify") if conn_id else None
    except Exception:  # aws_default may be missing
        return None
    return verify if isinstance(verify, (bool, str)) else None
