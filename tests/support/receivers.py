"""Servers of monitoring on loopback: StatsD over UDP; OTLP and OpenLineage over HTTP."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from inspect import signature
from threading import Thread
from typing import Any


class StatsdReceiver:
    """A StatsD server that keeps each line, for example ``airflow.flux.submits,model=x:1|c``."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]

    def lines(self) -> list[str]:
        """Return all lines that have arrived. On loopback a packet arrives before sendto ends."""
        received: list[str] = []
        self._socket.setblocking(False)
        try:
            while True:
                received += self._socket.recv(65535).decode().splitlines()
        except BlockingIOError:
            return received

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class HttpReceiver:
    """An HTTP server that accepts OTLP (``/v1/traces``, ``/v1/metrics``) and OpenLineage events.

    :ivar url: base URL.
    :ivar bodies: body of each request, with its path.
    """

    def __init__(self) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        received = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                received.append((self.path, body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, daemon=True)

    def spans(self) -> list[Any]:
        """Return the spans of all exports, parsed with the schema of OTLP."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        exports = [ExportTraceServiceRequest.FromString(body) for body in self._of("/v1/traces")]
        return [
            span
            for export in exports
            for resource in export.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def metrics(self) -> list[Any]:
        """Return the metrics of all exports, parsed with the schema of OTLP."""
        from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
            ExportMetricsServiceRequest,
        )

        exports = [ExportMetricsServiceRequest.FromString(body) for body in self._of("/v1/metrics")]
        return [
            metric
            for export in exports
            for resource in export.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]

    def lineage_events(self) -> list[dict[str, Any]]:
        """Return all OpenLineage events."""
        return [json.loads(body) for body in self._of("/api/v1/lineage")]

    def _of(self, path: str) -> list[bytes]:
        return [body for sent_to, body in list(self.bodies) if sent_to == path]

    def start(self) -> None:
        """Serve in a thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()


def monitoring_environment(url: str) -> dict[str, str]:
    """Return the settings by which Airflow sends traces, metrics and lineage to a receiver."""
    return {
        "AIRFLOW__TRACES__OTEL_ON": "True",
        "AIRFLOW__METRICS__OTEL_ON": "True",
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_EXPORTER": "otlp_proto_http",
        "OTEL_METRIC_EXPORT_INTERVAL": "5000",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "http", "url": url}),
    }


def restart_stats(factory: Callable[[], Any] | None = None) -> None:
    """Let the ``Stats`` of Airflow begin anew, as in a new process.

    :param factory: builds the backend; that of the settings by default.
    """
    from airflow.providers.common.compat.sdk import Stats

    try:
        from airflow.sdk.observability.metrics.stats_utils import get_stats_factory
    except ImportError:  # before Airflow 3.2 the metaclass reads the settings, once
        meta: Any = type(Stats)
        if "factory" in vars(meta):
            del meta.factory
        meta.__init__(Stats, "Stats", (), {})
        meta.factory = meta.factory if factory is None else staticmethod(factory)
        Stats.instance = None  # type: ignore[attr-defined]
        return
    own = [Stats] if signature(get_stats_factory).parameters else []  # in Airflow 3.2
    arguments: dict[str, Any] = {"factory": factory or get_stats_factory(*own)}
    if "export_legacy_names" in signature(Stats.initialize).parameters:
        arguments["export_legacy_names"] = False
    Stats.initialize(**arguments)


@contextmanager
def http_receiver() -> Iterator[HttpReceiver]:
    """Run a receiver for the time of the block."""
    receiver = HttpReceiver()
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.close()


def attributes_of(item: Any) -> dict[str, Any]:
    """Return the attributes of a span or of a data point of OTLP."""
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in item.attributes
    }
