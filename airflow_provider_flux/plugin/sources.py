"""Cards of a task instance, a run or a DAG, from what its tasks have recorded."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from threading import Lock

from airflow_provider_flux.bfl.catalog.model import MIB
from airflow_provider_flux.bfl.errors import FluxError
from airflow_provider_flux.gallery.card import Card, CardOrigin, card_of_generation
from airflow_provider_flux.gallery.card_source import CardList, CardSource, ChainedCards
from airflow_provider_flux.gallery.index_format import DamagedIndexError
from airflow_provider_flux.gallery.indexed_cards import IndexedCards
from airflow_provider_flux.gallery.manifest_cards import PlainLimits, open_manifest_cards
from airflow_provider_flux.plugin.prompts import add_prompts_to_search
from airflow_provider_flux.plugin.readable_cards import ReadableCards
from airflow_provider_flux.plugin.task_paths import TaskPaths
from airflow_provider_flux.plugin.task_records import TaskRecord, find_record, find_records
from airflow_provider_flux.plugin.workers import map_in_manifest_threads

#: Seconds for which the cards of a task instance are known without a new query.
_CACHE_SECONDS = 10.0
#: Task instances of the cache. Each holds the cards that it returned, or an opened index.
_CACHED_TASKS = 256
#: Cards of a task instance that returned a list, as far as the cache keeps them.
_MAX_CACHED_CARDS = 2000
#: Batches of one page. Each keeps up to 64 KiB of its index in memory, and needs three requests.
MAX_BATCHES = 200
#: Limits of a manifest that is shown without an index, which is built from all its rows.
_PLAIN_LIMITS = PlainLimits(bytes=64 * MIB, rows=100_000, has_parquet=False)
_NO_MANIFEST = (
    "Its manifest is gone, has no index and is too large or Parquet, or the API server cannot read "
    "its store."
)
_DAMAGED = "The index of its manifest is damaged, or was replaced while the page was read."
_NO_PROMPTS = (
    "Its prompts were not searched: its manifest has no index, which the batch of this version "
    "writes beside it."
)
_UNREAD = (
    "their sidecars could not be read in time, or at all. Search again, which reads more of them, "
    "or open the page of a run or a task, which has fewer."
)
#: Why a task has no image yet, by its state. A task in another state has no card.
_REASONS = {
    "failed": "The task failed. Its log says why.",
    "up_for_retry": "The task waits for its next try.",
    "running": "The task runs.",
    "deferred": "The task waits for BFL on the triggerer.",
    "queued": "The task waits for a worker.",
    "scheduled": "The task waits for a slot.",
    "awaiting_input": "The task waits for a decision.",
}


@dataclass(frozen=True)
class TaskCards:
    """The cards of one task instance.

    :param cards: the cards.
    :param paths: where its objects are.
    :param notice: a sentence about cards that cannot be shown; ``None`` if there are none.
    """

    cards: CardSource
    paths: TaskPaths
    notice: str | None = None


@dataclass(frozen=True)
class PageCards:
    """The cards of a page.

    :param cards: the cards.
    :param notices: sentences about cards that cannot be shown.
    :param paths: where the objects of each task instance are.
    """

    cards: CardSource
    notices: Sequence[str]
    paths: Mapping[CardOrigin, TaskPaths]

    def may_name(self, card: Card, uri: str) -> bool:
        """Whether a card may name an object: its task writes there.

        :param card: a card of the page.
        :param uri: URI of the object.
        """
        return self.paths[card.origin].has(uri)


def cards_of_page(
    dag_id: str,
    run_id: str | None = None,
    task_id: str | None = None,
    map_index: int | None = None,
    *,
    is_search: bool = False,
    max_batches: int = MAX_BATCHES,
) -> PageCards:
    """Return the cards of a DAG, a run, a task or a task instance.

    Call it in a thread: it waits for the database and the stores.

    :param dag_id: id of the DAG.
    :param run_id: id of the run; ``None`` for all runs.
    :param task_id: id of the task; ``None`` for all tasks.
    :param map_index: map index of the task instance; ``None`` for all.
    :param is_search: whether a text is searched, which needs the prompts of all cards.
    :param max_batches: batches whose rows are shown, 200 by default.
    """
    found = find_records(dag_id, run_id, task_id, map_index)
    paths = {record.origin: TaskPaths(record) for record in found.tasks}
    own = _count_costs_once(found.tasks, {item.origin: _own_cards(item) for item in found.tasks})
    batches = [record for record in found.tasks if own[record.origin] is None]
    TaskPaths.load(paths[record.origin] for record in batches[:max_batches])
    opened = {
        task.paths.origin: task
        for task in map_in_manifest_threads(
            lambda record: _open_batch(record, paths[record.origin]), batches[:max_batches]
        )
    }
    sentences = (
        f"{origin.task_id}: {task.notice}" for origin, task in opened.items() if task.notice
    )
    notices = list(dict.fromkeys(sentences))
    if len(batches) > max_batches:
        notices.append(f"There are {len(batches)} batches. The first {max_batches} are shown.")
    if found.has_more:
        notices.append(f"There are more tasks. The first {len(found.tasks)} are shown.")
    if is_search:
        own, unread = _add_prompts(own, paths)
        notices += [*_notices_of_search(opened), *unread]
    return PageCards(ChainedCards(_chain(own, opened, notices)), notices, paths)


def _count_costs_once(
    records: Sequence[TaskRecord], own: Mapping[CardOrigin, list[Card] | None]
) -> Mapping[CardOrigin, list[Card] | None]:
    """Return the cards of tasks, without the cost of an image that another card has too.

    The card of the task that submitted the request keeps the cost.
    """
    transfers = {record.origin for record in records if record.is_transfer}
    if not transfers:
        return own
    submitted = {
        card.request_id
        for origin, cards in own.items()
        if origin not in transfers
        for card in cards or ()
        if card.request_id and card.cost is not None
    }
    return {
        origin: [
            replace(card, cost=None) if card.request_id in submitted else card for card in cards
        ]
        if cards is not None and origin in transfers
        else cards
        for origin, cards in own.items()
    }


def _add_prompts(
    own: Mapping[CardOrigin, list[Card] | None], paths: Mapping[CardOrigin, TaskPaths]
) -> tuple[dict[CardOrigin, list[Card] | None], list[str]]:
    """Return the cards of tasks with their prompts, and a sentence if some are missing."""
    singles = [card for cards in own.values() for card in cards or ()]
    TaskPaths.load(paths[card.origin] for card in singles if card.sidecar)
    cards, unread = add_prompts_to_search(singles, lambda card, uri: paths[card.origin].has(uri))
    rest = iter(cards)
    added = {
        origin: None if cards is None else list(islice(rest, len(cards)))
        for origin, cards in own.items()
    }
    if not unread:
        return added, []
    images = "1 image" if unread == 1 else f"{unread:,} images"
    return added, [f"The prompts of {images} were not searched: {_UNREAD}"]


def _notices_of_search(opened: Mapping[CardOrigin, TaskCards]) -> list[str]:
    """Return a sentence for each batch in whose prompts a search cannot look."""
    found = (
        f"{origin.task_id}: {_NO_PROMPTS}"
        for origin, task in opened.items()
        if isinstance(task.cards, IndexedCards) and not task.cards.has_prompts
    )
    return list(dict.fromkeys(found))


def _chain(
    own: Mapping[CardOrigin, list[Card] | None],
    opened: Mapping[CardOrigin, TaskCards],
    notices: list[str],
) -> list[CardSource]:
    """Return the sources of a page, in its order. Cards of tasks beside each other are one list.

    :param notices: sentences about the page, to which a source adds one if it is damaged.
    """
    sources: list[CardSource] = []
    singles: list[Card] = []
    for origin, cards in own.items():
        if cards is not None:
            singles += cards
        elif origin in opened:
            report = partial(notices.append, f"{origin.task_id}: {_DAMAGED}")
            sources += [CardList(singles), ReadableCards(opened[origin].cards, report)]
            singles = []
    return [*sources, CardList(singles)]


def card_of_task(origin: CardOrigin, index: int) -> tuple[Card, TaskPaths] | None:
    """Return one card of a task instance, and where the objects of the task are.

    Call it in a thread: it waits for the database and the stores.

    :param origin: the task instance.
    :param index: ``index`` of the card.
    :return: ``None`` if there is none.
    """
    task = _CACHE.get(origin)
    if task is None:
        record = find_record(origin)
        if record is None:
            return None
        cards = _own_cards(record)
        paths = TaskPaths(record)
        task = _open_batch(record, paths) if cards is None else TaskCards(CardList(cards), paths)
        _CACHE.put(origin, task)
    card = ReadableCards(task.cards).card(index)
    return None if card is None else (card, task.paths)


def _own_cards(record: TaskRecord) -> list[Card] | None:
    """Return the cards that a task instance itself returned; ``None`` for a batch.

    A review returns copies of images that another task has paid, so its cards have no cost.
    """
    cards = _returned_cards(record)
    if cards is None or not record.is_review:
        return cards
    return [replace(card, cost=None) for card in cards]


def _returned_cards(record: TaskRecord) -> list[Card] | None:
    returned = record.returned
    if _manifest_of(record) is not None:
        return None
    if isinstance(returned, list):
        generations = filter(_is_generation, returned)
        return [
            card_of_generation(item, index=index, origin=record.origin)
            for index, item in enumerate(generations)
        ]
    if _is_generation(returned):
        return [card_of_generation(returned, origin=record.origin)]
    if record.is_batch:
        return None
    reason = _REASONS.get(record.state or "")
    if reason is None or returned is not None:
        return []
    key = record.origin.task_id
    if record.origin.map_index >= 0:
        key = f"{key}[{record.origin.map_index}]"
    return [Card(key=key, outcome=record.state or "", reason=reason, origin=record.origin)]


def _open_batch(record: TaskRecord, paths: TaskPaths) -> TaskCards:
    uri = paths.manifest(_manifest_of(record))
    if uri is None:
        text = "Its manifest is not where the arguments of the task say, or they are not known."
        return TaskCards(CardList(()), paths, text)
    try:
        cards = open_manifest_cards(uri, record.origin, _PLAIN_LIMITS)
        return TaskCards(cards, paths)
    except (FluxError, DamagedIndexError):
        is_working = record.state in _REASONS and record.state != "failed"
        text = "It has not written a manifest yet." if is_working else _NO_MANIFEST
        return TaskCards(CardList(()), paths, text)


def _manifest_of(record: TaskRecord) -> str | None:
    """Return the manifest that the summary of a batch names; ``None`` if there is no summary."""
    for value in (record.returned, record.summary):
        if isinstance(value, Mapping) and isinstance(uri := value.get("manifest"), str):
            return uri
    return None


def _is_generation(value: object) -> bool:
    return isinstance(value, Mapping) and "request_id" in value and "image" in value


class _TaskCache:
    """The cards of the task instances whose objects a browser asks for, for some seconds."""

    def __init__(self) -> None:
        self._entries: OrderedDict[CardOrigin, tuple[float, TaskCards]] = OrderedDict()
        self._lock = Lock()

    def get(self, origin: CardOrigin) -> TaskCards | None:
        """Return the cards of a task instance; ``None`` if they are not known, or too old."""
        with self._lock:
            since, task = self._entries.get(origin, (0.0, None))
            return task if time.monotonic() - since < _CACHE_SECONDS else None

    def put(self, origin: CardOrigin, task: TaskCards) -> None:
        """Keep the cards of a task instance."""
        is_large = isinstance(task.cards, CardList) and task.cards.totals.cards > _MAX_CACHED_CARDS
        if is_large:
            return
        with self._lock:
            self._entries[origin] = (time.monotonic(), task)
            self._entries.move_to_end(origin)
            while len(self._entries) > _CACHED_TASKS:
                self._entries.popitem(last=False)


_CACHE = _TaskCache()
