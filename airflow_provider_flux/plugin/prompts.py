"""Prompts of images that a task returned: they are in the sidecars alone."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from threading import Lock

from airflow_provider_flux.gallery.card import Card, CardOrigin, card_of_sidecar
from airflow_provider_flux.plugin.stored_objects import read_hints

#: Seconds that a page waits for sidecars. The prompts of others are left out.
_SECONDS = 1.0
#: Bytes of the largest sidecar that is read for its prompt. A page reads up to 100 at a time.
_MAX_BYTES = 256 * 1024
#: Seconds that a search waits for sidecars, and the sidecars that it reads at most. What it has
#: read is kept, so the next search goes on from there.
_SEARCH_SECONDS = 4.0
_MAX_SEARCHED = 2000
#: Prompts that are kept, of at most 2000 characters each.
_CACHED_PROMPTS = 5000

#: A prompt counts only for the task whose arguments allow it to name the sidecar.
_PromptKey = tuple[CardOrigin, str, str | None]
_PROMPTS: OrderedDict[_PromptKey, str | None] = OrderedDict()
_LOCK = Lock()


def add_prompts(cards: Sequence[Card], is_allowed: Callable[[Card, str], bool]) -> list[Card]:
    """Return some cards with the prompts that their sidecars have.

    :param cards: the cards of one page.
    :param is_allowed: whether a card may name the URI of its sidecar.
    """
    return _add_prompts(cards, is_allowed, len(cards), _SECONDS)[0]


def add_prompts_to_search(
    cards: Sequence[Card], is_allowed: Callable[[Card, str], bool], *, limit: int = _MAX_SEARCHED
) -> tuple[list[Card], int]:
    """Return all cards of a view with the prompts that their sidecars have, as far as a search may.

    :param cards: the cards.
    :param is_allowed: as for :func:`add_prompts`.
    :param limit: most sidecars to read, 2,000 by default.
    :return: the cards, and the number of sidecars that were not read: there are too many, or the
        store did not send them in time.
    """
    return _add_prompts(cards, is_allowed, limit, _SEARCH_SECONDS)


def _add_prompts(
    cards: Sequence[Card], is_allowed: Callable[[Card, str], bool], limit: int, seconds: float
) -> tuple[list[Card], int]:
    keys = [_key_of(card) for card in cards]
    unknown = {
        key: card for card, key in zip(cards, keys, strict=True) if key and key not in _PROMPTS
    }
    missing = [key for key, card in islice(unknown.items(), limit) if is_allowed(card, key[1])]
    uris = list(dict.fromkeys(uri for _, uri, _ in missing))
    found = {uri: _prompt_of(data) for uri, data in read_hints(uris, _MAX_BYTES, seconds).items()}
    read = {key: found[key[1]] for key in missing if key[1] in found}
    with _LOCK:
        _PROMPTS.update(read)
        shown = [
            replace(card, prompt=_PROMPTS.get(key)) if key else card
            for card, key in zip(cards, keys, strict=True)
        ]
        while len(_PROMPTS) > _CACHED_PROMPTS:
            _PROMPTS.popitem(last=False)
    return shown, len(unknown) - len(read)


def _key_of(card: Card) -> _PromptKey | None:
    """Return the key of the prompt of a card; ``None`` if it has one, or no sidecar."""
    if card.prompt is not None or card.sidecar is None:
        return None
    return card.origin, card.sidecar, card.sha256


def _prompt_of(data: bytes) -> str | None:
    try:
        return card_of_sidecar(json.loads(data)).prompt
    except (ValueError, RecursionError):
        return None
