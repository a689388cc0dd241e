"""Prompts of images that a task returned: they are in the sidecars alone."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Lock

from airflow_provider_flux.gallery.card import Card, card_of_sidecar
from airflow_provider_flux.landing.sidecar import MAX_SIDECAR_BYTES
from airflow_provider_flux.plugin.stored_objects import ObjectError, read_hints

#: Seconds that a page waits for sidecars. The prompts of others are left out.
_SECONDS = 1.0
#: Prompts that are kept, of at most 2000 characters each.
_CACHED_PROMPTS = 2000

_PROMPTS: OrderedDict[tuple[str, str | None], str | None] = OrderedDict()
_LOCK = Lock()


def add_prompts(cards: Sequence[Card], is_allowed: Callable[[Card, str], bool]) -> list[Card]:
    """Return some cards with the prompts that their sidecars have.

    :param cards: the cards of one page.
    :param is_allowed: whether a card may name the URI of its sidecar.
    """
    missing = {
        card.sidecar
        for card in cards
        if card.prompt is None
        and card.sidecar
        and (card.sidecar, card.sha256) not in _PROMPTS
        and is_allowed(card, card.sidecar)
    }
    try:
        read = read_hints(sorted(missing), MAX_SIDECAR_BYTES, _SECONDS)
    except ObjectError:
        read = {}
    found = {uri: prompt for uri, data in read.items() if (prompt := _prompt_of(data)) is not None}
    with _LOCK:
        shown = [_with_prompt(card, read, found) for card in cards]
        while len(_PROMPTS) > _CACHED_PROMPTS:
            _PROMPTS.popitem(last=False)
    return shown


def _with_prompt(card: Card, read: dict[str, bytes], found: dict[str, str]) -> Card:
    if card.prompt is not None or card.sidecar is None:
        return card
    key = (card.sidecar, card.sha256)
    if card.sidecar in read:
        _PROMPTS[key] = found.get(card.sidecar)
    return replace(card, prompt=_PROMPTS.get(key))


def _prompt_of(data: bytes) -> str | None:
    try:
        return card_of_sidecar(json.loads(data)).prompt
    except (ValueError, RecursionError):
        return None
