"""Dialogs: a confirmation, a choice, a few lines of input, a result, the help page. All texts are made safe to show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, NamedTuple, TypeVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.dom import DOMNode
from textual.screen import ModalScreen, Screen
from textual.widget import Widget
from textual.widgets import Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from dipddpm.core.config import AnyRun
from dipddpm.core.io.sanitize import printable, printable_lines

Result = TypeVar("Result")
Entry = TypeVar("Entry", bound=Input)
MAX_INPUT_LENGTH = 1 << 14
"""Maximum characters of an input."""
SIGNS = {
    "● ◐ ○": "running; stalled (alive, but no progress); waiting for a slot",
    "✓ ◆ ■ ✗ ! ?": "done; reference run; stopped; failed; crashed; unreadable config",
}
"""The signs of states, for the help page."""


class PromptField(NamedTuple):
    """A line of text to be entered."""

    key: str
    label: str
    value: str = ""
    hint: str = ""


class LaunchRequest(NamedTuple):
    """The form's result: a run to start, either `now` or when a slot is free."""

    config: AnyRun
    now: bool
    missing: str = ""
    """A data set that must be downloaded first; empty if there is none."""


class Dialog(ModalScreen[Result]):
    """A box with a title, the subclass's content, and a line of keys. Leaving it answers None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "leave"),
        Binding("j", "app.simulate_key('down')", show=False),
        Binding("k", "app.simulate_key('up')", show=False),
    ]
    KEYS = ""
    """The line of keys, each with a word."""
    BOX = "dialog"
    """The CSS classes of the box."""

    def __init__(self, title: str, detail: str = "") -> None:
        super().__init__()
        self._title = printable(title)
        self._detail = printable_lines(detail)

    def compose(self) -> ComposeResult:
        """Add the box with its title, content and keys."""
        with Vertical(classes=self.BOX):
            yield Label(self._title, classes="title", markup=False)
            if self._detail:
                yield Static(self._detail, classes="detail", markup=False)
            yield from self.content()
            yield Static(self.KEYS, classes="keys", markup=False)

    def content(self) -> Iterable[Widget]:
        """Return the widgets between the title and the keys."""
        return ()


class ConfirmDialog(Dialog[bool]):
    """A question answered by yes or no. Enter means no, so that a key held too long deletes nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "yes"),
        Binding("n,enter", "dismiss(None)", "no"),
    ]
    KEYS = "y yes   n no"


class ChoiceDialog(Dialog[str]):
    """A choice among several; the cursor starts at the current one."""

    KEYS = "enter choose   esc leave"

    def __init__(self, title: str, choices: Sequence[tuple[str, str]], chosen: str = "") -> None:
        super().__init__(title)
        self._choices = choices
        self._chosen = chosen

    def content(self) -> Iterable[Widget]:
        """Return the list of choices."""
        yield OptionList(*(Option(words, id=key) for key, words in self._choices), markup=False)

    def on_mount(self) -> None:
        """Move the cursor to the current choice."""
        keys = [key for key, _ in self._choices]
        self.query_one(OptionList).highlighted = keys.index(self._chosen) if self._chosen in keys else 0

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Answer with the chosen key."""
        self.dismiss(event.option.id)


class PromptDialog(Dialog[dict[str, str]]):
    """A few lines of input. Enter goes to the next line, and on the last line answers."""

    KEYS = "enter next line, or done   esc leave"

    def __init__(self, title: str, lines: Sequence[PromptField], detail: str = "") -> None:
        super().__init__(title, detail)
        self._lines = lines

    def content(self) -> Iterable[Widget]:
        """Return a label and an input for each line."""
        for line in self._lines:
            yield Label(line.label, classes="label", markup=False)
            yield text_field(line.value, f"field-{line.key}", placeholder=line.hint)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go to the next line, or answer with all lines."""
        fields = list(self.query(Input))
        if event.input is fields[-1]:
            self.dismiss({(field.id or "").removeprefix("field-"): field.value for field in fields})
        else:
            self.focus_next(Input)


class ResultDialog(Dialog[None]):
    """The result of a command, with a line to copy."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "dismiss(None)", "leave"),
        Binding("y,c", "copy", "copy"),
    ]
    KEYS = "c copy   enter leave"

    def __init__(self, title: str, text: str, line: str) -> None:
        super().__init__(title)
        self._text = printable_lines(text)
        self._line = printable(line)

    def content(self) -> Iterable[Widget]:
        """Return the text and the line."""
        yield Static(self._text, markup=False)
        yield Static(self._line, classes="line", markup=False)

    def action_copy(self) -> None:
        """Copy the line to the clipboard of the user's own machine, if the terminal allows it."""
        self.app.copy_to_clipboard(self._line)
        self.app.notify("Copied.", markup=False)


def text_field(
    value: str,
    id: str,  # noqa: A002
    placeholder: str,
    *,
    select_on_focus: bool = True,
    kind: type[Entry] = Input,  # type: ignore[assignment]
) -> Entry:
    """Return an input of one line. Its value is made safe to show: Textual writes it to the terminal unchanged."""
    field = kind(
        printable(value, MAX_INPUT_LENGTH),
        id=id,
        placeholder=placeholder,
        select_on_focus=select_on_focus,
        compact=True,
    )
    field.cursor_blink = False
    return field


class Help(Dialog[None]):
    """The help page: every binding that has a group, by group; bindings with the same text share a line."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,question_mark", "dismiss(None)", "leave")]

    def __init__(self, explained: Screen[object]) -> None:
        super().__init__("Keys (^ is ctrl): j k scroll, esc leaves")
        self._explained = explained

    def compose(self) -> ComposeResult:
        """Add the page."""
        with VerticalScroll(classes="dialog help"):
            yield Label(self._title, classes="title", markup=False)
            yield Static(self._page())

    def _page(self) -> Table:
        page = Table.grid(padding=(0, 2))
        page.add_column(style="bold", no_wrap=True)
        for title, lines in self._sections().items():
            page.add_row(title)
            for words, keys in lines.items():
                page.add_row(Text("  " + " ".join(keys)), Text(words))
            page.add_row()
        return page

    def _sections(self) -> dict[str, dict[str, list[str]]]:
        """Return each group's texts, each with its keys."""
        sections: dict[str, dict[str, list[str]]] = {}
        nodes: list[DOMNode] = [*self._explained.query("*"), self._explained, self._explained.app]
        for bindings in dict.fromkeys(tuple(node.BINDINGS) for node in nodes):
            for binding in bindings:
                if isinstance(binding, Binding) and binding.group:
                    lines = sections.setdefault(binding.group.description, {})
                    keys = [binding.key] if binding.key_display else binding.key.split(",")
                    names = [self.app.get_key_display(binding.with_key(key, binding.key_display)) for key in keys]
                    lines.setdefault(binding.tooltip or binding.description, []).extend(names)
        if "Runs" in sections:
            sections["Signs"] = {words: [signs] for signs, words in SIGNS.items()}
        return sections
