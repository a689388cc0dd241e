"""What an emulator is told when it is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airflow_provider_flux.emulator.faults import parse_faults


@dataclass(frozen=True)
class EmulatorConfig:
    """How one emulator behaves.

    :param host: IPv4 address, or name, to listen on.
    :param port: port to listen on; 0 takes a free one.
    :param latency: seconds from submit to the end of a task; ``None`` takes what is usual for the model.
    :param latency_spread: each task takes ``latency`` times ``1 - latency_spread`` to ``1 + latency_spread``, each
        as likely.
    :param credits: balance each API key starts with.
    :param max_active: active tasks per API key. A model whose own limit is below the 24 of the service
        keeps its own, and all videos share theirs.
    :param url_lifetime: seconds the signed URL of a result is good for; ``None`` takes what is usual for
        the model.
    :param region_hosts: hosts that stand for BFL's clusters: a task is put on one of them, and only
        that host knows it. Loopback addresses such as ``127.0.0.2`` need no setup on Linux.
    :param faults: fault scripts (``NAME=ARG``) that hold for every request.
    :param retention: seconds a task can still be polled after its end; ``None`` is for ever.
    :param image_bytes: about how many bytes a JPEG has. It is encoded once for each size, and made another file for
        each picture by a comment that names it: cheap, and nothing is to be seen on it. ``None`` draws each picture.
    :param seed: what is left to chance comes the same again: latencies, faults by chance, seeds that a request leaves
        open. ``None`` comes otherwise each time.
    :param finetunes: names of the finetunes each account has.
    :param verbose: whether each request is logged, to the logger ``uvicorn.access``.
    :raises ValueError: if a fault is unknown, its argument cannot be read, or a number is out of range.
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
            raise ValueError(f"latency_spread is a share from 0 to 1, not {self.latency_spread}")
        if self.image_bytes is not None and self.image_bytes < 1:
            raise ValueError(f"image_bytes is a number of bytes, not {self.image_bytes}")
