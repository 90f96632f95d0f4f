"""The smallest Textual program, which the console's start is measured against."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.widgets import Static


class Bare(App[None]):
    """A screen that shows the word that `benchmarks.console` waits for."""

    def compose(self) -> ComposeResult:
        """One line of text."""
        yield Static("bench-ready")


if __name__ == "__main__":
    Bare().run()
