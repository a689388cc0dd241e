"""Decisions about webhooks, without I/O: references, proofs of the sender, and payloads.

Sources: BFL's model pages and the OpenAPI document name the header ``X-Webhook-Secret``. BFL's
guide for agents names ``X-BFL-Signature``, which no published capture shows. The payload is the
answer to a poll since February 2026. Published receivers have the older one, with ``task_id`` and
``SUCCESS``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from airflow_provider_flux.bfl.responses import read_id, read_status
from airflow_provider_flux.bfl.status import Status

#: Path with which the URL of the receiver ends. The operator appends a reference to it.
RECEIVER_PATH = "/flux/webhooks"
#: Header in which BFL sends the secret of the request.
SECRET_HEADER = "X-Webhook-Secret"  # noqa: S105 - the name of a header
#: Header with an HMAC-SHA256 of the body, as ``sha256=<hex>``.
SIGNATURE_HEADER = "X-BFL-Signature"
#: A reference is public, so a shorter secret could be guessed from it.
MIN_SECRET_CHARACTERS = 16
_CONTEXT = b"airflow-provider-flux webhook reference 1:"
_MAC_BYTES = 16
_REFERENCE_CHARACTERS = 43
_OLDER_STATUSES = {
    "success": Status.READY,
    "error": Status.ERROR,
    "failed": Status.FAILED,
    "failure": Status.FAILED,
    "request moderated": Status.REQUEST_MODERATED,
    "content moderated": Status.CONTENT_MODERATED,
    "generated content moderated": Status.CONTENT_MODERATED,
}


@dataclass(frozen=True)
class WebhookNotice:
    """Status of a generation, as a webhook reports it. A poll has to confirm it.

    :param request_id: BFL's id of the generation.
    :param status: its status; ``UNKNOWN`` is any text that this version does not know.
    """

    request_id: str
    status: Status

    @property
    def is_final(self) -> bool:
        """Whether the generation has ended, by its status."""
        return self.status.is_success or self.status.is_failure


def is_receiver(url: object) -> bool:
    """Whether a webhook URL is that of the receiver of this provider.

    :param url: argument ``webhook_url`` of an operator.
    """
    if not isinstance(url, str):
        return False
    try:
        return urlsplit(url.strip()).path.rstrip("/").endswith(RECEIVER_PATH)
    except ValueError:
        return False


def append_reference(url: str, task_instance: UUID, secret: str) -> str:
    """Return the URL of the receiver for one task instance.

    :param url: URL of the receiver.
    :param task_instance: id of the task instance.
    :param secret: webhook secret of the connection.
    """
    return f"{url.strip().rstrip('/')}/{make_reference(task_instance, secret)}"


def make_reference(task_instance: UUID, secret: str) -> str:
    """Return the reference to a task instance, which only who knows the secret can make.

    :param task_instance: id of the task instance.
    :param secret: webhook secret of the connection.
    :return: 43 characters that are safe in a URL.
    """
    content = task_instance.bytes + _mac(task_instance.bytes, secret)
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def read_reference(reference: str, secrets: Iterable[str]) -> tuple[UUID, str] | None:
    """Return the task instance of a reference, and the secret that it was made with.

    :param reference: the reference, from a stranger.
    :param secrets: secrets of connections.
    :return: ``None`` if the reference was made with none of them.
    """
    if len(reference) != _REFERENCE_CHARACTERS or not reference.isascii():
        return None
    try:
        content = base64.b64decode(reference + "=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    task_instance, mac = content[:-_MAC_BYTES], content[-_MAC_BYTES:]
    found = None
    for secret in secrets:  # no early end: the time tells nothing about the secrets
        if hmac.compare_digest(mac, _mac(task_instance, secret)):
            found = secret
    return None if found is None else (UUID(bytes=task_instance), found)


def has_secret(headers: Mapping[str, str], secret: str) -> bool:
    """Whether a request has the right secret in its header. The comparison takes constant time.

    :param headers: headers of the request, by any case of their names.
    :param secret: webhook secret of the connection.
    """
    sent = headers.get(SECRET_HEADER)
    return sent is not None and hmac.compare_digest(_encode(sent), secret.encode())


def is_genuine(headers: Mapping[str, str], body: bytes, secret: str) -> bool:
    """Whether BFL sent a request: each proof in its headers is right, and there is at least one.

    :param headers: headers of the request, by any case of their names.
    :param body: the bytes of its body.
    :param secret: webhook secret of the connection.
    """
    signature = headers.get(SIGNATURE_HEADER)
    if signature is None:
        return has_secret(headers, secret)
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    sent = signature.strip().lower().removeprefix("sha256=")
    is_signed = hmac.compare_digest(_encode(sent), expected.encode())
    return is_signed and (SECRET_HEADER not in headers or has_secret(headers, secret))


def read_notice(body: bytes) -> WebhookNotice | None:
    """Read the payload of a webhook, of either generation.

    :param body: the bytes of the body.
    :return: ``None`` if it is not JSON, or names no generation.
    """
    try:
        payload: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    request_id = read_id(payload) if isinstance(payload, Mapping) else None
    if request_id is None:
        return None
    text = str(read_status(payload))[:80].strip()
    status = Status.of(text)
    if status is Status.UNKNOWN:
        words = text.replace("_", " ").replace("-", " ").casefold()
        status = _OLDER_STATUSES.get(words, status)
    return WebhookNotice(request_id, status)


def _mac(task_instance: bytes, secret: str) -> bytes:
    digest = hmac.new(secret.encode(), _CONTEXT + task_instance, hashlib.sha256).digest()
    return digest[:_MAC_BYTES]


def _encode(header: str) -> bytes:
    """Return the bytes that a header had on the wire."""
    return header.encode("latin-1", errors="replace")
