"""Tests of the rules for words and docstrings that a machine can check.

``python -m tests.test_prose airflow_provider_flux/ledger docs/ledger.md`` prints the problems of
files and folders, one per line.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "airflow_provider_flux"
TESTS = ROOT / "tests"
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_Definition: TypeAlias = ast.ClassDef | _Function
_Documented: TypeAlias = ast.Module | _Definition

#: A first line names a verb and its object. These words begin a clause that names neither.
_CLAUSE = re.compile(r"(What|Where|How|Why|Which|When|Who)\b")

#: Phrases that a reader has to read twice, and the words that replace them. A space also matches
#: the end of a line.
_REWORD = {
    r", say\b": "for example",
    r"(?<!are)(?<!were) \ball the same\b": "anyway, or still",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bin vain\b": "without effect",
    r"\bpass(es|ed|ing) over\b": "skip",
    r"\bway out\b": "remedy",
    r"\bwritten down\b|\bwrites? down\b": "recorded, or record",
    r"\bpurchase[sd]?\b": "submit",
    r"\bpaid for\b": "billed, or submitted",
    r"\badopt(s|ed|ing)?\b": "resume",
    r"\bwhich \w+ has not\b": "which ... does not support",
    r"\bha(s|ve) not so (much|many)\b": "is too low, or has too few",
    r"\banother than\b": "different from, or differs from",
    r"\b(where|as far as) (that|this|it) can be told\b": "if it can be determined",
    r"\bquiet night\b": "run without rows",
    r"\bis known as closely as\b": "is accurate to",
    r"\btake(s|n)? over an earlier\b": "resume an earlier",
}
_PATTERNS = {re.compile(phrase.replace(" ", r"\s+")): better for phrase, better in _REWORD.items()}

#: Words of the longest sentence of a page. Code in backticks counts as one word.
_MAX_SENTENCE = 40
#: A sentence of a page whose subject is a clause. A question may begin like this.
_SUBJECT_CLAUSE = re.compile(r"(What|Whatever)\b[^?]*\.$")
_CODE_BLOCK = re.compile(r"^```.*?^```$|<!--.*?-->", re.MULTILINE | re.DOTALL)
_ITEM = re.compile(r"\n(?=\s*(?:[-*]|\d+\.) )")
_SENTENCE_END = re.compile(r"(?<=[.!?])\**\s+(?=[A-Z*`\[])")
#: Blocks that are no prose: headings, tables, HTML, pictures.
_NO_PROSE = ("#", "|", "<", "![")

#: Base classes whose fields are documented like parameters.
_FIELD_CLASSES = {"BaseModel", "TypedDict", "NamedTuple"}
#: A shorter test name does not say who does what.
_MIN_WORDS = 4


def problems_of_text(path: Path) -> Iterator[str]:
    """Yield the phrases to reword in a text file, as ``file:line: problem``."""
    text = path.read_text(encoding="utf-8")
    for pattern, better in _PATTERNS.items():
        for match in pattern.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            yield f"{_shown(path)}:{line}: {' '.join(match[0].split())!r}: write {better}"


def problems_of_page(path: Path) -> Iterator[str]:
    """Yield the rules that a page of the documentation breaks, as ``file:line: problem``."""
    yield from problems_of_text(path)
    blocks = _blocks(path.read_text(encoding="utf-8"))
    if path.name != "models.md":  # a program writes it
        yield from _hurried_reader(path, blocks)
    for line, block in blocks:
        if block.startswith(_NO_PROSE):
            continue
        for sentence in _sentences(block):
            words = len(sentence.split())
            if words > _MAX_SENTENCE:
                yield f"{_shown(path)}:{line}: {words} words: split {sentence[:60]!r}"
            if _SUBJECT_CLAUSE.match(sentence):
                yield f"{_shown(path)}:{line}: name the subject of {sentence[:60]!r}"


def _hurried_reader(path: Path, blocks: list[tuple[int, str]]) -> Iterator[str]:
    """Yield a missing summary, and tables that no sentence introduces."""
    if len(blocks) < 2 or blocks[1][1].startswith(_NO_PROSE):
        yield f"{_shown(path)}:1: begin with a summary in prose or in a list"
    for (_, before), (line, block) in pairwise(blocks):
        if block.startswith("|") and before.startswith(("#", "|")):
            yield f"{_shown(path)}:{line}: say in a sentence what to do with this table"


def _blocks(text: str) -> list[tuple[int, str]]:
    """Return the blocks of a page that are no code, each with its line."""
    text = _CODE_BLOCK.sub(lambda block: "\n" * block[0].count("\n"), text)
    found, line = [], 1
    for block in re.split(r"(\n\s*\n)", text):
        if block.strip():
            found.append((line, block.strip()))
        line += block.count("\n")
    return found


def _sentences(block: str) -> Iterator[str]:
    """Yield the sentences of a paragraph or of the items of a list."""
    for item in _ITEM.split(block):
        plain = re.sub(r"`[^`]*`", "Code", re.sub(r"\]\([^)]*\)", "]", item))
        yield from _SENTENCE_END.split(re.sub(r"^\s*([-*]|\d+\.) ", "", " ".join(plain.split())))


def problems_of_module(path: Path) -> Iterator[str]:
    """Yield the rules that a module of the package breaks, as ``file:line: problem``."""
    yield from problems_of_text(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield from _clauses(path, tree)
    for node, docstring in _public(tree):
        names = [name for name in _parameters(node) if not _documents(docstring, name)]
        if names:
            missing = ", ".join(names)
            yield f"{_shown(path)}:{node.lineno}: {node.name} does not document {missing}"


def problems_of_tests(path: Path) -> Iterator[str]:
    """Yield the rules that a module of tests breaks, as ``file:line: problem``."""
    if path != Path(__file__):  # the phrases stand in this file
        yield from problems_of_text(path)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    yield from _clauses(path, tree)
    for context, node in _tests(tree):
        words = [*context, *node.name.split("_")[1:]]
        if len(words) < _MIN_WORDS:
            yield f"{_shown(path)}:{node.lineno}: {node.name} is not a sentence"


def problems_of(path: Path) -> Iterator[str]:
    """Yield the problems of any file, by the rules for its kind."""
    if path.suffix == ".py" and path.is_relative_to(PACKAGE):
        return problems_of_module(path)
    if path.suffix == ".py" and path.is_relative_to(TESTS):
        return problems_of_tests(path)
    return problems_of_page(path) if path in GUIDES else problems_of_text(path)


def _shown(path: Path) -> Path:
    return path.relative_to(ROOT)


def _clauses(path: Path, tree: ast.Module) -> Iterator[str]:
    """Yield the docstrings whose first line begins with a clause."""
    for node in ast.walk(tree):
        if not isinstance(node, _Documented):
            continue
        docstring = ast.get_docstring(node) or ""
        if _CLAUSE.match(docstring):
            line = getattr(node, "lineno", 1)
            yield f"{_shown(path)}:{line}: the first line begins with a clause: {docstring[:60]!r}"


def _public(tree: ast.Module | ast.ClassDef) -> Iterator[tuple[_Definition, str]]:
    """Yield the public definitions that have a docstring."""
    for node in tree.body:
        if not isinstance(node, _Definition) or node.name.startswith("_"):
            continue
        if docstring := ast.get_docstring(node):
            yield node, docstring
        if isinstance(node, ast.ClassDef):
            yield from _public(node)


def _tests(
    tree: ast.Module | ast.ClassDef, context: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], _Function]]:
    """Yield the tests of a module, each with the words of its class name."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            words = re.findall(r"[A-Z][a-z]*|\d+", node.name.removeprefix("Test"))
            yield from _tests(node, (*context, *words))
        elif isinstance(node, _Function) and node.name.startswith("test_"):
            yield context, node


def _parameters(node: _Definition) -> list[str]:
    """Return the parameters of a function, of a class's constructor, or the fields of a model."""
    if not isinstance(node, ast.ClassDef):
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        names = [argument.arg for argument in arguments]
        return [name for name in names if name not in {"self", "cls"} and name[0] != "_"]
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _parameters(item)
    bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
    decorators = {
        ast.unparse(decorator).partition("(")[0].rpartition(".")[2]
        for decorator in node.decorator_list
    }
    if not (bases & _FIELD_CLASSES or "dataclass" in decorators):
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
    """Whether a docstring has a field for a parameter, or names it in double backticks."""
    has_field = re.search(rf":(param|ivar) (\w+, )*{name}[:,]", docstring)
    return bool(has_field) or f"``{name}``" in docstring


def _relative_to(folder: Path) -> Iterator[object]:
    for path in sorted(folder.rglob("*.py")):
        yield pytest.param(path, id=str(path.relative_to(folder)))


@pytest.mark.parametrize("path", _relative_to(PACKAGE))
def test_a_module_keeps_the_rules_of_prose(path: Path) -> None:
    """No clause as a first line, no phrase to read twice, no undocumented public parameter."""
    assert not list(problems_of_module(path))


@pytest.mark.parametrize("path", _relative_to(TESTS))
def test_a_test_module_names_its_tests_by_sentences(path: Path) -> None:
    """No test name of fewer than four words, no clause as a first line, no phrase to read twice."""
    assert not list(problems_of_tests(path))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_of_the_documentation_has_no_sentence_to_read_twice(path: Path) -> None:
    """A summary first, short sentences with a subject, a sentence before each table."""
    assert not list(problems_of(path))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        location = ROOT / name
        files = [location]
        if location.is_dir():
            files = sorted(file for file in location.rglob("*.*") if file.suffix in {".py", ".md"})
        for file in files:
            for problem in problems_of(file):
                print(problem)  # noqa: T201
