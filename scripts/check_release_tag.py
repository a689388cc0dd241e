"""Check that a tag names the version of the package, and that the changelog describes it.

``python -m scripts.check_release_tag v0.1.0`` ends with exit code 1 and the problems.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from airflow_provider_flux import __version__

CHANGELOG = Path(__file__).resolve().parents[1] / "CHANGELOG.md"


def find_problems(tag: str, version: str, changelog: str) -> list[str]:
    """Return the reasons not to release.

    :param tag: name of the tag, for example ``v0.1.0``.
    :param version: version of the package, for example ``0.1.0``.
    :param changelog: text of the changelog, with a heading for each version.
    """
    problems = []
    if tag != f"v{version}":
        problems.append(f"The tag is {tag}, and the version is {version}: tag v{version}.")
    heading = re.search(rf"^## {re.escape(version)}( .*)?$", changelog, re.MULTILINE)
    if heading is None:
        problems.append(f"CHANGELOG.md has no section {version}: add it.")
    elif not re.fullmatch(r" \(\d{4}-\d\d-\d\d\)", heading[1] or ""):
        problems.append(
            f"The section {version} of CHANGELOG.md has no date: write ## {version} (YYYY-MM-DD)."
        )
    return problems


def main(arguments: list[str]) -> int:
    """Print the problems of a tag.

    :param arguments: the name of the tag alone.
    :returns: the exit code: 0 if the tag can be released, 1 if not, 2 without one argument.
    """
    if len(arguments) != 1:
        print("Usage: python -m scripts.check_release_tag TAG", file=sys.stderr)
        return 2
    problems = find_problems(arguments[0], __version__, CHANGELOG.read_text(encoding="utf-8"))
    print("\n".join(problems) or f"{arguments[0]} can be released.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
