"""Test that names use the field's words, or Python's, and none of the project's old private vocabulary."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
FOLDERS = ("core", "tui", "benchmarks", "scripts", "examples", "tests")
# CONTRIBUTING.md says what to write instead.
OLD_WORDS = """
    told tell tells telling look looks looked glance evened entrant entrants spent budgeted timed judge judges monitor
    recipe lesson lessons learned who whoever nobody alike heard hear said says see sees fed beside anew asked parents
    team life place places piece pieces descend weigh
"""
OLD_MODULES = "plain text files typed team slots life keep alike page told look generators parallel"
# The argument is stored in checkpoints that exist.
EXCEPTIONS = {("core/ddpm/networks/unet.py", "beside")}


def names(tree: ast.AST) -> Iterator[str]:
    """Yield the names that a module defines: functions, classes, arguments, variables and attributes."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


def words(name: str) -> list[str]:
    """Return the words of a name in snake or camel case, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def modules() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (CHECKOUT / folder).rglob("*.py"))


def test_words_splits_snake_and_camel_case() -> None:
    assert words("_toldOfRGBImage_2") == ["told", "of", "rgb", "image"]


def test_names_use_no_word_of_old_vocabulary() -> None:
    old = {
        (path.relative_to(CHECKOUT).as_posix(), name)
        for path in modules()
        for name in names(ast.parse(path.read_text()))
        if set(OLD_WORDS.split()) & set(words(name))
    }
    assert old - EXCEPTIONS == set()


def test_modules_have_no_name_of_old_vocabulary() -> None:
    package = [path for path in modules() if path.relative_to(CHECKOUT).parts[0] in ("core", "tui")]
    assert [path for path in package if path.stem in OLD_MODULES.split()] == []
