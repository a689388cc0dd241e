"""Print what ``airflow flux costs`` costs over the ledgers of a month.

``python -m benchmarks.costs [IMAGES]`` writes the ledgers of 100,000 images to a temporary folder:
nine of ten in the journals of batches, the others in records. Then it sums them up four times: the
first time without an index, again with it, again after one journal of them has grown, and by day.
Each time is a process of its own. It prints CPU seconds and the peak of the memory, beside those of
a process that opens the store and reads nothing. It ends with 1 if a second time takes
more than 2 s of CPU beside the opening of the store.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

_LIMIT_SECONDS = 2.0
_BATCH_ROWS = 5000
_CHILD = """
import json, resource, sys, time
from pathlib import Path
from airflow_provider_flux.accounting.costs.index_file import open_index
from airflow_provider_flux.accounting.costs.period import parse_period
from airflow_provider_flux.accounting.costs.report import read_report
from airflow_provider_flux.accounting.costs.sources import (
    check_folders, refresh_scope, scope_of_folders,
)
began, started = time.process_time(), time.monotonic()
total = {}
folders = [sys.argv[1]]
check_folders(folders)
if sys.argv[3] != "nothing":
    scope, index = scope_of_folders(folders), open_index(Path(sys.argv[2]))
    read = refresh_scope(index, scope).read
    report = read_report(index.connection, scope, sys.argv[3], parse_period(None, None))
    total = {"read": read, "submits": report.total.submits, "credits": report.total.credits}
print(json.dumps({
    "cpu": time.process_time() - began, "wall": time.monotonic() - started,
    "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, **total,
}))
"""


def main() -> None:
    """Print the table."""
    from tests.support.cost_ledgers import row_entries, write_journal, write_month

    images = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    singles = images // 10
    batches = [_BATCH_ROWS] * ((images - singles) // _BATCH_ROWS)
    batches.append(images - singles - sum(batches))
    with tempfile.TemporaryDirectory() as folder:
        ledger, cache = Path(folder, "ledger"), Path(folder, "cache")
        ledger.mkdir()
        cache.mkdir(mode=0o700)
        write_month(ledger, batches, singles)
        columns = ("objects read", "CPU s", "wall s", "peak MiB", "credits")
        print("{:24}{:>14}{:>8}{:>8}{:>10}{:>12}".format("", *columns))
        alone = _show("open the store alone", ledger, cache, "nothing")
        first = _show("first", ledger, cache, "dag")
        again = _show("again", ledger, cache, "dag")
        write_journal(ledger, (entry for n in range(200) for entry in row_entries(n)))
        grown = _show("again, with 200 more", ledger, cache, "dag")
        _show("again, by day", ledger, cache, "day")
        size = sum(file.stat().st_size for file in cache.iterdir()) / 2**20
        print(f"The index has {size:.1f} MiB.")
    if first["submits"] != images or grown["submits"] != images + 200:
        raise SystemExit("Not every submit counts once.")
    if again["cpu"] - alone["cpu"] > _LIMIT_SECONDS:
        raise SystemExit(f"A second time takes more than {_LIMIT_SECONDS} s of CPU.")


def _show(name: str, ledger: Path, cache: Path, by: str) -> dict[str, float]:
    command = [sys.executable, "-c", _CHILD, str(ledger), str(cache), by]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    print(
        f"{name:24}{figures.get('read', 0):14,}{figures['cpu']:8.2f}{figures['wall']:8.2f}"
        f"{figures['mib']:10.0f}{figures.get('credits', 0):12,.0f}"
    )
    return figures


if __name__ == "__main__":
    main()
