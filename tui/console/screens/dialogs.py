"""Small questions: yes or no, a choice, a few lines of text. Whatever they are asked to say is made safe to show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from dipddpm.core.io.sanitize import printable, printable_lines
from dipddpm.tui.console.model.questions import PromptField


class ConfirmDialog(ModalScreen[bool]):
    """Yes or no. Enter alone means no, so that a key held too long deletes nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,enter,q", "answer(False)", "no"),
    ]

    def __init__(self, question: str, detail: str = "") -> None:
        super().__init__()
        self._question = printable(question)
        self._detail = printable_lines(detail)

    def compose(self) -> ComposeResult:
        """The question and how to answer it."""
        with Vertical(classes="dialog"):
            yield Label(self._question, classes="title", markup=False)
            if self._detail:
                yield Static(self._detail, classes="detail", markup=False)
            yield Static("y yes   n no", classes="keys", markup=False)

    def action_answer(self, answer: bool) -> None:
        """Give the answer."""
        self.dismiss(answer)


class ChoiceDialog(ModalScreen[str | None]):
    """One of several, each with its key and its words."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "leave"),
        Binding("j", "cursor(1)", show=False),
        Binding("k", "cursor(-1)", show=False),
    ]

    def __init__(self, title: str, choices: Sequence[tuple[str, str]], chosen: str = "") -> None:
        super().__init__()
        self._title = printable(title)
        self._choices = choices
        self._chosen = chosen

    def compose(self) -> ComposeResult:
        """The choices, the present one under the cursor."""
        with Vertical(classes="dialog"):
            yield Label(self._title, classes="title", markup=False)
            yield OptionList(*(Option(words, id=key) for key, words in self._choices), markup=False)
            yield Static("enter choose   esc leave", classes="keys", markup=False)

    def on_mount(self) -> None:
        """Begin at what is chosen now."""
        keys = [key for key, _ in self._choices]
        self.query_one(OptionList).highlighted = keys.index(self._chosen) if self._chosen in keys else 0

    def action_cursor(self, by: int) -> None:
        """Move as vim does."""
        options = self.query_one(OptionList)
        options.action_cursor_down() if by > 0 else options.action_cursor_up()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Chosen."""
        self.dismiss(event.option.id)


MAX_INPUT_LENGTH = 1 << 14
"""Characters of a text that can be changed here."""


class PromptDialog(ModalScreen[dict[str, str] | None]):
    """A few lines of text. Enter goes to the next one, and from the last one it is done."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "leave")]

    def __init__(self, title: str, lines: Sequence[PromptField], detail: str = "") -> None:
        super().__init__()
        self._title = printable(title)
        self._lines = lines
        self._detail = printable_lines(detail)

    def compose(self) -> ComposeResult:
        """A label and a field each."""
        with Vertical(classes="dialog"):
            yield Label(self._title, classes="title", markup=False)
            if self._detail:
                yield Static(self._detail, classes="detail", markup=False)
            for line in self._lines:
                yield Label(line.label, classes="label", markup=False)
                field = Input(
                    printable(line.value, MAX_INPUT_LENGTH), placeholder=line.hint, id=f"field-{line.key}", compact=True
                )
                field.cursor_blink = False
                yield field
            yield Static("enter next, done   esc leave", classes="keys", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go on, or hand over what was written."""
        fields = list(self.query(Input))
        index = fields.index(event.input)
        if index + 1 < len(fields):
            fields[index + 1].focus()
        else:
            self.dismiss({(field.id or "").removeprefix("field-"): field.value for field in fields})


class ResultDialog(ModalScreen[None]):
    """Something done, and a line to copy."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,q", "dismiss(None)", "leave"),
        Binding("y,c", "copy", "copy"),
    ]

    def __init__(self, title: str, text: str, line: str) -> None:
        super().__init__()
        self._title = printable(title)
        self._text = printable_lines(text)
        self._line = printable(line)

    def compose(self) -> ComposeResult:
        """The words, and the line by itself."""
        with Vertical(classes="dialog"):
            yield Label(self._title, classes="title", markup=False)
            yield Static(self._text, markup=False)
            yield Static(self._line, classes="line", markup=False)
            yield Static("c copy   enter leave", classes="keys", markup=False)

    def action_copy(self) -> None:
        """Put the line on the clipboard of the person's own machine, where the terminal allows it."""
        self.app.copy_to_clipboard(self._line)
        self.app.notify("Copied.", markup=False)
