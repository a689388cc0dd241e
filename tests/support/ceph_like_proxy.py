"""A proxy before moto that behaves as Ceph radosgw 16.2 does where it differs from AWS."""

from __future__ import annotations

import json
import re
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support.answering_proxy import AnsweringProxy
from tests.support.object_stores import S3Store

_CREDENTIAL = re.compile(r"Credential=([^/]+)/")
_MESSAGE = re.compile(rb"<Message>.*?</Message>", re.DOTALL)
_CONDITION = re.compile(rb"<Condition>.*?</Condition>", re.DOTALL)
_META = "x-amz-meta-"
#: The refusal of each key id that is not that of a user with all rights.
_REFUSED_KEYS = {
    "unknown": "InvalidAccessKeyId",
    "forged": "SignatureDoesNotMatch",
    "expired": "ExpiredToken",
}
_READING = {"GET", "HEAD"}


class CephLikeProxy(AnsweringProxy):
    """The differences of a Ceph radosgw 16.2 from AWS, before a moto that has none of them.

    - Over HTTPS it refuses a checksum in a trailer.
    - ``If-None-Match`` has no effect in a versioned bucket, nor when an upload in parts completes.
    - Errors have a code and no message.
    - An underscore in a name of metadata becomes a hyphen.
    - The key id decides: ``test`` may do everything, ``writer`` may not read, ``reader`` may not
      write, ``unknown``, ``forged`` and ``expired`` are wrong credentials.

    :param server: URL of moto.
    :param folder: where the certificate is written.
    :param tls: whether it speaks HTTPS.
    :param conditional: whether it heeds ``If-None-Match`` at all; ``rclone serve s3`` does not.
    :ivar barrier: exclusive writes without a condition wait here for each other, if it is set.
    """

    def __init__(
        self, server: str, folder: Path, *, tls: bool = True, conditional: bool = True
    ) -> None:
        super().__init__(server)
        self._store = S3Store(server)
        self._tls = tls
        self._conditional = conditional
        self._versioned: set[str] = set()
        self.barrier: threading.Barrier | None = None
        self.certificate = folder / "ceph.pem"

    def listen(self, http: ThreadingHTTPServer) -> str:
        """Wrap the socket in TLS, with a certificate of its own."""
        if not self._tls:
            return "http"
        self.certificate.write_bytes(_make_certificate())
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self.certificate)
        http.socket = tls.wrap_socket(http.socket, server_side=True, do_handshake_on_connect=False)
        return "https"

    def connection(self, key_id: str = "test", **extra: Any) -> str:
        """Return the Airflow connection to the proxy.

        :param key_id: the user, see above.
        :param extra: further fields of the extra.
        """
        fields = {
            "region_name": "us-east-1",
            "endpoint_url": self.url,
            "verify": str(self.certificate),
            "config_kwargs": {"s3": {"addressing_style": "path"}},
        }
        return json.dumps(
            {
                "conn_type": "aws",
                "login": key_id,
                "password": "testtest",
                "extra": {**fields, **extra},
            }
        )

    def judge(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str] | None:
        """Refuse what a radosgw refuses, and drop the conditions that it ignores."""
        if refusal := super().judge(method, path, headers):
            return refusal
        found = _CREDENTIAL.search(headers.get("authorization", ""))
        user = found[1] if found else "anonymous"
        if user in _REFUSED_KEYS:
            return 403, _REFUSED_KEYS[user]
        if user != "test" and (method in _READING) == (user == "writer"):
            return 403, "AccessDenied"
        if self._tls and "x-amz-trailer" in headers:
            return 400, "InvalidArgument"
        for name in [name for name in headers if name.startswith(_META)]:
            headers[name.replace("_", "-")] = headers.pop(name)
        if "if-none-match" in headers and self._ignores_condition(method, path):
            del headers["if-none-match"]
            if self.barrier is not None:
                with suppress(threading.BrokenBarrierError):
                    self.barrier.wait(10)
        return None

    def finish_body(self, body: bytes) -> bytes:
        """Remove the texts that a radosgw does not send."""
        return (
            _CONDITION.sub(b"", _MESSAGE.sub(b"<Message></Message>", body))
            if b"<Error>" in body
            else body
        )

    def _ignores_condition(self, method: str, path: str) -> bool:
        bucket = urlsplit(path).path.split("/")[1]
        if method == "POST":
            return "uploadId=" in path
        return not self._conditional or bucket in self._versioned

    def metadata(self, uri: str) -> dict[str, str]:
        """Return the user metadata of an object.

        :param uri: URI of the object, with a connection.
        """
        return dict(self._store.client.head_object(**_location(uri))["Metadata"])

    def put_object(self, uri: str, data: bytes) -> None:
        """Write an object as somebody else.

        :param uri: URI of the object, with a connection.
        :param data: its content.
        """
        self._store.client.put_object(**_location(uri), Body=data)

    def read(self, uri: str) -> bytes:
        """Return the content of an object.

        :param uri: URI of the object, with a connection.
        """
        data: bytes = self._store.client.get_object(**_location(uri))["Body"].read()
        return data

    def versions(self, uri: str) -> list[str]:
        """Return the ids of the versions of an object.

        :param uri: URI of the object, with a connection.
        """
        location = _location(uri)
        answer = self._store.client.list_object_versions(
            Bucket=location["Bucket"], Prefix=location["Key"]
        )
        return [item["VersionId"] for item in answer.get("Versions", [])]

    def remove(self, uri: str) -> None:
        """Remove an object; in a versioned bucket, its versions stay.

        :param uri: URI of the object, with a connection.
        """
        self._store.client.delete_object(**_location(uri))

    def make_versioned_bucket(self, bucket: str) -> None:
        """Create a bucket with versioning.

        :param bucket: its name.
        """
        self._store.client.create_bucket(Bucket=bucket)
        self._store.client.put_bucket_versioning(
            Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
        )
        self._versioned.add(bucket)


def _location(uri: str) -> dict[str, str]:
    bucket, _, key = uri.partition("@")[2].partition("/")
    return {"Bucket": bucket, "Key": key}


def _make_certificate() -> bytes:
    """Return a key and a certificate of 127.0.0.1 that signs itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ceph-like test server")])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization
    private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
    return private + certificate.public_bytes(form.Encoding.PEM)
