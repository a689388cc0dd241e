"""Build the site: ``python -m scripts.site FACTS VENDOR [SITE]``.

Each version has its folder in ``site/``, as mike lays them out. Versions that an earlier build left
there stay, and the selector of the theme lists all of them.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import MkDocsException

from scripts.site.hooks import FACTS, VENDOR
from scripts.site.sections import SectionError

ROOT = Path(__file__).resolve().parents[2]
_TO_LATEST = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Documentation</title>
<meta http-equiv="refresh" content="0; url={version}/index.html"></head>
<body><a href="{version}/index.html">Documentation of version {version}</a></body></html>
"""


def build_site(facts: Path, vendor: Path, site: Path) -> Path:
    """Build the folder of this version, and the list of all versions.

    :param facts: the output of ``scripts.site.facts``.
    :param vendor: folder of the packages of npm.
    :param site: folder of all versions.
    :return: the folder of this version.
    """
    os.environ[FACTS], os.environ[VENDOR] = str(facts), str(vendor)
    version = ".".join(json.loads(facts.read_text())["version"].split(".")[:2])
    target = site / version
    if target.exists():
        shutil.rmtree(target)
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(target), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    _list_versions(site)
    return target


def _list_versions(site: Path) -> None:
    """Write ``versions.json``, the newest first, and the redirection to the newest."""
    found = [path.parent.name for path in site.glob("*/llms.txt")]
    names = sorted(found, key=lambda name: [int(part) for part in name.split(".")], reverse=True)
    rows = [
        {"version": name, "title": name, "aliases": ["latest"] if name == names[0] else []}
        for name in names
    ]
    (site / "versions.json").write_text(json.dumps(rows, indent=2), encoding="utf-8")
    (site / "index.html").write_text(_TO_LATEST.format(version=names[0]), encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Build the site, and return the exit code.

    :param arguments: the file of facts, the folder of npm's packages, and the folder of the site.
    """
    facts, vendor, *rest = arguments
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        target = build_site(Path(facts), Path(vendor), Path(rest[0] if rest else ROOT / "site"))
    except (MkDocsException, SectionError) as error:
        print(f"The site was not built: {error}", file=sys.stderr)
        return 1
    print(f"Open {target / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
