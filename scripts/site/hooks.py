"""Events of mkdocs: the files, the navigation and the extra outputs of the site."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

from scripts.site.pages import prepare_page, summary_of, title_of
from scripts.site.reference import build_reference
from scripts.site.sections import arrange, pages_of
from scripts.site.source_links import (
    ROOT,
    ROOT_PAGES,
    example_pages,
    find_sources,
    source_page,
)
from scripts.site.whole import SitePage, llms_full, llms_index, markdown_files, one_page

#: Environment variables that ``python -m scripts.site`` sets: outputs of steps before this one.
FACTS, VENDOR = "FLUX_SITE_FACTS", "FLUX_SITE_VENDOR"
#: Programs that the theme would fetch from another host, and the packages that have them.
_VENDORED = {
    "mermaid.js": "mermaid/dist/mermaid.min.js",
    "iframe-worker.js": "iframe-worker/shim/index.js",
}
#: Only the site has them, so the page in the repository does not name them.
_OTHER_FORMS = """

## All pages at once

<a href="print.html">One page to print</a>, or as text: <a href="llms-full.txt">llms-full.txt</a>,
with its index <a href="llms.txt">llms.txt</a>.
"""
_ASSETS = Path(__file__).parent / "assets"

_pages: dict[str, SitePage] = {}
_titles: dict[str, str] = {}
_order: list[tuple[str, str]] = []


def on_files(files: Any, config: Any) -> Any:
    """Add generated pages and assets, and arrange the navigation.

    :param files: the files of ``docs/``.
    :param config: the configuration of mkdocs.
    """
    facts = json.loads(Path(os.environ[FACTS]).read_text(encoding="utf-8"))
    config.extra["package_version"] = facts["version"]
    texts = {page: (ROOT / page).read_text(encoding="utf-8") for page in ROOT_PAGES}
    generated = {**build_reference(facts), **example_pages(), **texts}
    authored = {file.src_uri: file.content_string for file in files.documentation_pages()}
    sources: set[str] = set()
    for page, text in {**authored, **texts}.items():
        sources |= find_sources(text, page)
    generated |= {f"source/{path}.md": source_page(path) for path in sources}
    for path, text in generated.items():
        files.append(File.generated(config, path, content=text))
    _add_assets(files, config)
    config.nav = arrange([*authored, *generated])
    _titles.clear()
    _titles.update({path: title_of(text) for path, text in {**authored, **generated}.items()})
    _pages.clear()
    _order[:] = pages_of(config.nav)
    return files


def _add_assets(files: Any, config: Any) -> None:
    for file in sorted(_ASSETS.iterdir()):
        added = File.generated(config, f"assets/{file.name}", abs_src_path=str(file))
        files.append(added)
    for name, path in _VENDORED.items():
        source = Path(os.environ[VENDOR]) / path
        files.append(File.generated(config, f"assets/vendor/{name}", abs_src_path=str(source)))


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Return the Markdown of a page for the site.

    :param markdown: the text of the page.
    :param page: the page.
    :param config: the configuration of mkdocs.
    :param files: all files.
    """
    text = prepare_page(markdown, page.file.src_uri, _titles)
    return f"{text}{_OTHER_FORMS}" if page.file.src_uri == "index.md" else text


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Keep the content of a page for the outputs with all pages.

    :param html: the content of the page.
    :param page: the page.
    :param config: the configuration of mkdocs.
    :param files: all files.
    """
    section = next((title for title, path in _order if path == page.file.src_uri), "")
    text = page.markdown or ""
    _pages[page.file.src_uri] = SitePage(
        section, title_of(text) or page.title, page.file.url, text, summary_of(text), html
    )
    return html


def on_post_build(config: Any) -> None:
    """Write ``print.html``, ``llms.txt``, ``llms-full.txt`` and the pages as Markdown.

    :param config: the configuration of mkdocs.
    """
    site = Path(config.site_dir)
    pages = [_pages[path] for _, path in _order]
    version = config.extra["package_version"]
    outputs = {
        "print.html": one_page(pages, config.site_name, version),
        "llms.txt": llms_index(pages, config.site_name, config.site_description),
        "llms-full.txt": llms_full(pages),
        **markdown_files(pages),
    }
    for name, text in outputs.items():
        target = site / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
