"""The fixtures of a task with a ledger."""

from __future__ import annotations

from tests.support.ledger_fixtures import dies, emulator_process, home

__all__ = ["dies", "emulator_process", "home"]
