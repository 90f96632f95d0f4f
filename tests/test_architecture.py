"""The structure of the package: every module has a layer, and imports have no circle, type checking included."""

from __future__ import annotations

import ast
import graphlib
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]


def modules() -> dict[str, Path]:
    """The file of each module of the package."""
    found = {}
    for top in ("core", "tui"):
        for path in (CHECKOUT / top).rglob("*.py"):
            parts = path.relative_to(CHECKOUT).with_suffix("").parts
            found[".".join(("dipddpm", *(parts[:-1] if parts[-1] == "__init__" else parts)))] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of ours that a file imports anywhere in it: at the top, in functions, for type checking alone."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            # `from package import module` imports the module, not what the package itself imports.
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in known else node.module for name in inside}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names & set(known)


def layers() -> list[str]:
    contracts = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = [contract for contract in contracts if contract["type"] == "layers"]
    return [name.strip() for layer in contract["layers"] for name in layer.split("|")]


def test_every_module_has_one_layer() -> None:
    packages = {"dipddpm.core", "dipddpm.tui"}  # which hold a docstring alone
    for module in set(modules()) - packages:
        assert len([layer for layer in layers() if f"{module}.".startswith(f"{layer}.")]) == 1, module


def test_imports_have_no_circle() -> None:
    known = modules()
    graph = {module: imports(path, known) - {module} for module, path in known.items()}
    assert len([module for targets in graph.values() for module in targets]) > len(known)
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle
