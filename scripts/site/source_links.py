"""Links that lead out of ``docs/``: on the site they lead to copies of the files.

On GitHub ``../example_dags/flux_mapped.py`` is a file of the repository. The site has a page with
its text instead.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]
#: Pages in the root of the repository, which keep their names.
ROOT_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "AGENTS.md")
_LINK = re.compile(r"(?P<before>!?\[[^\]]*\]\()(?P<target>[^)\s#]+)(?P<rest>(#[^)\s]*)?\))")
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LANGUAGES = {".py": "python", ".toml": "toml", ".yaml": "yaml", ".md": "markdown"}


def site_path(path: str) -> str | None:
    """Return the page that shows a file or folder of the repository.

    :param path: path below the repository.
    :return: path below ``docs/``, or ``None`` if the file does not exist.
    """
    if path.startswith("docs/"):
        inner = path.removeprefix("docs/")
        return inner if not inner.startswith("snippets/") else f"source/{path}.md"
    if path in ROOT_PAGES:
        return path
    if path == "README.md":
        return "index.md"
    file = ROOT / path
    if file.is_dir():
        return "examples/index.md" if path == "example_dags" else None
    if not file.is_file():
        return None
    if path.startswith("example_dags/"):
        return f"examples/{file.stem}.md"
    return f"source/{path}.md"


def rewrite_links(text: str, page: str) -> str:
    """Return a page with links that work on the site.

    :param text: the Markdown of the page.
    :param page: path of the page below ``docs/``, or its name in :data:`ROOT_PAGES`.
    """
    at = page if page in ROOT_PAGES else f"docs/{page}"

    def rewrite(link: re.Match[str]) -> str:
        target = link["target"]
        if re.match(r"[a-z]+:", target):
            return link[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(at), target))
        new = site_path(path)
        if new is None or (at.startswith("docs/") and path.startswith("docs/") and new == path[5:]):
            return link[0]
        # The page that stands for the README has other headings.
        rest = ")" if path == "README.md" else link["rest"]
        return f"{link['before']}{_relative(new, page)}{rest}"

    parts = _FENCE.split(text)
    return "".join(part if part.startswith("```") else _LINK.sub(rewrite, part) for part in parts)


def find_sources(text: str, page: str) -> set[str]:
    """Return the files of the repository that a page links to, and that need a page of the site.

    :param text: the Markdown of the page.
    :param page: path of the page, as for :func:`rewrite_links`.
    """
    at = page if page in ROOT_PAGES else f"docs/{page}"
    found = set()
    for link in _LINK.finditer(_FENCE.sub("", text)):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(at), link["target"]))
        if (site_path(path) or "").startswith("source/"):
            found.add(path)
    return found


def source_page(path: str) -> str:
    """Return the page of a file.

    :param path: path of the file below the repository.
    """
    file = ROOT / path
    language = _LANGUAGES.get(file.suffix, "text")
    title = f"# {file.name}\n\nThe file `{path}` of the repository:\n"
    return f"{title}\n````{language}\n{file.read_text(encoding='utf-8').rstrip()}\n````\n"


def example_pages() -> dict[str, str]:
    """Return the pages of the example DAGs, and their list, by path below ``docs/``."""
    pages, rows = {}, []
    for file in sorted((ROOT / "example_dags").glob("flux_*.py")):
        text = file.read_text(encoding="utf-8")
        summary = re.match(r'"""(.*?)(\n\n|""")', text, re.DOTALL)
        first = " ".join(summary[1].split()) if summary else ""
        pages[f"examples/{file.stem}.md"] = (
            f"# {file.stem}\n\n{first}\n\nThe tests run this DAG. Copy it and change the prompt "
            f"and the paths.\n\n```python\n{text.rstrip()}\n```\n"
        )
        rows.append(f"| [{file.stem}]({file.stem}.md) | {first.replace('|', chr(92) + '|')} |")
    head = "# Example DAGs\n\nThe tests run each of these DAGs. Start with the row of your job:\n\n"
    pages["examples/index.md"] = head + "| DAG | content |\n|---|---|\n" + "\n".join(rows) + "\n"
    return pages


def _relative(target: str, page: str) -> str:
    return posixpath.relpath(target, str(PurePosixPath(page).parent))
