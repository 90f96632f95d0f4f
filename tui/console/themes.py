"""The console's four themes; each one also defines eight colours for the series of compared runs.

Colour alone never carries a meaning: every state also has a sign, and series have a legend.
"""

from __future__ import annotations

from typing import Any

from textual.theme import Theme

SUMMARIES = {
    "night": "dark",
    "day": "light",
    "clear": "dark, safe for colour-blind eyes",
    "plain": "the terminal's own sixteen colours",
}
_COLOURS = """
primary     #6cb6ff  #0b5cad  #56b4e9  ansi_blue
secondary   #8ddb8c  #1a6b2d  #009e73  ansi_cyan
accent      #f0b866  #9a5b00  #f0e442  ansi_magenta
foreground  #d8dee6  #1c2128  #e6e6e6  ansi_default
background  #12161c  #fbfbf9  #101010  ansi_default
surface     #171c24  #f3f3ef  #181818  ansi_default
panel       #222a35  #e4e4de  #2a2a2a  ansi_default
success     #8ddb8c  #1a6b2d  #56b4e9  ansi_green
warning     #f0b866  #8f5400  #f0e442  ansi_yellow
error       #ff7b72  #b3261e  #e8743b  ansi_red
series-0    #6cb6ff  #0b5cad  #56b4e9  ansi_cyan
series-1    #f0b866  #b35900  #e69f00  ansi_yellow
series-2    #8ddb8c  #1a6b2d  #009e73  ansi_green
series-3    #ff8f80  #b3261e  #f0e442  ansi_red
series-4    #d2a8ff  #7b3fb5  #cc79a7  ansi_magenta
series-5    #5fd7d0  #00706b  #d55e00  ansi_bright_blue
series-6    #f7a8cf  #a8326f  #4a90e2  ansi_bright_magenta
series-7    #b8c480  #5d6600  #f5f5f5  ansi_default
"""
"""One column per theme. The colours of `clear` suit all common kinds of colour blindness (Okabe and Ito, 2008)."""
_ANSI_VARIABLES = {
    "ansi-background": "ansi_default",
    "ansi-foreground": "ansi_default",
    "block-cursor-foreground": "ansi_black",
    "block-cursor-background": "ansi_cyan",
    "input-cursor-background": "ansi_default",
    "input-cursor-foreground": "ansi_default",
}


def _theme(name: str, colours: dict[str, str]) -> Theme:
    series = {key: colour for key, colour in colours.items() if key.startswith("series-")}
    options: dict[str, Any] = {key: colour for key, colour in colours.items() if key not in series}
    if name == "plain":
        options |= {"ansi": True, "boost": "ansi_default"}
        series |= _ANSI_VARIABLES
    return Theme(name, dark=name != "day", variables=series, **options)


_KEYS, *_COLUMNS = zip(*map(str.split, _COLOURS.strip().splitlines()), strict=True)
THEMES = {
    name: _theme(name, dict(zip(_KEYS, column, strict=True))) for name, column in zip(SUMMARIES, _COLUMNS, strict=True)
}
