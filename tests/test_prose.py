"""Words and docstrings keep the rules that a machine can check."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "airflow_provider_flux"
_Documented: TypeAlias = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

#: A first line names a verb and its object. These words begin a clause that names neither.
_CLAUSE = re.compile(r"(What|Where|How|Why|Which|When|Who)\b")
#: Words that a reader has to read twice, and the words that replace them.
_REWORD = {
    r",\s+say\b": "for example",
    r"\ball the same\b": "anyway, or still",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bin vain\b": "without effect",
    r"\bpass(es|ed|ing)? over\b": "skip",
    r"\bway out\b": "remedy",
    r"\bwritten down\b|\bwrites? down\b": "recorded, or record",
    r"\bpurchase[sd]?\b": "submit",
    r"\bwhich \w+ has not\b": "which ... does not support",
}
_FIELDS = {"BaseModel", "TypedDict", "NamedTuple"}


def problems_in(path: Path) -> Iterator[str]:
    """Yield what breaks a rule in one Python file, as ``file:line: problem``."""
    text = path.read_text(encoding="utf-8")
    shown = path.relative_to(ROOT)
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, better in _REWORD.items():
            if found := re.search(pattern, line):
                yield f"{shown}:{number}: {found[0]!r}: write {better}"
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, _Documented) and (docstring := ast.get_docstring(node)):
            line = getattr(node, "lineno", 1)
            if _CLAUSE.match(docstring):
                yield f"{shown}:{line}: the first line begins with a clause: {docstring[:60]!r}"
    for node, docstring in _public(tree):
        names = [name for name in _parameters(node) if not _documents(docstring, name)]
        if names:
            yield f"{shown}:{node.lineno}: {node.name} does not document {', '.join(names)}"


def _public(
    tree: ast.Module | ast.ClassDef,
) -> Iterator[tuple[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, str]]:
    """Yield the public definitions that have a docstring."""
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_"):
            continue
        if docstring := ast.get_docstring(node):
            yield node, docstring
        if isinstance(node, ast.ClassDef):
            yield from _public(node)


def _parameters(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Return the parameters of a function, of a class's constructor, or the fields of a model."""
    if not isinstance(node, ast.ClassDef):
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        return [one.arg for one in given if one.arg not in {"self", "cls"} and one.arg[0] != "_"]
    bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
    decorators = {ast.unparse(one).partition("(")[0].rpartition(".")[2] for one in node.decorator_list}
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _parameters(item)
    if not (bases & _FIELDS or "dataclass" in decorators):
        return []
    return [
        item.target.id
        for item in node.body
        if isinstance(item, ast.AnnAssign)
        and isinstance(item.target, ast.Name)
        and not item.target.id.startswith("_")
        and "ClassVar" not in ast.unparse(item.annotation)
        and "init=False" not in ast.unparse(item)
    ]


def _documents(docstring: str, name: str) -> bool:
    """Whether a docstring has a field for the parameter, or names it in double backticks."""
    return bool(re.search(rf":(param|ivar) (\w+, )*{name}[:,]", docstring)) or f"``{name}``" in docstring


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_a_module_keeps_the_rules_of_prose(path: Path) -> None:
    """No clause as a first line, no word to read twice, no public parameter without a word."""
    assert not list(problems_in(path))


if __name__ == "__main__":  # python -m tests.test_prose airflow_provider_flux/ledger
    for folder in sys.argv[1:]:
        place = ROOT / folder
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            print(*problems_in(file), sep="\n")  # noqa: T201
