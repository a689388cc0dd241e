"""Several clients of one account, as processes and on sockets, beside a thread pool per client.

``python -m benchmarks.governor [KIND...]`` prints the table of
:mod:`benchmarks.governor_simulation`, and then the same figures of processes that submit to an
emulator, for ``account_path``, ``alone`` and ``pools``, or for those that are named. Each takes
about a minute and a half.

The emulator allows 24 active generations of 4 s, give or take a quarter. Two clients start together
and a third one after 20 s. 40 s later an urgent task submits one image, and 50 s later the third
client is killed. Jain's fairness counts from 15 to 35 s after the third client's first submit, and
``takeover`` until the two others have 22 slots. The figures depend on how busy the machine is.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import requests

from airflow_provider_flux.account.governor.open_quota import open_quota
from airflow_provider_flux.account.governor.single import slot_of_account
from airflow_provider_flux.hooks.flux import FluxHook
from benchmarks.contenders import documented
from benchmarks.contenders.polite_pool import next_pause
from benchmarks.emulator import Emulator, run_emulator
from benchmarks.governor_simulation import print_table
from benchmarks.quota import Span, fairness, quota_use, read_spans, seconds_to_reach
from benchmarks.runs import start_batch

LIMIT = 24
NAMES = ("one", "two", "three")
_ROWS = 3000
_EMULATOR = [
    *("--max-active", str(LIMIT), "--latency", "4", "--latency-spread", "0.25", "--seed", "1"),
    *("--image-bytes", "20000"),
]
_TOO_MANY = 429
#: Times of the scenario: of the newcomer after the others, and of what follows after its first
#: submit.
_NEWCOMER, _SETTLED, _URGENT, _KILL, _END = 20.0, 15.0, 40.0, 50.0, 70.0

Start = Callable[[str], subprocess.Popen[Any]]
Submit = Callable[[], object]


def run_scenario(emulator: Emulator, start: Start, submit_urgent: Submit) -> None:
    """Run one kind of clients, and print a line of figures.

    :param emulator: the emulator.
    :param start: starts the process of a client.
    :param submit_urgent: submits one image.
    """
    processes = {name: start(name) for name in NAMES[:2]}
    try:
        for name in NAMES[:2]:
            _wait_for_submit(emulator, name)
        time.sleep(_NEWCOMER)
        processes["three"] = start("three")
        came = _wait_for_submit(emulator, "three")
        _sleep_until(came + _URGENT)
        asked = time.time()
        submit_urgent()
        urgent = time.time() - asked
        _sleep_until(came + _KILL)
        processes.pop("three").kill()
        killed = time.time()
        _sleep_until(came + _END)
        timeline = emulator.read("timeline")
    finally:
        for process in processes.values():
            process.send_signal(signal.SIGKILL)
            process.wait()
    _print_figures(timeline, came, killed, urgent)


def _print_figures(timeline: Mapping[str, Any], came: float, killed: float, urgent: float) -> None:
    entries = timeline["tasks"]
    spans = {
        name: read_spans(entry for entry in entries if entry["prompt"].startswith(f"{name} "))
        for name in NAMES
    }
    together, settled = Span(came + 5, killed), Span(came + _SETTLED, came + _URGENT - 5)
    shares = [quota_use(spans[name], settled, LIMIT) for name in NAMES]
    refused, submits = timeline["refused"].get(str(_TOO_MANY), 0), len(entries)
    takeover = seconds_to_reach([*spans["one"], *spans["two"]], killed, LIMIT - 2)
    print(
        f"{quota_use(read_spans(entries), together, LIMIT):7.3f}{fairness(shares):7.3f}"
        f"{refused / (refused + submits):8.2%}{takeover:12.1f}{urgent:10.1f}",
        flush=True,
    )


def _wait_for_submit(emulator: Emulator, name: str) -> float:
    """Wait for the first submit of a client, and return its time."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        for entry in emulator.read("timeline")["tasks"]:
            if entry["prompt"].startswith(f"{name} "):
                return float(entry["submitted_at"])
        time.sleep(0.5)
    raise RuntimeError(f"client {name} submitted nothing")


def _sleep_until(epoch: float) -> None:
    time.sleep(max(epoch - time.time(), 0.0))


def run_batches(emulator: Emulator, folder: Path, *, has_account_path: bool) -> None:
    """Run batches of the operator.

    :param emulator: the emulator.
    :param folder: folder for images and for the shared object.
    :param has_account_path: whether they share the quota by an object.
    """
    account = folder / "account"
    account.mkdir()
    extra = {"account_path": str(account)} if has_account_path else {}
    connection = emulator.connection_with(**extra)
    os.environ["AIRFLOW_CONN_FLUX_DEFAULT"] = connection
    hook = FluxHook()
    open_quota(hook.settings)  # imports the libraries of all stores, as any output_path does

    def start(name: str) -> subprocess.Popen[Any]:
        (folder / name).mkdir()
        return start_batch(emulator, folder / name, name, _ROWS, connection).process

    def submit() -> None:
        request = hook.build_request("flux-pro-1.1", {"prompt": "urgent"})
        with slot_of_account(hook, request.model, "high", 300.0, logging.getLogger(__name__)):
            hook.submit(request, priority="high")

    run_scenario(emulator, start, submit)


def run_pools(emulator: Emulator, folder: Path) -> None:
    """Run a pool of threads per client.

    :param emulator: the emulator.
    :param folder: folder for images.
    """

    def start(name: str) -> subprocess.Popen[Any]:
        (folder / name).mkdir()
        command = [sys.executable, "-m", "benchmarks.contenders.polite_pool"]
        return subprocess.Popen([*command, emulator.url, str(folder / name), name, str(_ROWS)])

    def submit() -> None:
        with requests.Session() as session:
            refusals, rng = 0, random.Random(1)
            while True:
                try:
                    documented.submit(session, emulator.url, "urgent")
                    return
                except requests.HTTPError as error:
                    if error.response.status_code != _TOO_MANY:
                        raise
                refusals += 1
                time.sleep(next_pause(refusals, rng))

    run_scenario(emulator, start, submit)


KINDS: dict[str, Callable[[Emulator, Path], None]] = {
    "account_path": lambda emulator, folder: run_batches(emulator, folder, has_account_path=True),
    "alone": lambda emulator, folder: run_batches(emulator, folder, has_account_path=False),
    "pools": run_pools,
}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.governor")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--seeds", type=int, default=8, help="trials of the simulation")
    options = parser.parse_args()
    if options.seeds:
        print(f"Simulated, {options.seeds} seeds")
        print_table(options.seeds)
    print(f"\nOn sockets\n{'':22}{'use':>7}{'Jain':>7}{'429':>8}{'takeover s':>12}{'urgent s':>10}")
    for name in options.kinds or KINDS:
        print(f"{name:22}", end="", flush=True)
        with (
            tempfile.TemporaryDirectory(prefix="flux-bench-", ignore_cleanup_errors=True) as folder,
            run_emulator(*_EMULATOR) as emulator,
        ):
            KINDS[name](emulator, Path(folder))


if __name__ == "__main__":
    main()
