"""Location of a file in an object store, as its console and OpenLineage name it. It opens nothing.

A location has neither a connection id, nor a password, nor a query.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_flux.object_store.s3_settings import is_aws

StoreKind = Literal["s3", "gcs", "azure", "file", "http", "other"]
_KINDS: Mapping[str, StoreKind] = {
    "s3": "s3",
    "s3a": "s3",
    "s3n": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "abfs": "azure",
    "abfss": "azure",
    "adl": "azure",
    "az": "azure",
    "wasb": "azure",
    "wasbs": "azure",
    "file": "file",
    "local": "file",
    "http": "http",
    "https": "http",
}
_AZURE_HOST = ".core.windows.net"


@dataclass(frozen=True)
class StoreLocation:
    """Location of a file or a folder.

    :param kind: kind of store.
    :param scheme: scheme of the URI.
    :param bucket: bucket, container or host; empty for a local path.
    :param key: name below the bucket, without a slash at its beginning; for a local file its
        absolute path.
    :param conn_id: id of the Airflow connection; empty without one.
    """

    kind: StoreKind
    scheme: str
    bucket: str
    key: str
    conn_id: str = ""


def parse_location(uri: str) -> StoreLocation:
    """Return the location that a URI names.

    :param uri: URI of an object store, URL, or absolute path.
    """
    if "://" not in uri:
        return StoreLocation("file", "file", "", uri.removeprefix("file:"))
    scheme, _, rest = uri.partition("://")
    kind = _KINDS.get(scheme.lower(), "other")
    if kind == "file":
        return StoreLocation("file", "file", "", f"/{rest.lstrip('/')}")
    authority, _, key = rest.partition("/")
    userinfo, _, bucket = authority.rpartition("@")
    if kind == "http":
        key = key.partition("?")[0].partition("#")[0]
    if kind == "azure" and bucket.endswith(_AZURE_HOST):  # abfss://container@account.dfs...
        return StoreLocation(kind, scheme.lower(), authority, key)
    # A text with a colon is a user and a password, no connection.
    conn_id = "" if ":" in userinfo else userinfo
    return StoreLocation(kind, scheme.lower(), bucket, key, conn_id)


def dataset_name(uri: str) -> tuple[str, str]:
    """Return the namespace and the name of a dataset, as the naming spec of OpenLineage has them.

    For Azure the account comes from the connection. Call this in the process of the task.

    :param uri: URI, URL or absolute path.
    """
    location = parse_location(uri)
    key = location.key.rstrip("/") or "/"
    match location.kind:
        case "file":
            return "file", key
        case "s3":
            return f"s3://{location.bucket}", key
        case "gcs":
            return f"gs://{location.bucket}", key
        case "azure":
            return f"abfss://{_with_account(location)}", key
        case _:
            return f"{location.scheme}://{location.bucket}", key


def console_url(uri: str) -> str | None:
    """Return the page of the store's console that shows a file, or a folder.

    The page asks the user to log in. It is no signed URL.

    :param uri: URI of an object store. A slash at its end stands for a folder.
    :return: ``None`` for a store without such a page: a local path, a server that is not AWS, Azure
        (whose portal needs the id of a subscription).
    """
    location = parse_location(uri)
    is_folder = not location.key or location.key.endswith("/")
    if location.kind == "gcs":
        view = "" if is_folder else "_details/"
        path = f"{location.bucket}/{quote(location.key)}"
        return f"https://console.cloud.google.com/storage/browser/{view}{path}"
    if location.kind == "s3" and (domain := _aws_domain(location.conn_id)):
        view = "buckets" if is_folder else "object"
        key = quote(location.key, safe="/")
        return f"https://console.{domain}/s3/{view}/{location.bucket}?prefix={key}"
    return None


def _aws_domain(conn_id: str) -> str | None:
    """Return the domain of the AWS console; ``None`` if the store is not AWS."""
    extra = _read_extra(conn_id)
    services = extra.get("service_config")
    s3 = services.get("s3") if isinstance(services, Mapping) else None
    for endpoint in (
        s3.get("endpoint_url") if isinstance(s3, Mapping) else None,
        extra.get("endpoint_url"),
        extra.get("host"),
        os.environ.get("AWS_ENDPOINT_URL_S3"),
        os.environ.get("AWS_ENDPOINT_URL"),
    ):
        if endpoint and not is_aws(str(endpoint)):
            return None
    region = str(extra.get("region_name") or os.environ.get("AWS_DEFAULT_REGION") or "")
    if region.startswith("cn-"):
        return "amazonaws.cn"
    if region.startswith("us-gov-"):
        return "amazonaws-us-gov.com"
    return "aws.amazon.com"


def _with_account(location: StoreLocation) -> str:
    """Return ``container@account.dfs.core.windows.net``; the container alone without an account."""
    if "@" in location.bucket or not location.conn_id:
        return location.bucket
    connection = _get_connection(location.conn_id)
    host = urlsplit(f"//{str(getattr(connection, 'host', None) or '').rpartition('//')[2]}")
    account = (host.hostname or "").partition(".")[0]
    if not (host.hostname or "").endswith(_AZURE_HOST):
        extra = _read_extra(location.conn_id)
        account = str(extra.get("account_name") or getattr(connection, "login", None) or "")
    return f"{location.bucket}@{account}.dfs{_AZURE_HOST}" if account else location.bucket


def _read_extra(conn_id: str) -> Mapping[str, Any]:
    connection = _get_connection(conn_id)
    extra = getattr(connection, "extra_dejson", None)
    return extra if isinstance(extra, Mapping) else {}


def _get_connection(conn_id: str) -> Any:
    """Return a connection; ``None`` if there is none. A link must not fail for lack of it."""
    if not conn_id:
        return None
    try:
        return BaseHook.get_connection(conn_id)
    except Exception:
        return None
