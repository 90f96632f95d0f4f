"""What was asked: the whole config, with what differs from the defaults standing out, and where it ran."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import msgspec
from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from dipddpm.core.config import AnyRun
from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic
from dipddpm.core.io.sanitize import printable
from dipddpm.core.runs import ENVIRONMENT_FILE, Run
from dipddpm.tui.console.background import run_in_background
from dipddpm.tui.console.model.views import View
from dipddpm.tui.console.panes.view import Pane
from dipddpm.tui.shared.draft import Draft, as_text, flatten

ENVIRONMENT_KEYS = (
    "command",
    "host",
    "device",
    "device_name",
    "cores",
    "threads",
    "python",
    "system",
    "dipddpm",
    "git",
)
"""What is shown of environment.json, in this order."""
MAX_BYTES = 1 << 16


class Facts(NamedTuple):
    """What a run's folder holds about how it was asked for, and where it ran."""

    config: AnyRun | UserError
    environment: list[tuple[str, str]]


class ConfigPane(Pane):
    """Read once a run: a config is never rewritten."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"config--section", "config--set", "config--dim"}

    _shown = ""

    def compose(self) -> ComposeResult:
        """A page that scrolls."""
        with VerticalScroll():
            yield Static(id="config-page", markup=False)

    def present(self, view: View) -> None:
        """Show the config of this run."""
        key = f"{view.run.id} {view.row.state}"
        if key == self._shown:
            return
        self._shown = key

        def show(facts: Facts) -> None:
            if self._shown == key and self.is_attached:
                self.query_one("#config-page", Static).update(self._page(facts))

        run_in_background(self.app, lambda: read_facts(view.run), show, lambda _: None)

    def notify_style_update(self) -> None:
        """Another theme, other colours."""
        super().notify_style_update()
        self._shown = ""

    def _page(self, facts: Facts) -> Text:
        page = Text()
        section = self.get_component_rich_style("config--section")
        dim = self.get_component_rich_style("config--dim")
        if isinstance(facts.config, UserError):
            page.append(printable(f"{facts.config.problem} {facts.config.remedy}"))
        else:
            self._append_config(page, facts.config, section, dim)
        page.append("\nWhere it ran\n", section)
        for key, value in facts.environment:
            page.append(f"  {key:<24} ", dim)
            page.append(f"{printable(value, 400)}\n")
        return page

    def _append_config(self, page: Text, config: AnyRun, section: Style, dim: Style) -> None:
        chosen = self.get_component_rich_style("config--set")
        draft = Draft.from_config(config)
        page.append("The same again\n", section)
        page.append(f"  $ {printable(draft.command())}\n\n")
        heading = ""
        for key, value in flatten(msgspec.to_builtins(config)).items():
            prefix, _, name = key.rpartition(".")
            if prefix != heading:
                heading = prefix
                page.append(f"{prefix}\n", section)
            page.append(f"  {name:<24} ", dim)
            page.append(f"{printable(as_text(value), 400)}\n", chosen if key in draft.typed else Style.null())


def read_facts(run: Run) -> Facts:
    """Read a run's config and environment from the disk."""
    environment = [*_environment(run), ("folder", str(run.folder))]
    try:
        return Facts(run.config(), environment)
    except UserError as error:
        return Facts(error, environment)


def _environment(run: Run) -> list[tuple[str, str]]:
    """What environment.json tells; nothing where it is missing or damaged."""
    try:
        content = atomic.read(run.folder / ENVIRONMENT_FILE, MAX_BYTES)
        environment = msgspec.json.decode(content, type=dict[str, object])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [("", "not started yet, or its environment.json can't be read")]
    facts = [(key, str(environment[key])) for key in ENVIRONMENT_KEYS if environment.get(key)]
    packages = environment.get("packages")
    if isinstance(packages, dict):
        facts.append(("packages", ", ".join(f"{name} {version}" for name, version in packages.items())))
    return facts
