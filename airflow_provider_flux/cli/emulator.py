"""The command ``emulator``: a local BFL service."""

from __future__ import annotations

import argparse

from airflow_provider_flux.cli.console import tell
from airflow_provider_flux.cli.exit_codes import USAGE
from airflow_provider_flux.emulator.options import OPTIONS


def run(args: argparse.Namespace) -> None:
    """Run an emulator until Ctrl-C or SIGTERM.

    :param args: the parsed options of the command.
    :raises SystemExit: with a message if an option is not valid, the port is taken, or the packages
        of the extra ``emulator`` are missing.
    """
    try:  # it imports a web server, which the other commands do not need
        from airflow_provider_flux.emulator.__main__ import serve
    except ImportError as error:
        tell(f"emulator: {error}")
        raise SystemExit(USAGE) from None
    names = [
        settings.get("dest", flag.removeprefix("--").replace("-", "_"))
        for flag, settings in OPTIONS.items()
    ]
    try:
        serve({name: getattr(args, name) for name in (*names, "verbose")})
    except (ValueError, OSError) as error:
        tell(f"emulator: {error}")
        raise SystemExit(USAGE) from None
