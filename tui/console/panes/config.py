"""The config pane: the command for the same run, its whole config with set options highlighted, its environment."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from dipddpm.core.config import AnyRun, flatten
from dipddpm.core.errors import UserError
from dipddpm.core.io import records
from dipddpm.core.io.sanitize import printable
from dipddpm.core.runs import ENVIRONMENT_FILE, Run
from dipddpm.core.runs.environment import Environment
from dipddpm.tui.console.background import run_in_background
from dipddpm.tui.console.model.views import View
from dipddpm.tui.console.panes.view import Pane
from dipddpm.tui.shared.draft import Draft, as_text

SHOWN_FACTS = ("command", "host", "device", "device_name", "cores", "threads", "python", "system", "dipddpm", "git")
"""The fields of environment.json that are shown, in this order."""


class ConfigPane(Pane):
    """The config and the environment of a run. They are read once for each of its states."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"config--section", "config--set", "config--dim"}

    _shown = ""

    def compose(self) -> ComposeResult:
        """Add a page that scrolls."""
        with VerticalScroll():
            yield Static(id="config-page", markup=False)

    def present(self, view: View) -> None:
        """Show the config of this run."""
        key = f"{view.run.id} {view.row.state}"
        if key == self._shown:
            return
        self._shown = key

        def read() -> tuple[AnyRun | UserError, list[tuple[str, str]]]:
            environment = [*_environment(view.run), ("folder", str(view.run.folder))]
            try:
                return view.run.config(), environment
            except UserError as error:
                return error, environment

        def show(facts: tuple[AnyRun | UserError, list[tuple[str, str]]]) -> None:
            if self._shown == key and self.is_attached:
                self.query_one("#config-page", Static).update(self._page(*facts))

        run_in_background(self.app, read, show, lambda _: None)

    def notify_style_update(self) -> None:
        """Draw the page again at the next view, in the colours of the new theme."""
        super().notify_style_update()
        self._shown = ""

    def _page(self, config: AnyRun | UserError, environment: list[tuple[str, str]]) -> Text:
        page = Text()
        section = self.get_component_rich_style("config--section")
        dim = self.get_component_rich_style("config--dim")
        if isinstance(config, UserError):
            page.append(printable(f"{config.problem} {config.remedy}"))
        else:
            chosen = self.get_component_rich_style("config--set")
            draft = Draft.from_config(config)
            page.append("Command for the same run\n", section)
            page.append(f"  $ {printable(draft.command())}\n\n")
            heading = ""
            for key, value in flatten(config).items():
                prefix, _, name = key.rpartition(".")
                if prefix != heading:
                    heading = prefix
                    page.append(f"{prefix}\n", section)
                page.append(f"  {name:<24} ", dim)
                page.append(f"{printable(as_text(value), 400)}\n", chosen if key in draft.typed else Style.null())
        page.append("\nEnvironment\n", section)
        for key, value in environment:
            page.append(f"  {key:<24} ", dim)
            page.append(f"{printable(value, 400)}\n")
        return page


def _environment(run: Run) -> list[tuple[str, str]]:
    """Return the facts of environment.json, or a note that it is missing or damaged."""
    environment = records.read(run.folder / ENVIRONMENT_FILE, Environment)
    if environment is None:
        return [("", "not started yet, or its environment.json can't be read")]
    facts = [(key, str(value)) for key in SHOWN_FACTS if (value := getattr(environment, key))]
    if environment.packages:
        facts.append(("packages", ", ".join(f"{name} {version}" for name, version in environment.packages.items())))
    return facts
