"""Tests of the package's structure: every module has one layer, and imports have no cycle, even for type checking."""

from __future__ import annotations

import ast
import graphlib
import tomllib
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]


def modules() -> dict[str, Path]:
    """Return the file of each module of the package, by module name."""
    files = {}
    for top in ("core", "tui"):
        for path in (CHECKOUT / top).rglob("*.py"):
            parts = path.relative_to(CHECKOUT).with_suffix("").parts
            files[".".join(("dipddpm", *(parts[:-1] if parts[-1] == "__init__" else parts)))] = path
    return files


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """Return the package's modules that a file imports anywhere: at the top, in functions, or for type checking."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            # `from package import module` counts as an import of the module, not of the package.
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
    packages = {"dipddpm.core", "dipddpm.tui"}  # their __init__.py holds only a docstring
    for module in set(modules()) - packages:
        assert len([layer for layer in layers() if f"{module}.".startswith(f"{layer}.")]) == 1, module


def test_imports_have_no_cycle() -> None:
    known = modules()
    graph = {module: imports(path, known) - {module} for module, path in known.items()}
    assert len([module for targets in graph.values() for module in targets]) > len(known)
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the cycle
