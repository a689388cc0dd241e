"""A check of ``doctor``, and the run of all of them: none can stop or delay the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.bfl.redaction import redact_line

Status = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True)
class Finding:
    """The result of a check.

    :param status: ``ok``; ``warning`` for what works and should be changed; ``failed``; or
        ``skipped`` if there was nothing to check.
    :param detail: what was found, as a sentence or a phrase.
    :param remedy: what to do, as an imperative; empty if there is nothing to do.
    """

    status: Status
    detail: str
    remedy: str = ""


@dataclass(frozen=True)
class Check:
    """A check.

    :param name: its name in the output.
    :param find: makes the check.
    :param timeout: seconds that it has in all.
    """

    name: str
    find: Callable[[], Finding]
    timeout: float


@dataclass
class _Outcome:
    finding: Finding | None = None
    error: BaseException | None = None
    ended: threading.Event = field(default_factory=threading.Event)


def run_checks(checks: Iterable[Check]) -> Iterator[tuple[str, Finding]]:
    """Make the checks one after the other, and yield the name and the finding of each.

    An error, also one that is no ``Exception``, is a finding. A check that exceeds its time is
    left behind in its thread.

    :param checks: the checks.
    """
    for check in checks:
        yield check.name, _run(check)


def as_row(name: str, finding: Finding) -> dict[str, Any]:
    """Return a finding as a row of the output, without keys and escape sequences.

    :param name: name of the check.
    :param finding: what it found.
    """
    return {
        "check": name,
        "status": finding.status,
        "detail": redact_line(finding.detail),
        "remedy": redact_line(finding.remedy),
    }


def _run(check: Check) -> Finding:
    outcome = _Outcome()

    def run() -> None:
        try:
            outcome.finding = check.find()
        except BaseException as error:  # also SystemExit of a library
            outcome.error = error
        outcome.ended.set()

    threading.Thread(target=run, name=f"flux-doctor-{check.name}", daemon=True).start()
    if not outcome.ended.wait(check.timeout):
        return Finding(
            "failed",
            f"It did not end within {check.timeout:g} s.",
            "Check the network, the proxy and the firewall between this machine and the service, "
            "or raise --timeout.",
        )
    if outcome.error is not None:
        return _describe(outcome.error)
    assert outcome.finding is not None  # noqa: S101 - the thread has ended without an error
    return outcome.finding


def _describe(error: BaseException) -> Finding:
    if isinstance(error, FluxError):  # its message has the remedy
        return Finding("failed", f"{type(error).__name__}: {error.message}")
    return Finding(
        "failed",
        f"{type(error).__name__}: {error}",
        "This check ended with an error that it does not know. The other checks are not affected.",
    )
