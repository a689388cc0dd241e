"""The configuration of an emulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airflow_provider_flux.emulator.fault_scripts import parse_faults


@dataclass(frozen=True)
class EmulatorConfig:
    """The configuration of one emulator.

    :param host: IPv4 address or host name to listen on.
    :param port: port to listen on; 0 chooses a free one.
    :param latency: seconds from submit to the end of a task; ``None`` is the typical latency of the
        model.
    :param latency_spread: a share, 0 to 1. The latency of a task is drawn uniformly between
        ``1 - latency_spread`` and ``1 + latency_spread`` times ``latency``.
    :param credits: balance that each API key starts with.
    :param max_active: active tasks per API key. A model whose own limit is below the 24 of the
        service keeps it, and all videos share theirs.
    :param url_lifetime: seconds that the signed URL of a result is valid; ``None`` is the lifetime
        of the model.
    :param region_hosts: hosts that stand for BFL's clusters. Each task is put on one of them, and
        only that host knows it. Loopback addresses such as ``127.0.0.2`` need no setup on Linux.
    :param faults: fault scripts (``NAME=ARG``) for every request.
    :param retention: seconds that a task can be polled after its end; ``None`` is for ever.
    :param image_bytes: approximate size of a JPEG. It is encoded once for each size in pixels, and
        a comment that names the picture makes each file different. Nothing is drawn on it.
        ``None`` draws each picture.
    :param seed: seed of all random draws: latencies, faults with a probability, and seeds that a
        request leaves open. ``None`` draws differently each time.
    :param finetunes: names of the finetunes of each account.
    :param verbose: logs each request to the logger ``uvicorn.access``.
    :raises ValueError: if a fault is unknown, its argument cannot be read, or a number is out of
        range.
    """

    host: str = "127.0.0.1"
    port: int = 0
    latency: float | None = None
    latency_spread: float = 0.0
    credits: float = 1000.0
    max_active: int = 24
    url_lifetime: float | None = None
    region_hosts: Sequence[str] = ()
    faults: Sequence[str] = ()
    retention: float | None = None
    image_bytes: int | None = None
    seed: int | None = None
    finetunes: Sequence[str] = ("demo-style",)
    verbose: bool = False

    def __post_init__(self) -> None:
        parse_faults(self.faults)
        if not 0 <= self.latency_spread <= 1:
            raise ValueError(
                f"latency_spread must be a share from 0 to 1, not {self.latency_spread}"
            )
        if self.image_bytes is not None and self.image_bytes < 1:
            raise ValueError(
                f"image_bytes must be a positive number of bytes, not {self.image_bytes}"
            )
