"""``python -m airflow_provider_flux.emulator``: run an emulator until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_flux.emulator import EmulatorConfig, EmulatorServer
from airflow_provider_flux.emulator.faults import FAULTS
from airflow_provider_flux.emulator.options import OPTIONS


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command until a signal ends it, and return its exit code.

    :param argv: the arguments; ``None`` takes those of the process.
    """
    parser = _parser()
    try:
        return serve(vars(parser.parse_args(argv)))
    except (ValueError, OSError) as error:  # a mistyped fault, a port that is taken
        parser.error(str(error))


def serve(options: Mapping[str, Any]) -> int:
    """Run an emulator until a signal ends it, and return the exit code.

    :param options: the parsed options of :data:`OPTIONS`, and ``verbose``.
    :raises ValueError: if an option is not valid.
    :raises OSError: if the port is taken.
    """
    settings = dict(options)
    settings["region_hosts"] = tuple(
        host.strip() for host in settings["region_hosts"].split(",") if host.strip()
    )
    settings["finetunes"] = settings["finetunes"] or EmulatorConfig.finetunes
    if settings["verbose"]:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
    stopped = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: stopped.set())
    server = EmulatorServer(EmulatorConfig(**settings))
    server.start()
    sys.stdout.write(f"FLUX emulator on {server.url} (docs: /docs)\n")
    sys.stdout.flush()
    stopped.wait()
    server.stop()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_flux.emulator",
        description="An emulator of the Black Forest Labs API. Any key like bfl_emulator works.",
        epilog=_fault_list(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for flag, settings in OPTIONS.items():
        parser.add_argument(flag, **settings)
    parser.add_argument("--verbose", action="store_true", help="log each request")
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
