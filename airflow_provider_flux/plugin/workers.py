"""Threads of the plugin for what blocks: queries of the database, and requests to stores.

Airflow's own pages use the threads of the API server. A store that hangs must not take those. The
number of threads also bounds the memory, because each holds one object at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

_DATABASE_THREADS = 4
_STORE_THREADS = 8
_DATABASE = ThreadPoolExecutor(_DATABASE_THREADS, thread_name_prefix="flux-database")
_STORES = ThreadPoolExecutor(_STORE_THREADS, thread_name_prefix="flux-stores")

#: Manifests are small reads that mostly wait, and a page of a DAG opens many.
_MANIFEST_THREADS = 8
_MANIFESTS = ThreadPoolExecutor(_MANIFEST_THREADS, thread_name_prefix="flux-manifests")

#: A sum over the costs of months takes a second of one core. Others wait for their turn.
_COST_THREADS = 2
_COSTS = ThreadPoolExecutor(_COST_THREADS, thread_name_prefix="flux-costs")

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V")


async def in_database_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function that asks the database alone.

    :param function: the function.
    :param args: its positional arguments.
    :param kwargs: its named arguments.
    :return: what it returns.
    """
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_DATABASE, partial(function, *args, **kwargs))


async def in_store_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function that asks a store.

    :param function: the function.
    :param args: its positional arguments.
    :param kwargs: its named arguments.
    :return: what it returns.
    """
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_STORES, partial(function, *args, **kwargs))


async def in_cost_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function that asks the index of costs.

    :param function: the function.
    :param args: its positional arguments.
    :param kwargs: its named arguments.
    :return: what it returns.
    """
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_COSTS, partial(function, *args, **kwargs))


def map_in_manifest_threads(function: Callable[[T], V], values: Iterable[T]) -> list[V]:
    """Run a function that opens a manifest for some values at the same time, and wait for all.

    Call it in a store thread, not on an event loop.

    :param function: the function.
    :param values: the values.
    :return: what it returns, in their order.
    """
    return list(_MANIFESTS.map(function, values))
