"""``python -m airflow_provider_flux.emulator``: run an emulator until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Sequence

from airflow_provider_flux.emulator.config import EmulatorConfig
from airflow_provider_flux.emulator.faults import FAULTS
from airflow_provider_flux.emulator.server import EmulatorServer


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command until a signal ends it, and return its exit code.

    :param argv: the arguments; ``None`` takes those of the process.
    """
    parser = _parser()
    options = vars(parser.parse_args(argv))
    options["region_hosts"] = tuple(
        host.strip() for host in options["region_hosts"].split(",") if host.strip()
    )
    options["finetunes"] = options["finetunes"] or EmulatorConfig.finetunes
    if options["verbose"]:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
    stopped = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: stopped.set())
    try:
        server = EmulatorServer(EmulatorConfig(**options))
        server.start()
    except (ValueError, OSError) as error:  # a mistyped fault, a port that is taken
        parser.error(str(error))
    sys.stdout.write(f"FLUX emulator on {server.url} (docs: /docs)\n")
    sys.stdout.flush()
    stopped.wait()
    server.stop()
    return 0


def _parser() -> argparse.ArgumentParser:
    defaults = EmulatorConfig()
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_flux.emulator",
        description="An emulator of the Black Forest Labs API. Any key like bfl_emulator works.",
        epilog=_fault_list(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default=defaults.host, help="address to listen on (default: %(default)s)")
    add(
        "--port",
        type=int,
        default=8484,
        help="port to listen on, 0 for a free one (default: %(default)s)",
    )
    add("--latency", type=float, help="seconds a task takes (default: typical for the model)")
    add(
        "--latency-spread",
        type=float,
        default=defaults.latency_spread,
        metavar="SHARE",
        help="a task takes the latency x (1 +- SHARE), drawn at random (default: %(default)g)",
    )
    add(
        "--credits",
        type=float,
        default=defaults.credits,
        help="balance of each key (default: %(default)g)",
    )
    add(
        "--max-active",
        type=int,
        default=defaults.max_active,
        help="active tasks per key (default: %(default)s)",
    )
    add(
        "--url-lifetime",
        type=float,
        help="seconds the URL of a result is valid (default: that of the model)",
    )
    add("--region-hosts", default="", metavar="HOST,HOST", help="hosts to spread tasks over")
    add(
        "--fault",
        dest="faults",
        action="append",
        default=[],
        metavar="NAME=ARG",
        help="fault for every request; repeatable",
    )
    add(
        "--finetune",
        dest="finetunes",
        action="append",
        metavar="NAME",
        help="finetune of each key; repeatable",
    )
    add("--retention", type=float, help="seconds an ended task can be polled (default: for ever)")
    add(
        "--image-bytes",
        type=int,
        metavar="N",
        help="JPEG files of about N bytes with nothing drawn on them, which costs little CPU",
    )
    add("--seed", type=int, help="seed of all random draws")
    add("--verbose", action="store_true", help="log each request")
    return parser


def _fault_list() -> str:
    lines = [
        "faults, here for every request, in a prompt as [[fault:NAME=ARG]]",
        "(N: a count or 'always'; default 1).",
        "NAME@3% or NAME=ARG@3% strikes 3% of the submits, polls or downloads, or 3% of the tasks:",
    ]
    for kind in FAULTS.values():
        lines.append(f"  {kind.phase:9} {kind.usage:28} {kind.meaning}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
