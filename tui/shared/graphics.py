"""Detection of terminals that may show pixels."""

from __future__ import annotations

import re
from collections.abc import Mapping

GRAPHICS_TERMINALS = re.compile("kitty|ghostty|wezterm|foot|iterm|konsole|mlterm|contour|sixel|rio|vscode")
"""Names, in environment variables, of terminals that may show pixels; only these are queried, which takes time."""


def may_have_graphics(environment: Mapping[str, str]) -> bool:
    """Return whether the terminal that sets these variables may show pixels."""
    hints = " ".join(environment.get(name, "") for name in ("TERM", "TERM_PROGRAM", "LC_TERMINAL")).lower()
    return "KONSOLE_VERSION" in environment or GRAPHICS_TERMINALS.search(hints) is not None
