"""The documentation: its generated parts are current, its files and commands exist, and its pages need no network."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from dipddpm.tui.cli.main import app
from dipddpm.tui.console.__main__ import _parser as console_parser
from scripts import pages

CHECKOUT = Path(__file__).parents[1]
DOCS = CHECKOUT / "docs"
SITE = tomllib.loads((CHECKOUT / "zensical.toml").read_text())["project"]
PAGES = [page for entry in SITE["nav"] for page in entry.values()]
FOREIGN = re.compile(r"""<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=["']?(?:https?:)?//""")


@pytest.mark.parametrize("name", sorted({where for where, _ in pages.PARTS.values()}))
def test_generated_parts_of_page_are_current(name: str) -> None:
    text = (DOCS / name).read_text()
    assert pages.page(name, text) == text, "Write them again with: python -m scripts.pages"


def test_fields_name_only_fields_of_events() -> None:
    from dipddpm.core.events import EVENT_TYPES

    fields = {name for kind in EVENT_TYPES for name in kind.__struct_fields__}
    own = {f"{kind.__struct_config__.tag}.{name}" for kind in EVENT_TYPES for name in kind.__struct_fields__}
    assert set(pages.FIELDS) <= fields | own


def test_every_page_is_in_the_menu() -> None:
    assert sorted(PAGES) == sorted(page.name for page in DOCS.glob("*.md"))


@pytest.mark.parametrize("name", PAGES)
def test_page_opens_with_what_the_reader_can_do(name: str) -> None:
    title, _, opening = (DOCS / name).read_text().split("\n")[:3]
    assert title.startswith("# ")
    assert opening.startswith("After this page you ")


@pytest.mark.parametrize("name", PAGES)
def test_pictures_of_page_exist(name: str) -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", (DOCS / name).read_text())
    assert [picture for picture in pictures if not (DOCS / picture).is_file()] == []


def commands_of(page: Path) -> list[list[str]]:
    """Return the command lines of the program in the shell blocks of a page, without the program's folder."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    lines = re.split(r"\n|; |&& ", re.sub(r"#.*|\\\n", "", "".join(blocks)))
    split = [shlex.split(line.strip().removeprefix(".venv/bin/")) for line in lines]
    return [words for words in split if words and words[0] in {"dipddpm", "dipddpm-tui"}]


@pytest.mark.parametrize("name", [*PAGES, "../README.md", "../CONTRIBUTING.md"])
def test_commands_of_page_have_options_that_exist(name: str) -> None:
    root: Any = typer.main.get_command(app)
    for program, *arguments in commands_of(DOCS / name):
        if program == "dipddpm-tui":
            console_parser().parse_args(arguments)
        elif arguments and not arguments[0].startswith("-"):
            root.commands[arguments[0]].make_context(arguments[0], arguments[1:])


@pytest.mark.slow
def test_site_builds_strictly_and_loads_nothing_from_the_network(tmp_path: Path) -> None:
    for name in ("zensical.toml", "CHANGELOG.md", "CONTRIBUTING.md"):
        shutil.copy(CHECKOUT / name, tmp_path)
    shutil.copytree(DOCS, tmp_path / "docs")
    for name in ("dipddpm", "core", "tui"):  # the API page reads the source
        shutil.copytree(CHECKOUT / name, tmp_path / name, symlinks=True)
    zensical = Path(sys.executable).with_name("zensical")
    done = subprocess.run([zensical, "build", "--strict"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    built = list((tmp_path / SITE["site_dir"]).glob("*.html"))
    assert len(built) > len(PAGES)
    assert {page.name: FOREIGN.findall(page.read_text()) for page in built if FOREIGN.search(page.read_text())} == {}
