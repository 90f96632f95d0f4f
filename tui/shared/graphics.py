"""Which terminals may show pixels."""

from __future__ import annotations

import re
from collections.abc import Mapping

GRAPHICS_TERMINALS = re.compile("kitty|ghostty|wezterm|foot|iterm|konsole|mlterm|contour|sixel|rio|vscode")
"""Terminals that may show pixels, by what they set in the environment; only these are asked, for asking takes time."""


def may_have_graphics(environment: Mapping[str, str]) -> bool:
    """Whether a terminal that sets these variables is worth asking."""
    hints = " ".join(environment.get(name, "") for name in ("TERM", "TERM_PROGRAM", "LC_TERMINAL")).lower()
    return "KONSOLE_VERSION" in environment or GRAPHICS_TERMINALS.search(hints) is not None
