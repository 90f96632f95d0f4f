"""A report of the durability tests' figures, printed after the tests."""

from __future__ import annotations

import pytest

REPORT = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the figures that the tests have collected."""
    if lines := config.stash.get(REPORT, []):
        terminalreporter.section("durability")
        for line in lines:
            terminalreporter.write_line(line)
