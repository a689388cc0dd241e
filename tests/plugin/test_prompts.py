"""Prompts of the sidecars: each task shows those that its own arguments lead to."""

from __future__ import annotations

import json
from pathlib import Path

from airflow_provider_flux.gallery.card import Card, CardOrigin
from airflow_provider_flux.plugin.prompts import add_prompts, add_prompts_to_search


def card_in(folder: Path, dag_id: str, name: str = "a") -> Card:
    """Return a card whose sidecar is in a folder, which may not have it."""
    sidecar = str(folder / f"{name}.jpeg.json")
    return Card(sidecar=sidecar, sha256="0" * 64, origin=CardOrigin(dag_id, "run", "task"))


def write_sidecar(folder: Path, prompt: str, name: str = "a") -> None:
    (folder / f"{name}.jpeg.json").write_text(json.dumps({"request": {"prompt": prompt}}))


def test_a_task_that_may_not_name_a_sidecar_does_not_get_the_prompt_that_another_has_read(
    tmp_path: Path,
) -> None:
    write_sidecar(tmp_path, "a secret")
    (own,) = add_prompts([card_in(tmp_path, "owner")], lambda card, uri: True)
    assert own.prompt == "a secret"
    cards = [card_in(tmp_path, "stranger"), card_in(tmp_path, "owner")]
    shown = add_prompts(cards, lambda card, uri: card.origin.dag_id == "owner")
    assert [card.prompt for card in shown] == [None, "a secret"]


def test_a_sidecar_that_is_gone_hides_the_prompt_of_no_other_card(tmp_path: Path) -> None:
    write_sidecar(tmp_path, "a fox", "here")
    cards = [card_in(tmp_path, "d", name) for name in ("gone", "here")]
    shown = add_prompts(cards, lambda card, uri: True)
    assert [card.prompt for card in shown] == [None, "a fox"]


def test_a_prompt_is_read_once(tmp_path: Path) -> None:
    write_sidecar(tmp_path, "a fox")
    cards = [card_in(tmp_path, "once")]
    add_prompts(cards, lambda card, uri: True)
    (tmp_path / "a.jpeg.json").unlink()
    asked: list[str] = []
    (shown,) = add_prompts(cards, lambda card, uri: bool(asked.append(uri)))
    assert (shown.prompt, asked) == ("a fox", [])


def test_a_search_reads_a_limited_number_of_sidecars_and_the_next_one_goes_on(
    tmp_path: Path,
) -> None:
    for number in range(50):
        write_sidecar(tmp_path, f"a fox {number}", str(number))
    cards = [card_in(tmp_path, "searched", str(number)) for number in range(50)]
    searches = [add_prompts_to_search(cards, lambda card, uri: True, limit=20) for _ in range(3)]
    assert [unread for _, unread in searches] == [30, 10, 0]
    assert [card.prompt for card in searches[-1][0]] == [f"a fox {n}" for n in range(50)]


def test_a_search_counts_the_sidecars_that_it_may_not_read(tmp_path: Path) -> None:
    write_sidecar(tmp_path, "a secret")
    cards = [card_in(tmp_path, "refused")]
    (shown,), unread = add_prompts_to_search(cards, lambda card, uri: False)
    assert (shown.prompt, unread) == (None, 1)
