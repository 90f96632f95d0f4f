"""The keys of the main screen and of the app.

The footer shows their descriptions, the help page their tooltips, or the descriptions of those that have none.
"""

from __future__ import annotations

from textual.binding import Binding

from dipddpm.tui.console.preferences import PANES

RUNS, RUN, PANE, EVERYWHERE = map(Binding.Group, ("Runs", "A run", "Panes", "Everywhere"))
"""The sections of the help page."""
EXPORT = "export: tables, figures, a report, the model, TensorBoard, W&B or MLflow; with the scp line"
FILTER = "filter: words, kind:hybrid, state:crashed, tag:x, group:x, loss<0.04, age<2d, -word, a|b"
SCRUB = "time cursor back and forth: curves, PSNR and images move together; esc returns to now"
ENTER = "to the pane, which j k ↑ ↓ then scroll, as tab does; on a group, unfold it or fold it"
BACK = "back: from the pane, from the time cursor, from hiding, from the filter"
QUIT = "quit; runs go on without you"
MAIN_KEYS = (
    Binding("n", "command('new')", "new run", group=RUN),
    Binding("s", "command('stop')", "stop", group=RUN),
    Binding("r", "command('resume')", "resume", group=RUN),
    Binding("x", "command('extend')", "extend", group=RUN, tooltip="go on with a finished run for longer"),
    Binding("u", "command('undo')", "undo delete", group=RUN, tooltip="bring back the last deleted run until you quit"),
    Binding("Q", "queue", "queue", show=False, group=RUN, tooltip="the queue and its order"),
    Binding("D", "disk", "disk use", show=False, group=RUN, tooltip="disk use: keep best only, prune, empty the trash"),
    *(
        Binding(str(number), f"show('{pane}')", f"show {pane}", show=False, group=PANE, tooltip=", ".join(PANES))
        for number, pane in enumerate(PANES, start=1)
    ),
    Binding("enter", "open", "open", show=False, group=PANE, tooltip=ENTER),
    Binding("comma,less_than_sign", "scrub(-1)", "back in time", False, ",", group=PANE, tooltip=SCRUB),
    Binding("full_stop,greater_than_sign", "scrub(1)", "forward in time", False, ".", group=PANE, tooltip=SCRUB),
    Binding("m,space", "mark", "mark", key_display="m", group=RUNS, tooltip="mark for comparison (up to 8), or unmark"),
    Binding("M", "unmark", "unmark all", show=False, group=RUNS),
    Binding("slash", "filter", "filter", key_display="/", group=RUNS, tooltip=FILTER),
    Binding("y", "log_y", "log y", group=PANE),
    Binding("w", "smooth", "smooth", group=PANE, tooltip="the next smoothing weight"),
    Binding("a", "axis", "x axis", group=PANE, tooltip="steps, epochs or time along x"),
    Binding("o", "sort", "sort", group=RUNS, tooltip="sort by a column"),
    Binding("O", "reverse", "reverse the order", show=False, group=RUNS),
    Binding("0", "history", "all columns", group=RUNS, tooltip="all columns across the screen; enter goes back"),
    Binding("f", "command('fork')", "fork", group=RUN, tooltip="start a new run like this one"),
    Binding("t", "command('tag')", "tag and note", group=RUN),
    Binding("e", "command('export')", "export", group=RUN, tooltip=EXPORT),
    Binding("d", "command('delete')", "delete", group=RUN),
    Binding("z", "zoom", "hide the list", show=False, group=RUNS),
    Binding("left_square_bracket", "resize(-4)", "narrower list", False, "[", group=RUNS, tooltip="list width"),
    Binding("right_square_bracket", "resize(4)", "wider list", False, "]", group=RUNS, tooltip="list width"),
    Binding("escape", "back", "back", show=False, group=PANE, tooltip=BACK),
    Binding("q", "app.quit", "quit", group=EVERYWHERE, tooltip=QUIT),
)
APP_KEYS = (
    Binding("T", "theme", "theme", show=False, group=EVERYWHERE),
    Binding("question_mark", "help", "help", key_display="?", group=EVERYWHERE, tooltip="this page"),
    Binding("ctrl+p", "command_palette", "all commands", show=False, priority=True, group=EVERYWHERE),
    Binding("ctrl+c,ctrl+q", "quit", "quit", show=False, priority=True, group=EVERYWHERE, tooltip=QUIT),
)
