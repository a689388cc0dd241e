"""A page of ``docs/`` as mkdocs needs it. On GitHub the same file is read without these changes."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from scripts.site.source_links import rewrite_links

_COMMENT = re.compile(r"^<!--.*?-->\n+", re.MULTILINE | re.DOTALL)
#: Pictures in light and dark. On the site a reader can choose the scheme, which a media query does
#: not see.
_PICTURE = re.compile(
    r"<picture>\s*<source[^>]*srcset=\"(?P<dark>[^\"]+)\"[^>]*>\s*"
    r"<img\s+alt=\"(?P<alt>[^\"]*)\"\s+src=\"(?P<light>[^\"]+)\"[^>]*>\s*</picture>"
)
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
#: A link whose text is the name of a file, which readers of the site do not know.
_FILE_LINK = re.compile(r"\[[\w./-]+\.md\]\((?P<path>[\w./-]+\.md)(?P<anchor>#[\w-]+)?\)")


def prepare_page(text: str, page: str, titles: Mapping[str, str]) -> str:
    """Return the Markdown for mkdocs.

    :param text: the page.
    :param page: its path below ``docs/``, or its name in the root of the repository.
    :param titles: title of each page by its path. A link that shows the name of a file shows the
        title in its place.
    """
    parts = _FENCE.split(rewrite_links(text, page))
    return "".join(
        part if part.startswith("```") else _prepare_prose(part, page, titles) for part in parts
    )


def _prepare_prose(text: str, page: str, titles: Mapping[str, str]) -> str:
    def name_by_title(match: re.Match[str]) -> str:
        path = match["path"]
        title = titles.get(posixpath.normpath(posixpath.join(posixpath.dirname(page), path)))
        return f"[{title}]({path}{match['anchor'] or ''})" if title else match[0]

    text = _FILE_LINK.sub(name_by_title, _COMMENT.sub("", text))
    return _PICTURE.sub(
        lambda match: (
            f"![{match['alt']}]({match['light']}#only-light)"
            f"![{match['alt']}]({match['dark']}#only-dark)"
        ),
        text,
    )


def summary_of(text: str) -> str:
    """Return the first paragraph of a page in one line, without links.

    :param text: the Markdown of the page.
    """
    for block in _COMMENT.sub("", text).split("\n\n"):
        plain = " ".join(block.split())
        if plain and not re.match(r"#|```|\||!\[|<|- \[", plain):
            plain = re.sub(r"^- ", "", re.split(r" - (?=\S)", plain)[0])
            return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", plain)
    return ""


def title_of(text: str) -> str:
    """Return the title of a page.

    :param text: the Markdown of the page.
    """
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    return title[1].replace("`", "") if title else ""
