"""Print time and memory of the gallery's pages in the API server, beside Airflow's own grid page.

``python -m benchmarks.gallery_server [ROWS]`` lands a batch of 2,000 rows of the emulator, starts
an API server, and asks for each page several times. The pages take turns, so a busy machine slows
all of them alike. CPU is that of the server, and memory is its share (PSS) after all requests for a
page, with what earlier pages have loaded.

Airflow's grid is a page of JavaScript. Its row is the sum of the requests by which the browser gets
its data, without those for the script itself.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.figures import check_at_most
from benchmarks.usage import cpu_of, memory_of

if TYPE_CHECKING:
    import httpx

    from tests.support.gallery_site import GallerySite

ROWS = 2000
ROUNDS = 20
#: Titles of the columns of figures.
HEADER = ("first ms", "median ms", "CPU ms", "kB", "MiB")
#: Times the CPU of the grid that a page of 100 images may take.
MOST_CPU = 3.0
#: MiB by which all requests may raise the memory of the server.
MOST_GROWTH = 120.0


@dataclass
class Figures:
    """What the requests for one page cost.

    :ivar name: name of the page.
    :ivar urls: its requests.
    :ivar seconds: seconds of each round.
    :ivar cpu: CPU seconds of the server in each round.
    :ivar size: bytes of the last answers.
    :ivar memory: MiB of the server after the last round.
    """

    name: str
    urls: Sequence[str]
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    size: int = 0
    memory: float = 0.0

    def ask(self, client: httpx.Client, server: Callable[[], list[psutil.Process]]) -> None:
        """Ask once for the page."""
        processes = server()
        before, started = cpu_of(processes), time.perf_counter()
        answers = [client.get(url) for url in self.urls]
        self.seconds.append(time.perf_counter() - started)
        self.cpu.append(cpu_of(processes) - before)
        for answer in answers:
            answer.raise_for_status()
        self.size = sum(len(answer.content) for answer in answers)
        self.memory = memory_of(processes)

    @property
    def cpu_milliseconds(self) -> float:
        """CPU milliseconds of a round. A process counts hundredths of a second, so it is a mean."""
        return 1000 * statistics.mean(self.cpu[1:])

    def __str__(self) -> str:
        """Return the row of the table."""
        median = 1000 * statistics.median(self.seconds[1:])
        return (
            f"{self.name:38}{1000 * self.seconds[0]:10.0f}{median:10.1f}"
            f"{self.cpu_milliseconds:10.1f}{self.size / 1000:10.0f}{self.memory:10.0f}"
        )


def main(arguments: Sequence[str]) -> int:
    """Print the table and the checks.

    :param arguments: number of rows, optional.
    :return: the exit code.
    """
    rows = int(arguments[0]) if arguments else ROWS
    with tempfile.TemporaryDirectory(prefix="flux-gallery-server-") as home:
        # Before the first import of Airflow, which reads its home then.
        os.environ["AIRFLOW_HOME"] = home
        os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
        from tests.support.gallery_site import gallery_site

        with gallery_site(Path(home), rows, is_drawn=False) as site:
            return print_figures(site)


def print_figures(site: GallerySite) -> int:
    """Ask the server for all pages, and print what they cost.

    :param site: the server, with its images.
    :return: the exit code.
    """
    client = site.server.client("admin")
    own = server_processes(site.server.url)
    client.get("/api/v2/version").raise_for_status()
    start = memory_of(own())
    pages = _pages(site)
    for _ in range(ROUNDS):
        for page in pages:
            page.ask(client, own)
    print(f"batch of {site.rows:,} rows; the server starts with {start:.0f} MiB")
    print(f"{'':38}" + "".join(f"{name:>10}" for name in HEADER))
    for page in pages:
        print(page)
    grid, tiles = pages[0], pages[1]
    ratio = tiles.cpu_milliseconds / max(grid.cpu_milliseconds, 0.1)
    checks = [
        check_at_most("CPU of a page of 100 images, times the grid", ratio, MOST_CPU, ".2f"),
        check_at_most("growth of the server in MiB", memory_of(own()) - start, MOST_GROWTH, ".0f"),
    ]
    return 0 if all(checks) else 1


def _pages(site: GallerySite) -> list[Figures]:
    from tests.support.gallery_site import BATCH_DAG

    run, page = site.run_ids[BATCH_DAG], site.batch_page
    last = site.rows - site.rows % 100 - 100
    return [
        Figures("Airflow's grid", [site.url(url) for url in _grid_urls(BATCH_DAG, run)]),
        Figures("batch, the first 100 images", [page]),
        Figures("batch, the last 100 images", [f"{page}?offset={last}&part=tiles"]),
        Figures("batch, filtered by a text", [f"{page}?text=lamp"]),
        Figures("run with six tasks", [site.run_page]),
        Figures("a thumbnail", [f"{page}/objects/0/thumb"]),
        Figures("an image in full size", [f"{page}/objects/0/full"]),
    ]


def _grid_urls(dag_id: str, run_id: str) -> list[str]:
    base = "/ui/grid"
    return [
        f"/dags/{dag_id}",
        f"/api/v2/dags/{dag_id}/details",
        f"{base}/structure/{dag_id}?limit=10",
        f"{base}/runs/{dag_id}?limit=10",
        f"{base}/ti_summaries/{dag_id}?run_ids={run_id}",
    ]


def server_processes(url: str) -> Callable[[], list[psutil.Process]]:
    """Return a function that finds the processes of a server: those that listen at its port.

    :param url: URL of the server.
    """
    port = url.rpartition(":")[2]

    def find() -> list[psutil.Process]:
        me: Any = psutil.Process()
        children = me.children(recursive=True)
        # Airflow writes its own title over the arguments of the process.
        servers = [child for child in children if port in " ".join(child.cmdline())]
        found = {process.pid: process for process in servers}
        for server in servers:
            found |= {child.pid: child for child in server.children(recursive=True)}
        return list(found.values())

    return find


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
