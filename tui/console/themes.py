"""How the console looks: four themes, and the eight series colours that each gives to compared runs.

Colours alone never carry a meaning: states have a sign of their own, series a legend.
"""

from __future__ import annotations

from textual.theme import Theme

SERIES_COLOURS = 8


def _series_variables(*colours: str) -> dict[str, str]:
    return {f"series-{number}": colour for number, colour in enumerate(colours)}


NIGHT = Theme(
    name="night",
    primary="#6cb6ff",
    secondary="#8ddb8c",
    accent="#f0b866",
    foreground="#d8dee6",
    background="#12161c",
    surface="#171c24",
    panel="#222a35",
    success="#8ddb8c",
    warning="#f0b866",
    error="#ff7b72",
    variables=_series_variables("#6cb6ff", "#f0b866", "#8ddb8c", "#ff8f80", "#d2a8ff", "#5fd7d0", "#f7a8cf", "#b8c480"),
)
DAY = Theme(
    name="day",
    primary="#0b5cad",
    secondary="#1a6b2d",
    accent="#9a5b00",
    foreground="#1c2128",
    background="#fbfbf9",
    surface="#f3f3ef",
    panel="#e4e4de",
    success="#1a6b2d",
    warning="#8f5400",
    error="#b3261e",
    dark=False,
    variables=_series_variables("#0b5cad", "#b35900", "#1a6b2d", "#b3261e", "#7b3fb5", "#00706b", "#a8326f", "#5d6600"),
)
CLEAR = Theme(
    name="clear",
    primary="#56b4e9",
    secondary="#009e73",
    accent="#f0e442",
    foreground="#e6e6e6",
    background="#101010",
    surface="#181818",
    panel="#2a2a2a",
    success="#56b4e9",
    warning="#f0e442",
    error="#e8743b",
    variables=_series_variables("#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#4a90e2", "#f5f5f5"),
)
"""Colours that people with any common colour blindness tell apart (after Okabe and Ito, 2008)."""
PLAIN = Theme(
    name="plain",
    ansi=True,
    primary="ansi_blue",
    secondary="ansi_cyan",
    accent="ansi_magenta",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    success="ansi_green",
    warning="ansi_yellow",
    error="ansi_red",
    variables={
        "ansi-background": "ansi_default",
        "ansi-foreground": "ansi_default",
        "block-cursor-foreground": "ansi_black",
        "block-cursor-background": "ansi_cyan",
        "input-cursor-background": "ansi_default",
        "input-cursor-foreground": "ansi_default",
        **_series_variables(
            "ansi_cyan",
            "ansi_yellow",
            "ansi_green",
            "ansi_red",
            "ansi_magenta",
            "ansi_bright_blue",
            "ansi_bright_magenta",
            "ansi_default",
        ),
    },
)
"""The terminal's own sixteen colours."""

THEMES: dict[str, Theme] = {theme.name: theme for theme in (NIGHT, DAY, CLEAR, PLAIN)}
SUMMARIES = {
    "night": "dark",
    "day": "light",
    "clear": "dark, safe for colour-blind eyes",
    "plain": "the terminal's own sixteen colours",
}
