"""Cards below a folder that strangers may write to as well."""

from __future__ import annotations

import json
from pathlib import Path

from airflow_provider_flux.gallery.find_cards import find_cards


def test_a_link_out_of_the_folder_adds_no_row_and_no_prompt(tmp_path: Path) -> None:
    own, foreign = tmp_path / "own", tmp_path / "foreign"
    own.mkdir()
    foreign.mkdir()
    row = {"index": 0, "key": "row-of-others", "outcome": "landed"}
    (foreign / "manifest-a.jsonl").write_text(json.dumps(row) + "\n")
    (foreign / "a.json").write_text(json.dumps({"request": {"prompt": "a secret"}}))
    (own / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (own / "a.png.json").symlink_to(foreign / "a.json")
    (own / "b.png").symlink_to(foreign / "a.json")
    (own / "manifest-a.jsonl").symlink_to(foreign / "manifest-a.jsonl")
    found = find_cards(str(own))
    assert [(card.key, card.prompt) for card in found.cards] == [("a.png", None)]
