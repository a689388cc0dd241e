"""The command ``recover`` prints records of a bucket, which anybody may have written."""

from __future__ import annotations

import argparse
from types import SimpleNamespace

import pytest

from airflow_provider_flux.bfl.errors import FluxLedgerError
from airflow_provider_flux.cli import recover


@pytest.mark.parametrize("output", ["plain", "table", "json"])
def test_no_escape_sequence_of_a_record_reaches_the_terminal(
    output: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fault 7: ``recover -o plain`` wrote the escape sequences and line feeds of a record."""
    row = {"outcome": "landed", "key": "a\x1b[2J\x9b1m\nlanded b"}
    result = SimpleNamespace(outcome="landed", as_row=lambda: row)
    unreadable = SimpleNamespace(error=FluxLedgerError("record \x1b]0;title\x07"))
    found = SimpleNamespace(records=[result], unreadable=[unreadable])
    monkeypatch.setattr(recover, "use_database_connections", lambda: None)
    monkeypatch.setattr(recover, "find_records", lambda filter_: found)
    monkeypatch.setattr(recover, "recover_all", lambda records, **options: [result])
    options = argparse.Namespace(
        prefix=None,
        dag_id=None,
        run_id=None,
        dry_run=True,
        output_path=None,
        flux_conn_id=None,
        output=output,
        verbose=True,
    )
    with pytest.raises(SystemExit):
        recover.run(options)
    printed = capsys.readouterr()
    assert "\\x1b" in printed.out.replace("\\\\", "\\")
    assert not {"\x1b", "\x9b", "\x07"} & set(printed.out + printed.err)
    if output == "plain":
        assert not any(line.startswith("landed b") for line in printed.out.splitlines())
