"""Write docs/models.md from the catalog of the package, so that it cannot say anything else.

``python -m scripts.model_page`` writes the page; with ``--check`` it only says whether it is stale.
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
from scripts.model_page.examples import example
from scripts.model_page.tables import parameter_table
from scripts.model_page.words import HOW_TO_READ, INTRO, NOTES, REFUSED, WARNED

ROOT = Path(__file__).resolve().parents[2]
PAGE = Path("docs") / "models.md"

_WHEN = {"at submit": "yes, at the submit", "when ready": "yes, when ready", "never": "no"}


def page(models: Mapping[str, Model] = MODELS) -> str:
    """Return the whole page."""
    rows = "\n".join(overview_row(model) for model in models.values())
    sections = "\n".join(section(model) for model in models.values())
    return f"{INTRO}{rows}\n{HOW_TO_READ}\n{sections}"


def overview_row(model: Model) -> str:
    """Return the line of a model in the first table."""
    cells = (
        f"[`{model.name}`](#{anchor(model.name)})",
        model.output,
        model.price.describe(),
        _WHEN[model.cost_reported],
        str(model.max_active),
        "yes" if model.has_webhooks else "no",
        f"{model.typical_seconds:g}",
        duration(model.url_lifetime),
    )
    return f"| {' | '.join(cells)} |"


def section(model: Model) -> str:
    """Return the section of a model: what it is, an example, its parameters, its rules."""
    strict = " The route is strict." if issubclass(model.schema, StrictInputs) else ""
    parts = [f"## {model.name}", f"{first_line(model.schema)} Route: `{model.path}`.{strict}"]
    if not model.modes:
        parts += [f"```python\n{example(model)}```", parameter_table(model, model.schema)]
    for mode, schema in model.modes.items():
        parts += [
            f"### {model.name}, mode {mode}",
            first_line(schema),
            f"```python\n{example(model, mode)}```",
            parameter_table(model, schema),
        ]
    parts += rules(model)
    return "\n\n".join(parts) + "\n"


def rules(model: Model) -> list[str]:
    """Return what is said below the tables of a model."""
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


def duration(seconds: float) -> str:
    """Return a time in words."""
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds / 60:g} min"


def anchor(heading: str) -> str:
    """Return the fragment GitHub gives to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def first_line(schema: type[BaseModel]) -> str:
    """Return what a schema says of itself."""
    return (schema.__doc__ or "").strip().splitlines()[0]


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Write the page, or check it; return the exit code."""
    parser = argparse.ArgumentParser(description="Write docs/models.md from the catalog.")
    parser.add_argument(
        "--check", action="store_true", help="change nothing, exit 1 if the page is stale"
    )
    options = parser.parse_args(argv)
    path = root / PAGE
    wanted = page()
    if path.exists() and path.read_text(encoding="utf-8") == wanted:
        return 0
    if options.check:
        print(f"{PAGE} is stale: run 'make docs', or python -m scripts.model_page", file=sys.stderr)
        return 1
    path.write_text(wanted, encoding="utf-8")
    print(f"{PAGE} renewed")
    return 0
