"""The fixtures of a task with a ledger."""

from __future__ import annotations

from tests.support.ledger_fixtures import die_at, emulator_process, ledger

__all__ = ["die_at", "emulator_process", "ledger"]
