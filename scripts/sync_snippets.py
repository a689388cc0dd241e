"""Keep the code in README.md and docs/ equal to the tested files it comes from.

A marker such as ``<!-- snippet: example_dags/flux_mapped.py#flux_mapped -->`` stands above a fenced block,
which then holds what lies between ``[START flux_mapped]`` and ``[END flux_mapped]`` of that file.
``python scripts/sync_snippets.py`` rewrites the blocks; with ``--check`` it only names the stale ones.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_MARKER = re.compile(r"^<!-- snippet: (?P<path>[^#\s]+)#(?P<name>\S+) -->$", re.MULTILINE)
_BLOCK = re.compile(r"\n+```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


class SnippetError(Exception):
    """A marker names no region, or stands above no fenced block."""


@dataclass(frozen=True)
class Snippet:
    """A fenced block in a page.

    :param start: where the code begins in the text of the page.
    :param end: where it ends.
    """

    source: str
    start: int
    end: int
    shown: str
    wanted: str


def pages(root: Path) -> list[Path]:
    """Return the pages that may hold snippets."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def region(path: Path, name: str) -> str:
    """Return what lies between the START and END comments of a region, dedented.

    :raises SnippetError: if there is no such file or region.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SnippetError(f"{path} cannot be read ({error.strerror})") from None
    found = [
        n
        for n, line in enumerate(lines)
        if line.strip() in {f"# [START {name}]", f"# [END {name}]"}
    ]
    if len(found) != 2 or "[START" not in lines[found[0]]:
        raise SnippetError(f"{path} has no region [START {name}] ... [END {name}]")
    return textwrap.dedent("\n".join(lines[found[0] + 1 : found[1]])).strip("\n") + "\n"


def snippets(text: str, root: Path) -> Iterator[Snippet]:
    """Yield the snippets of a page in their order.

    :raises SnippetError: if a marker is wrong.
    """
    for marker in _MARKER.finditer(text):
        block = _BLOCK.match(text, marker.end())
        if block is None:
            raise SnippetError(f"no fenced block below {marker[0]}")
        wanted = region(root / marker["path"], marker["name"])
        source = f"{marker['path']}#{marker['name']}"
        yield Snippet(source, block.start("code"), block.end("code"), block["code"], wanted)


def synced(text: str, root: Path) -> tuple[str, list[str]]:
    """Return the page with its snippets renewed, and the sources of those that were stale."""
    found = list(snippets(text, root))
    for snippet in reversed(found):
        text = text[: snippet.start] + snippet.wanted + text[snippet.end :]
    return text, [snippet.source for snippet in found if snippet.shown != snippet.wanted]


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Renew all pages, or check them; return the exit code."""
    parser = argparse.ArgumentParser(description="Renew the snippets in README.md and docs/.")
    parser.add_argument(
        "--check", action="store_true", help="change nothing, exit 1 if a snippet is stale"
    )
    options = parser.parse_args(argv)
    stale = 0
    for page in pages(root):
        before = page.read_text(encoding="utf-8")
        try:
            after, sources = synced(before, root)
        except SnippetError as error:
            print(f"{page.relative_to(root)}: {error}", file=sys.stderr)
            return 1
        for source in sources:
            print(
                f"{page.relative_to(root)}: {source} {'is stale' if options.check else 'renewed'}"
            )
        if sources and not options.check:
            page.write_text(after, encoding="utf-8")
        stale += len(sources)
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
