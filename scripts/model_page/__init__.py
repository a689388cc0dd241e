"""Write docs/models.md from the catalog of the package, so that page and catalog always agree.

``python -m scripts.model_page`` writes the page. With ``--check`` it only reports whether the page
is stale.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel

from airflow_provider_flux.bfl.catalog import MODELS, Model
from airflow_provider_flux.bfl.schemas.common import StrictInputs
from scripts.model_page.examples import render_example
from scripts.model_page.tables import render_parameter_table
from scripts.model_page.words import COLUMNS, HOW_TO_READ, INTRO, NOTES, REFUSED, WARNED

ROOT = Path(__file__).resolve().parents[2]
PAGE = Path("docs") / "models.md"

_COST_REPORTED = {"at submit": "yes, at the submit", "when ready": "yes, when ready", "never": "no"}


def render_page(models: Mapping[str, Model] = MODELS) -> str:
    """Return the whole page.

    :param models: the catalog.
    """
    rows = "\n".join(render_overview_row(model) for model in models.values())
    sections = "\n".join(render_section(model) for model in models.values())
    header = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"
    return f"{INTRO}{header}\n{rows}\n{HOW_TO_READ}\n{sections}"


def render_overview_row(model: Model) -> str:
    """Return the row of a model in the first table.

    :param model: a model of the catalog.
    """
    cells = (
        f"[`{model.name}`](#{heading_anchor(model.name)})",
        model.output,
        model.price.describe(),
        _COST_REPORTED[model.cost_reported],
        str(model.max_active),
        "yes" if model.has_webhooks else "no",
        f"{model.typical_seconds:g}",
        format_duration(model.url_lifetime),
    )
    return f"| {' | '.join(cells)} |"


def render_section(model: Model) -> str:
    """Return the section of a model: summary, example, parameters and rules.

    :param model: a model of the catalog.
    """
    strict = " The route is strict." if issubclass(model.schema, StrictInputs) else ""
    parts = [f"## {model.name}", f"{summary_of(model.schema)} Route: `{model.path}`.{strict}"]
    if not model.modes:
        parts += [
            f"```python\n{render_example(model)}```",
            render_parameter_table(model, model.schema),
        ]
    for mode, schema in model.modes.items():
        parts += [
            f"### {model.name}, mode {mode}",
            summary_of(schema),
            f"```python\n{render_example(model, mode)}```",
            render_parameter_table(model, schema),
        ]
    parts += render_rules(model)
    return "\n\n".join(parts) + "\n"


def render_rules(model: Model) -> list[str]:
    """Return the lists below the tables of a model.

    :param model: a model of the catalog.
    """
    blocks = []
    for title, group in (("Notes", NOTES), ("Refused", REFUSED), ("Warned", WARNED)):
        texts = [rule.text for rule in group if rule.applies(model)]
        if texts:
            aliases = ", ".join(
                f"`{long}` for `{short}`" for long, short in model.mode_aliases.items()
            )
            blocks.append(
                "\n".join([f"{title}:\n", *(f"- {text.format(aliases=aliases)}" for text in texts)])
            )
    return blocks


def format_duration(seconds: float) -> str:
    """Return a time with its unit.

    :param seconds: the time.
    """
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds / 60:g} min"


def heading_anchor(heading: str) -> str:
    """Return the fragment of a heading on GitHub.

    :param heading: the text of the heading.
    """
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def summary_of(schema: type[BaseModel]) -> str:
    """Return the first line of the docstring of a schema.

    :param schema: the schema of a route or a mode.
    """
    return (schema.__doc__ or "").strip().splitlines()[0]


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Write the page, or check it.

    :param argv: arguments of the command line, by default those of the process.
    :param root: folder of the repository.
    :return: the exit code.
    """
    parser = argparse.ArgumentParser(description="Write docs/models.md from the catalog.")
    parser.add_argument(
        "--check", action="store_true", help="change nothing, exit 1 if the page is stale"
    )
    options = parser.parse_args(argv)
    path = root / PAGE
    expected = render_page()
    if path.exists() and path.read_text(encoding="utf-8") == expected:
        return 0
    if options.check:
        print(f"{PAGE} is stale. Run 'make docs', or python -m scripts.model_page", file=sys.stderr)
        return 1
    path.write_text(expected, encoding="utf-8")
    print(f"{PAGE} renewed")
    return 0
