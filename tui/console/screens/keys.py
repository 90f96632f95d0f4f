"""The keys of the main screen."""

from __future__ import annotations

from textual.binding import Binding

from dipddpm.tui.console.panes.catalogue import PANES

MAIN_KEYS = (
    Binding("n", "command('new')", "new run"),
    Binding("s", "command('stop')", "stop"),
    Binding("r", "command('resume')", "resume"),
    Binding("x", "command('extend')", "extend"),
    Binding("u", "command('undo')", "undo delete"),
    Binding("Q", "queue", "queue", show=False),
    Binding("D", "disk", "disk use", show=False),
    *(Binding(str(n), f"show('{pane}')", f"show {pane}", show=False) for n, pane in enumerate(PANES, start=1)),
    Binding("enter", "open", "open", show=False),
    Binding("comma,less_than_sign", "scrub(-1)", "back in time", key_display=",", show=False),
    Binding("full_stop,greater_than_sign", "scrub(1)", "forward in time", key_display=".", show=False),
    Binding("m,space", "mark", "mark", key_display="m"),
    Binding("M", "unmark", "unmark all", show=False),
    Binding("slash", "filter", "filter", key_display="/"),
    Binding("y", "log_y", "log y"),
    Binding("w", "smooth", "smooth"),
    Binding("a", "axis", "x axis"),
    Binding("o", "sort", "sort"),
    Binding("O", "reverse", "reverse the order", show=False),
    Binding("0", "history", "all columns"),
    Binding("f", "command('fork')", "fork"),
    Binding("t", "command('tag')", "tag and note"),
    Binding("e", "command('export')", "export"),
    Binding("d", "command('delete')", "delete"),
    Binding("z", "zoom", "hide the list", show=False),
    Binding("left_square_bracket", "resize(-4)", "narrower list", key_display="[", show=False),
    Binding("right_square_bracket", "resize(4)", "wider list", key_display="]", show=False),
    Binding("escape", "back", "back", show=False),
    Binding("q", "app.quit", "quit"),
)
