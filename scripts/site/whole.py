"""All pages as one: for printing, and for programs that read ``llms.txt``."""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_REFERENCE = re.compile(r'\b(?P<name>href|src)="(?P<target>[^"]*)"')
#: The theme draws the code of a diagram. The program itself expects it without the inner element.
_DIAGRAM = re.compile(r'(<pre class="mermaid">)<code>(.*?)</code>(</pre>)', re.DOTALL)
_ID = re.compile(r'\bid="(?P<id>[^"]+)"')

_PRINT_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="assets/print.css"></head>
<body><h1>{title}</h1><p>All pages of version {version}. Print this page, or save it as PDF.</p>
{body}
<script src="assets/vendor/mermaid.js"></script>
</body></html>
"""


@dataclass(frozen=True)
class SitePage:
    """One page of the built site.

    :param section: title of its section.
    :param title: its title.
    :param url: path of its HTML below the site.
    :param markdown: its text for mkdocs.
    :param summary: its first paragraph in one line.
    :param content: its HTML, without the theme.
    """

    section: str
    title: str
    url: str
    markdown: str
    summary: str
    content: str


def one_page(pages: Sequence[SitePage], title: str, version: str) -> str:
    """Return one HTML page with the content of all pages.

    :param pages: the pages in the order of the navigation.
    :param title: title of the site.
    :param version: version of the package.
    """
    known = {page.url: _anchor(page.url) for page in pages}
    parts, section = [], ""
    for page in pages:
        if page.section != section:
            section = page.section
            parts.append(f'<h1 class="section">{html.escape(section)}</h1>')
        parts.append(f'<article id="{known[page.url]}">{_merge(page, known)}</article>')
    return _PRINT_PAGE.format(title=html.escape(title), version=version, body="\n".join(parts))


def _merge(page: SitePage, known: Mapping[str, str]) -> str:
    """Return the content of a page with anchors and links that work among all others."""
    own = known[page.url]

    def rewrite(match: re.Match[str]) -> str:
        target = match["target"]
        if re.match(r"[a-z]+:|//", target):
            return match[0]
        path, mark, fragment = target.partition("#")
        joined = posixpath.normpath(posixpath.join(posixpath.dirname(page.url), path))
        if match["name"] == "src" or (path and joined not in known):
            return f'{match["name"]}="{joined}{mark}{fragment}"'
        anchor = known[joined] if path else own
        return f'href="#{anchor}{"--" + fragment if fragment else ""}"'

    content = _ID.sub(lambda match: f'id="{own}--{match["id"]}"', page.content)
    return _DIAGRAM.sub(r"\1\2\3", _REFERENCE.sub(rewrite, content))


def _anchor(url: str) -> str:
    return re.sub(r"[^\w-]+", "-", url.removesuffix(".html"))


def llms_index(pages: Sequence[SitePage], title: str, description: str) -> str:
    """Return ``llms.txt``: the pages with their summaries, by section.

    :param pages: the pages in the order of the navigation.
    :param title: title of the site.
    :param description: one line about the package.
    """
    lines, section = [f"# {title}", "", f"> {description}"], ""
    for page in pages:
        if page.section != section:
            section = page.section
            lines += ["", f"## {section}", ""]
        lines.append(f"- [{page.title}]({_markdown_url(page)}): {page.summary}".rstrip(": "))
    return "\n".join(lines) + "\n"


def llms_full(pages: Sequence[SitePage]) -> str:
    """Return ``llms-full.txt``: the text of all pages.

    :param pages: the pages in the order of the navigation.
    """
    return "\n\n".join(
        f"<!-- {_markdown_url(page)} -->\n\n{page.markdown.strip()}" for page in pages
    )


def markdown_files(pages: Sequence[SitePage]) -> dict[str, str]:
    """Return the text of each page, by the path that ``llms.txt`` links to.

    :param pages: all pages.
    """
    return {_markdown_url(page): page.markdown for page in pages}


def _markdown_url(page: SitePage) -> str:
    return f"{page.url.removesuffix('.html')}.md"
