"""The keys of the main screen and of the app.

The footer shows their descriptions; the help page shows their tooltips, or else their descriptions.
"""

from __future__ import annotations

from textual.binding import Binding

from dipddpm.tui.console.preferences import PANES

RUNS, RUN, PANE, EVERYWHERE = map(Binding.Group, ("Runs", "A run", "Panes", "Everywhere"))
"""The sections of the help page."""
EXPORT = "export tables, figures, a report, the model; also for TensorBoard, W&B and MLflow"
FILTER = "filter, e.g. word, kind:hybrid, state:crashed, tag:x, group:x, loss<0.04, age<2d, -word, a|b"
SCRUB = "move the time cursor back or forward: curves, values and images show its step; esc leaves it"
ENTER = "go to the pane (as tab does), where j k ↑ ↓ scroll; on a group, unfold or fold it"
BACK = "back: leave the time cursor, else the pane, else the hidden or wide list, else the filter"
COLUMNS = "show all columns; 0 or enter goes back; a result such as 24.31* leaves exact images out"
QUIT = "quit; runs continue without the console"
MAIN_KEYS = (
    Binding("n", "command('new')", "new run", group=RUN, tooltip="fill in the form for a new run"),
    Binding("s", "command('stop')", "stop", group=RUN, tooltip="stop the run, or all runs of a group"),
    Binding("r", "command('resume')", "resume", group=RUN, tooltip="resume from the last checkpoint"),
    Binding("x", "command('extend')", "extend", group=RUN, tooltip="continue a finished run in a new, longer one"),
    Binding("u", "command('undo')", "undo delete", group=RUN, tooltip="bring back the last deleted run until you quit"),
    Binding("Q", "queue", "queue", show=False, group=RUN, tooltip="show the queue and change its order"),
    Binding("D", "disk", "disk use", show=False, group=RUN, tooltip="disk use: free space, empty the trash"),
    *(
        Binding(str(number), f"show('{pane}')", f"show {pane}", show=False, group=PANE, tooltip=", ".join(PANES))
        for number, pane in enumerate(PANES, start=1)
    ),
    Binding("enter", "open", "open", show=False, group=PANE, tooltip=ENTER),
    Binding("comma,less_than_sign", "scrub(-1)", "back in time", False, ",", group=PANE, tooltip=SCRUB),
    Binding("full_stop,greater_than_sign", "scrub(1)", "forward in time", False, ".", group=PANE, tooltip=SCRUB),
    Binding("m,space", "mark", "mark", key_display="m", group=RUNS, tooltip="mark or unmark for comparison (up to 8)"),
    Binding("M", "unmark", "unmark all", show=False, group=RUNS),
    Binding("slash", "filter", "filter", key_display="/", group=RUNS, tooltip=FILTER),
    Binding("y", "log_y", "log y", group=PANE, tooltip="y axis: logarithmic or linear"),
    Binding("w", "smooth", "smooth", group=PANE, tooltip="smooth the loss: next weight"),
    Binding("a", "axis", "x axis", group=PANE, tooltip="x axis: steps, epochs or time"),
    Binding("o", "sort", "sort", group=RUNS, tooltip="sort by a column"),
    Binding("O", "reverse", "reverse the order", show=False, group=RUNS),
    Binding("0", "history", "all columns", group=RUNS, tooltip=COLUMNS),
    Binding("f", "command('fork')", "fork", group=RUN, tooltip="start a new run like this one"),
    Binding("t", "command('tag')", "tag and note", group=RUN, tooltip="edit tags and note"),
    Binding("e", "command('export')", "export", group=RUN, tooltip=EXPORT),
    Binding("d", "command('delete')", "delete", group=RUN, tooltip="delete the run (u undoes it)"),
    Binding("z", "zoom", "hide the list", show=False, group=RUNS, tooltip="hide or show the list"),
    Binding("left_square_bracket", "resize(-4)", "narrower list", False, "[", group=RUNS, tooltip="list width"),
    Binding("right_square_bracket", "resize(4)", "wider list", False, "]", group=RUNS, tooltip="list width"),
    Binding("escape", "back", "back", show=False, group=PANE, tooltip=BACK),
    Binding("q", "app.quit", "quit", group=EVERYWHERE, tooltip=QUIT),
)
APP_KEYS = (
    Binding("T", "theme", "theme", show=False, group=EVERYWHERE, tooltip="choose a theme"),
    Binding("question_mark", "help", "help", key_display="?", group=EVERYWHERE, tooltip="this page"),
    Binding("ctrl+p", "command_palette", "all commands", show=False, priority=True, group=EVERYWHERE),
    Binding("ctrl+c,ctrl+q", "quit", "quit", show=False, priority=True, group=EVERYWHERE, tooltip=QUIT),
)
