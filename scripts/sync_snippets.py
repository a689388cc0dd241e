"""Keep the code in README.md and docs/ equal to the tested files that it comes from.

A marker such as ``<!-- snippet: example_dags/flux_mapped.py#flux_mapped -->`` precedes a fenced
block. The block contains the lines between ``[START flux_mapped]`` and ``[END flux_mapped]`` of
that file. ``python scripts/sync_snippets.py`` rewrites the blocks. With ``--check`` it only lists
the stale ones.
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
    """The region of a marker does not exist, or no fenced block follows the marker."""


@dataclass(frozen=True)
class Snippet:
    """A fenced block in a page.

    :param source: file and region, as in the marker.
    :param start: offset of the code in the text of the page.
    :param end: offset of the end of the code.
    :param current: the code in the page.
    :param expected: the code in the file.
    """

    source: str
    start: int
    end: int
    current: str
    expected: str


def list_pages(root: Path) -> list[Path]:
    """Return the pages that may contain snippets.

    :param root: folder of the repository.
    """
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def read_region(path: Path, name: str) -> str:
    """Return the lines between the START and END comments of a region, dedented.

    :param path: the file.
    :param name: name of the region.
    :raises SnippetError: if the file or the region does not exist.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise SnippetError(f"{path} cannot be read ({error.strerror})") from None
    bounds = [
        n
        for n, line in enumerate(lines)
        if line.strip() in {f"# [START {name}]", f"# [END {name}]"}
    ]
    if len(bounds) != 2 or "[START" not in lines[bounds[0]]:
        raise SnippetError(f"{path} has no region [START {name}] ... [END {name}]")
    return textwrap.dedent("\n".join(lines[bounds[0] + 1 : bounds[1]])).strip("\n") + "\n"


def find_snippets(text: str, root: Path) -> Iterator[Snippet]:
    """Yield the snippets of a page in their order.

    :param text: the page.
    :param root: folder of the repository.
    :raises SnippetError: if a marker is wrong.
    """
    for marker in _MARKER.finditer(text):
        block = _BLOCK.match(text, marker.end())
        if block is None:
            raise SnippetError(f"no fenced block below {marker[0]}")
        expected = read_region(root / marker["path"], marker["name"])
        source = f"{marker['path']}#{marker['name']}"
        yield Snippet(source, block.start("code"), block.end("code"), block["code"], expected)


def sync_page(text: str, root: Path) -> tuple[str, list[str]]:
    """Return the page with updated snippets, and the sources of the stale ones.

    :param text: the page.
    :param root: folder of the repository.
    :raises SnippetError: if a marker is wrong.
    """
    snippets = list(find_snippets(text, root))
    for snippet in reversed(snippets):
        text = text[: snippet.start] + snippet.expected + text[snippet.end :]
    return text, [snippet.source for snippet in snippets if snippet.current != snippet.expected]


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Update all pages, or check them.

    :param argv: arguments of the command line, by default those of the process.
    :param root: folder of the repository.
    :return: the exit code.
    """
    parser = argparse.ArgumentParser(description="Update the snippets in README.md and docs/.")
    parser.add_argument(
        "--check", action="store_true", help="change nothing, exit 1 if a snippet is stale"
    )
    options = parser.parse_args(argv)
    stale = 0
    for page in list_pages(root):
        before = page.read_text(encoding="utf-8")
        try:
            after, sources = sync_page(before, root)
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
