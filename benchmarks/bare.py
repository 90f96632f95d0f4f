"""The smallest Textual program, the baseline for the console's start-up time."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.widgets import Static


class Bare(App[None]):
    """An app whose screen shows the text that `benchmarks.console` waits for."""

    def compose(self) -> ComposeResult:
        """Yield one line of text."""
        yield Static("bench-ready")


if __name__ == "__main__":
    Bare().run()
