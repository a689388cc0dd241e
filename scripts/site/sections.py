"""The navigation: sections in the order of a reader, and their pages in the order of reading.

A page in a folder of a section is in that section without being named here. The named pages come
first. A page that is in no section fails the build.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from typing import TypeAlias

#: Patterns of paths below ``docs/``: a page is in the first section that matches.
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "Start": (
        "index.md",
        "start/first-image.md",
        "start/first-batch.md",
        "start/resume.md",
        "start/*",
    ),
    "Concepts": (
        "concepts/life-of-a-generation.md",
        "concepts/slots.md",
        "concepts/what-is-paid.md",
        "concepts/*",
        "how-waiting-works.md",
        "ledger.md",
        "object-storage.md",
        "inputs.md",
        "assets.md",
    ),
    "How-to": (
        "how-to/local-s3.md",
        "how-to/*",
        "tables.md",
        "decorators.md",
        "checks.md",
        "renditions.md",
        "gallery.md",
        "review.md",
        "notifications.md",
        "contact-sheet.md",
        "new-models.md",
        "testing.md",
        "examples/*",
    ),
    "Reference": (
        "reference/index.md",
        "models.md",
        "errors.md",
        "operators/*",
        "cli.md",
        "connection.md",
        "emulator.md",
        "*-reference.md",
        "reference/*",
    ),
    "Operations": (
        "operations/*",
        "recover.md",
        "executors.md",
        "webhooks.md",
        "observability.md",
        "versions.md",
        "stability.md",
        "CHANGELOG.md",
        "development.md",
        "CONTRIBUTING.md",
        "AGENTS.md",
        "source/*",
    ),
    "Security": ("security.md", "security/*", "SECURITY.md"),
    "Costs": ("costs.md", "costs/*", "account.md", "account/*", "reconcile.md"),
    "When to use which": ("when-to-use*", "when-to-use*/*"),
}

#: Folders whose pages are a group of their own within their section.
GROUPS: Mapping[str, str] = {"examples/": "Example DAGs", "source/": "Sources"}

#: A path, or a group of paths with its title.
Entry: TypeAlias = "str | dict[str, list[str]]"
Navigation: TypeAlias = list[dict[str, list[Entry]]]


class SectionError(Exception):
    """A page is in no section."""


def arrange(pages: Iterable[str]) -> Navigation:
    """Return the navigation of mkdocs.

    :param pages: paths below ``docs/``, with their suffix.
    :return: for each section that has pages, its title and their paths.
    :raises SectionError: if a page is in no section.
    """
    rest = sorted(pages)
    navigation: Navigation = []
    for title, patterns in SECTIONS.items():
        chosen = [page for pattern in patterns for page in rest if fnmatch(page, pattern)]
        chosen = list(dict.fromkeys(chosen))
        rest = [page for page in rest if page not in chosen]
        if chosen:
            navigation.append({title: _group(chosen)})
    if rest:
        raise SectionError(
            f"These pages are in no section: {', '.join(rest)}. Move them into a folder that "
            "scripts/site/sections.py names, or name them there."
        )
    return navigation


def pages_of(navigation: Navigation) -> list[tuple[str, str]]:
    """Return each page with the title of its section, in the order of the navigation.

    :param navigation: the result of :func:`arrange`.
    """
    return [
        (title, page)
        for section in navigation
        for title, entries in section.items()
        for entry in entries
        for page in ([entry] if isinstance(entry, str) else next(iter(entry.values())))
    ]


def _group(pages: list[str]) -> list[Entry]:
    """Return the pages of a section, those of a group as one entry at its end."""
    grouped = {folder: [page for page in pages if page.startswith(folder)] for folder in GROUPS}
    single = [page for page in pages if not page.startswith(tuple(GROUPS))]
    return [*single, *({GROUPS[folder]: inner} for folder, inner in grouped.items() if inner)]
