"""`?`: what the keys do, told for the screen from which it was asked."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Label, Static

from dipddpm.core.io.sanitize import wrapped

SECTIONS: dict[str, list[tuple[str, list[tuple[str, str]]]]] = {
    "MainScreen": [
        (
            "Runs",
            [
                ("j k  ↑ ↓", "the run below, above"),
                ("g G  ctrl+d ctrl+u", "first, last; a page down, up"),
                (
                    "/",
                    "filter: words, kind:hybrid, state:crashed, tag:x, group:x, loss<0.04, age<2d, -word, a|b",
                ),
                ("o O", "sort by a column; turn the order"),
                ("0", "all columns across the screen; enter goes back to the run"),
                ("→ ←  enter", "unfold a group, fold it; on its header its combinations are compared, mean and spread"),
                ("m M", "mark for comparison (up to 8); unmark all"),
                ("[ ]  z", "narrower or wider list; hide it"),
            ],
        ),
        (
            "A run",
            [
                ("n f", "start a new run; start one like this"),
                ("s r x", "stop it; resume it; go on with a finished one for longer"),
                ("t", "tags and a note"),
                ("e", "export: tables, figures, a report, the model, TensorBoard, W&B or MLflow; with the scp line"),
                ("d u", "delete; bring the last one back (until you quit)"),
                ("Q D", "the queue and its order; disk use, keep best only, prune"),
            ],
        ),
        (
            "Panes",
            [
                ("1 2 3 4 5", "live, images, log, config, compare"),
                (", .", "time cursor back and forth: curves, PSNR and images move together; esc returns to now"),
                ("y w a", "log y; smoothing; steps, epochs or time along x"),
                ("tab  enter", "between the list and the pane, which j k ↑ ↓ then scroll"),
                ("esc", "back: from the pane, from the time cursor, from hiding, from the filter"),
            ],
        ),
        (
            "Signs",
            [
                ("● ◐ ○", "running; alive but not advancing; waiting for a slot"),
                ("✓ ■ ✗ ! ?", "done; stopped; failed; crashed; its config can't be read"),
            ],
        ),
        (
            "Everywhere",
            [
                ("ctrl+p", "find a command"),
                ("T", "theme"),
                ("?", "this page"),
                ("q  ctrl+c", "quit; runs go on without you"),
            ],
        ),
    ],
    "Form": [
        (
            "New run",
            [
                ("tab ↓ ↑", "next option, previous one"),
                ("← →  space", "turn through the words of a choice"),
                ("ctrl+o", "all options, or the first ones only"),
                ("ctrl+s", "start: when a slot on the device is free, else it waits in the queue"),
                ("ctrl+g", "start at once, without waiting for a slot"),
                ("ctrl+y", "copy the command that starts the same run"),
                ("esc", "leave"),
            ],
        )
    ],
    "QueueScreen": [
        ("QueueScreen", [("j k", "choose"), ("J K", "later, earlier"), ("s", "stop it"), ("esc", "leave")])
    ],
    "Storage": [
        (
            "Disk use",
            [
                ("j k", "choose"),
                ("b", "keep the best model only: the run can't be resumed any more"),
                ("p", "the same for every run that has ended"),
                ("d", "delete"),
                ("x", "empty the trash"),
                ("esc", "leave"),
            ],
        )
    ],
}


class Help(ModalScreen[None]):
    """The keys in groups."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark", "dismiss(None)", "leave"),
        Binding("j", "scroll(1)", show=False),
        Binding("k", "scroll(-1)", show=False),
    ]

    def __init__(self, explained: Screen[object]) -> None:
        super().__init__()
        self._sections = SECTIONS.get(type(explained).__name__, SECTIONS["MainScreen"])

    def compose(self) -> ComposeResult:
        """The page."""
        with VerticalScroll(classes="dialog help"):
            yield Label("Keys", classes="title", markup=False)
            yield Static(self._page(), markup=False)

    def _page(self) -> Text:
        width = 22
        room = min(104, self.app.size.width - 16)
        page = Text()
        for title, keys in self._sections:
            page.append(f"\n{title}\n", Style(bold=True))
            for key, words in keys:
                first, *more = wrapped(words, max(20, room - width))
                page.append(f"  {key:<{width}}", Style(bold=True))
                page.append(f"{first}\n" + "".join(f"{'':<{width + 2}}{line}\n" for line in more))
        return page

    def action_scroll(self, by: int) -> None:
        """Scroll as vim does."""
        self.query_one(VerticalScroll).scroll_relative(y=by, animate=False)
