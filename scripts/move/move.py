"""Move every module to its place in the new house and rewrite the imports and strings that name it.

Usage: python move.py TABLE [--dry]   (run in the root of a clean checkout)

TABLE has lines `old.module = new.module`. A module that isn't named goes with the longest named package above it, else it
keeps its name; what begins with core or tui is imported below `dipddpm` from then on. Imports are rewritten in the syntax
tree (libcst), with the names that they bind where a module's own name changes; strings, comments and documents by pattern.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import libcst as cst
from libcst.metadata import ImportAssignment, MetadataWrapper, ScopeProvider

ROOT = Path.cwd()
TABLE = dict(
    tuple(part.strip() for part in line.split(" = "))
    for line in Path(sys.argv[1]).read_text().splitlines()
    if line.strip() and not line.startswith("#")
)
FILES = [Path(p) for p in subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.split("\n") if p]
PY = [p for p in FILES if p.suffix == ".py"]


def module_of(path: Path) -> str:
    parts = list(path.with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


OLD = {module_of(p): p for p in PY if p.parts[0] in ("core", "tui", "tests")}
PACKAGES = {m for m, p in OLD.items() if p.name == "__init__.py"}


def place(module: str) -> str:
    """The new dotted place of a module below the repository's root."""
    if module in TABLE:
        return TABLE[module]
    head, _, tail = module.rpartition(".")
    # Only packages carry what they hold along; `core.launch` was a module and is a package now.
    if head and head in PACKAGES and place(head) != head:
        return f"{place(head)}.{tail}"
    return module


def test_place(path: Path) -> Path:
    """A test mirrors the module that it is named after."""
    parts = path.parts
    if parts[0] != "tests" or len(parts) < 3 or parts[1] not in ("core", "tui"):
        return path
    special = SPECIAL_TESTS.get(str(path))
    if special:
        return Path(special)
    package = ".".join(parts[1:-1])
    if path.name.startswith("test_"):
        module = f"{package}.{path.stem[5:]}"
        for candidate in (module, package if path.stem[5:] == parts[-2] else ""):
            if candidate in OLD:
                new = place(candidate).split(".")
                if candidate in PACKAGES:
                    return Path("tests", *new, path.name)
                return Path("tests", *new[:-1], f"test_{new[-1].strip('_')}.py")
        if package == "tui" or package == "core":
            return path
    new = place(package) if package in OLD else package
    return Path("tests", *new.split("."), path.name)


SPECIAL_TESTS = dict(
    tuple(part.strip() for part in line.split(" = "))
    for line in Path(sys.argv[1]).with_name("tests.txt").read_text().splitlines()
    if line.strip() and not line.startswith("#")
)
MOVES: dict[Path, Path] = {}
for module, path in OLD.items():
    if path.parts[0] == "tests":
        MOVES[path] = test_place(path)
    elif path.name == "__init__.py":
        MOVES[path] = Path(*place(module).split("."), "__init__.py")
    else:
        MOVES[path] = Path(*place(module).split(".")).with_suffix(".py")
EXTRA = {
    "tui/console.tcss": "tui/console/console.tcss",
    "tui/serve.html": "tui/console/serve.html",
    "core/py.typed": "dipddpm/py.typed",
    "docs/screenshots.py": "scripts/screenshots.py",
}
EXTRA_DIRS = {"core/assets/reference-runs": "runs/reference"}
TEST_MODULES = {module_of(a): module_of(b) for a, b in MOVES.items() if a.parts[0] == "tests"}


def imported(module: str) -> str:
    """What a module is imported as from now on."""
    if module in TEST_MODULES:
        return TEST_MODULES[module]
    new = place(module)
    return f"dipddpm.{new}" if new.split(".")[0] in ("core", "tui") else new


def is_module(name: str) -> bool:
    return name in OLD


def ours(name: str) -> bool:
    return name.split(".")[0] in ("core", "tui", "tests")


class Imports(cst.CSTTransformer):
    METADATA_DEPENDENCIES = (ScopeProvider,)

    def __init__(self, bound: set[str], module: str) -> None:
        self.bound = bound
        self.renames: dict[str, str] = {}
        self.module = module

    def leave_SimpleStatementLine(self, original, updated):
        if len(updated.body) != 1 or not isinstance(updated.body[0], cst.ImportFrom):
            return updated
        node = updated.body[0]
        if node.module is None or node.relative:
            return updated
        source = cst.Module([]).code_for_node(node.module)
        if not ours(source) or isinstance(node.names, cst.ImportStar):
            return updated
        groups: dict[str, list[tuple[str, str | None]]] = {}
        for alias in node.names:
            name = alias.name.value
            asname = alias.asname.name.value if alias.asname else None
            if is_module(f"{source}.{name}"):
                parent, _, new = imported(f"{source}.{name}").rpartition(".")
                if new == name or (asname and asname != name):
                    groups.setdefault(parent, []).append((new, asname if asname != new else None))
                elif new in self.bound or new.startswith("__"):
                    groups.setdefault(parent, []).append((new, name))
                else:
                    self.renames[name] = new
                    groups.setdefault(parent, []).append((new, None))
            else:
                groups.setdefault(imported(source), []).append((name, asname))
        lines = []
        for index, (parent, names) in enumerate(groups.items()):
            text = f"from {parent} import " + ", ".join(n if not a else f"{n} as {a}" for n, a in names)
            line = cst.parse_statement(text + "\n")
            lines.append(
                line.with_changes(
                    leading_lines=updated.leading_lines if index == 0 else [],
                    trailing_whitespace=updated.trailing_whitespace,
                )
            )
        return cst.FlattenSentinel(lines)


class Names(cst.CSTTransformer):
    """Rename the uses of modules whose name has changed."""

    METADATA_DEPENDENCIES = (ScopeProvider,)

    def __init__(self, nodes: dict[cst.CSTNode, str]) -> None:
        self.nodes = nodes

    def leave_Name(self, original, updated):
        if original in self.nodes:
            return updated.with_changes(value=self.nodes[original])
        return updated


def bound_names(tree: cst.Module) -> set[str]:
    names: set[str] = set()

    class Collect(cst.CSTVisitor):
        def visit_Name(self, node):
            names.add(node.value)

        def visit_Attribute(self, node):
            node.value.visit(self)
            return False

    tree.visit(Collect())
    return names


def rewrite_python(path: Path, text: str) -> str:
    wrapper = MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True)
    tree = wrapper.module
    transformer = Imports(bound_names(tree), module_of(path))
    scopes = wrapper.resolve(ScopeProvider)
    # First which modules are bound under which name, then every use of such a binding.
    tree.visit(transformer)
    if transformer.renames:
        nodes: dict[cst.CSTNode, str] = {}
        for scope in {s for s in scopes.values() if s is not None}:
            for assignment in scope.assignments:
                if isinstance(assignment, ImportAssignment) and assignment.name in transformer.renames:
                    for access in assignment.references:
                        node = access.node
                        while isinstance(node, cst.Attribute):
                            node = node.value
                        nodes[node] = transformer.renames[assignment.name]
        # Imports are rewritten too, in the same pass: the two don't touch the same nodes.
        names = Names(nodes)
        tree = tree.visit(names)
        tree = cst.parse_module(tree.code)
        again = Imports(transformer.bound, module_of(path))
        tree = tree.visit(again)
    else:
        tree = tree.visit(Imports(transformer.bound, module_of(path)))
    return tree.code


PATHS = {str(a): str(b) for a, b in MOVES.items()} | EXTRA
for package in sorted(PACKAGES):
    new = place(package)
    if new != package:
        PATHS[package.replace(".", "/")] = new.replace(".", "/")
PATHS["core/assets/reference-runs"] = "runs/reference"
DOTTED = re.compile(r"(?<![\w./@-])(?:core|tui)(?:\.[a-z_]\w*)+")
SLASHED = re.compile(r"(?<![\w.-])(?:(?<=\./)|(?<!/))(?:core|tui|docs/screenshots|tests)(?:/[\w-]+)+(?:\.\w+)?")


def dotted(match: re.Match[str]) -> str:
    parts = match[0].split(".")
    for length in range(len(parts), 0, -1):
        head = ".".join(parts[:length])
        if is_module(head):
            return ".".join([imported(head), *parts[length:]])
    return match[0]


def slashed(match: re.Match[str]) -> str:
    parts = match[0].split("/")
    for length in range(len(parts), 0, -1):
        head = "/".join(parts[:length])
        if head in PATHS:
            return "/".join([PATHS[head], *parts[length:]])
    return match[0]


def rewrite_text(text: str) -> str:
    text = re.sub(r'files\("(core|tui)"\)', r'files("dipddpm.\1")', text)
    return SLASHED.sub(slashed, DOTTED.sub(dotted, text))


def main() -> None:
    contents: dict[Path, str] = {}
    for path in FILES:
        if path.suffix == ".py":
            contents[path] = rewrite_text(rewrite_python(path, path.read_text()))
        elif path.suffix in (".md", ".toml", ".tcss") or str(path) == ".ci/run":
            if "reference-runs/" not in str(path):
                contents[path] = rewrite_text(path.read_text())
    moves = {**MOVES, **{Path(a): Path(b) for a, b in EXTRA.items()}}
    if "--dry" in sys.argv:
        for a, b in sorted(moves.items()):
            print(a, "->", b)
        targets = list(moves.values())
        print("CLASHES", {t for t in targets if targets.count(t) > 1})
        return
    for path, text in contents.items():
        path.write_text(text)
    # By way of names that nothing else has: a.b may go where c.d was.
    changed = {a: b for a, b in moves.items() if a != b}
    for index, a in enumerate(changed):
        subprocess.run(["git", "mv", str(a), f"moving-{index}"], check=True)
    for index, b in enumerate(changed.values()):
        b.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["git", "mv", f"moving-{index}", str(b)], check=True)
    for a, b in EXTRA_DIRS.items():
        Path(b).parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["git", "mv", a, b], check=True)
        Path(a).symlink_to(Path("../../") / b)
    if Path("tui/py.typed").exists():
        subprocess.run(["git", "rm", "-q", "tui/py.typed"], check=True)


main()
