"""The form for a new run, generated from the config's fields. Each input is checked while it is typed."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.events import DescendantFocus
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Input, Label, Static

from dipddpm.core.config import HYBRIDS, TASKS, AnyRun, Field
from dipddpm.core.errors import UserError
from dipddpm.core.io.sanitize import printable
from dipddpm.core.launch import preflight, results
from dipddpm.core.launch.defaults import limit_images
from dipddpm.core.runs import RunState
from dipddpm.tui.console.background import run_in_background
from dipddpm.tui.console.screens.dialogs import LaunchRequest, text_field
from dipddpm.tui.console.session import Session
from dipddpm.tui.console.widgets.choice import Choice
from dipddpm.tui.console.widgets.keyline import KeyLine
from dipddpm.tui.console.widgets.path_input import PathInput
from dipddpm.tui.shared.draft import NOISE_LEVELS, PATH_LISTS, Draft
from dipddpm.tui.shared.durations import format_duration
from dipddpm.tui.shared.paths import listed
from dipddpm.tui.shared.runlist import RunRow

GROUP = Binding.Group("New run")
STEP = "next or previous option"
START = "start the run, or queue it until a slot on the device is free"
MORE = "show all options, or only the basic ones"
COPY = "copy the command that starts the same run"
TITLES = {"kind": {"image": "restore my picture"}}
"""The texts that the form shows in place of some words of its choices."""
KIND_MEANING = "kind of run: dip fits each image, ddpm trains a model, hybrid combines both"
KIND_MEANINGS = {
    "image": "restores a damaged picture of your own: noisy, scratched, small or blurred; nothing else is needed",
    "acceleration": "measures which start makes a diffusion sampler reach its quality soonest",
    "map": "measures with which prior, measurement and domain a hybrid gains over DIP and diffusion",
    "restore": "restores the same degraded images with every method, and compares them",
}
COMPLETED = (*PATH_LISTS, "task.mask", "task.file", "picture.out", "data.directory")
"""Options whose paths are completed by Tab."""
PICTURE_HINTS = {
    "images.given": "the damaged picture; Tab completes its path",
    "task.mask": "black where pixels are missing, white elsewhere",
    "images.truth": "none; the undamaged picture, if there is one",
}
MAX_SIMILAR_RUNS = 5
"""Number of earlier runs, the latest ones, from which the time of a new run is estimated."""


class OptionRows(VerticalScroll, can_focus=False, inherit_bindings=False):
    """The scrolling rows of options; it binds no keys, so that up and down reach the form and move the focus."""


class Form(Screen[LaunchRequest]):
    """One line per option; below, the option's meaning, the first error or the estimated time, and the command."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,enter,j", "step(1)", "next", False, "tab ↓", group=GROUP, tooltip=STEP),
        Binding("up,k", "step(-1)", "previous", False, "↑", group=GROUP, tooltip=STEP),
        Binding("ctrl+s", "launch(False)", "start", priority=True, group=GROUP, tooltip=START),
        Binding("ctrl+g", "launch(True)", "start without queueing", priority=True, group=GROUP),
        Binding("ctrl+o", "more", "all options", priority=True, group=GROUP, tooltip=MORE),
        Binding("ctrl+y", "copy", "copy command", priority=True, group=GROUP, tooltip=COPY),
        Binding("escape", "dismiss(None)", "leave", group=GROUP),
    ]

    def __init__(self, draft: Draft, title: str, session: Session) -> None:
        super().__init__()
        self.draft = draft
        self._title = printable(title)
        self._session = session
        self._root = None if session.uses_default_root else session.options.root
        self._shows_all = False
        self._fields: dict[str, Field] = {}

    def compose(self) -> ComposeResult:
        """Add the title, the options, and the lines about them."""
        yield Label(self._title, id="form-title", markup=False)
        yield OptionRows(id="form-options")
        yield Static(id="form-help", markup=False)
        yield Static(id="form-trouble", markup=False)
        yield Static(id="form-command", markup=False)
        yield KeyLine()

    async def on_mount(self) -> None:
        """Show the options."""
        await self._fill()

    async def _fill(self) -> None:
        """Replace the rows of options; the focus stays on its option. Does nothing once the form has been left."""
        focused = self.focused.id if self.focused else None
        options = self.query_one("#form-options")
        with self.app.batch_update():
            await options.remove_children()
            self._fields = {_widget_id(field.key): field for field in self.draft.fields}
            await options.mount_all(self._rows())
        focusable = (focused and options.query(f"#{focused}")) or options.query("Choice, Input")
        if focusable:
            focusable.first().focus()
            self._check_options()

    def _rows(self) -> list[Widget]:
        draft = self.draft
        rows = [
            _option_row(name, Choice(words, getattr(draft, name), id=f"pick-{name}", titles=TITLES.get(name)))
            for name, words in draft.choices.items()
            if words
        ]
        section = ""
        for name, field in self._fields.items():
            if not (self._shows_all or draft.is_basic(field.key)):
                continue
            prefix = field.key.partition(".")[0] if "." in field.key else ""
            if self._shows_all and not draft.is_basic(field.key) and prefix != section:
                rows.append(Label(prefix or "run", classes="section", markup=False))
            section = prefix
            rows.append(_option_row(draft.label(field.key), self._widget(name, field)))
        return rows

    def _widget(self, name: str, field: Field) -> Widget:
        value = self.draft.value(field)
        if words := self.draft.words(field):
            return Choice(words, value, id=name)
        hint = "" if field.type in {int, float} else "none"
        if field.key not in COMPLETED:
            hint = "estimated" if field.key in NOISE_LEVELS and self.draft.estimates_noise else hint
            return text_field(value, name, hint, select_on_focus=False)
        hint = PICTURE_HINTS.get(field.key, hint) if self.draft.kind == "image" else hint
        entry = text_field(value, name, hint, select_on_focus=False, kind=PathInput)
        entry.several, entry.folders_only = field.key in PATH_LISTS, field.key == "data.directory"
        return entry

    @on(Choice.Changed)
    async def _chosen(self, event: Choice.Changed) -> None:
        name = event.choice.id or ""
        if name.startswith("pick-"):
            self.draft.choose(name.removeprefix("pick-"), event.value)
            await self._fill()
        else:
            self.draft.set_value(self._fields[name], event.value)
            self._check_options()

    @on(PathInput.Candidates)
    def _list(self, event: PathInput.Candidates) -> None:
        """Show how a path may go on."""
        self.query_one("#form-help", Static).update(listed(event.names, 2 * self.size.width))

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        field = self._fields.get(event.input.id or "")
        # A new input first reports its initial value, with which the form has already been checked.
        if field and event.value != self.draft.value(field):
            self.draft.set_value(field, event.value)
            self._check_options()

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """Show the lines about the option that has the focus."""
        self._check_options()

    def _check_options(self) -> None:
        """Check all options; show the focused option's meaning, the first error or estimated time, and the command."""
        troubles = {name: self.draft.problem(field.key) for name, field in self._fields.items()}
        for row in self.query_one("#form-options").children:
            row.set_class(any(troubles.get(widget.id or "") for widget in row.children), "wrong")
        for name, field in self._fields.items():
            if field.key == "task.noise":  # a noise level that is typed means Gaussian noise
                for choice in self.query(f"#{name}").results(Choice):
                    choice.value = self.draft.value(field)
        focused_id = self.focused.id or "" if self.focused else ""
        self.query_one("#form-help", Static).update(self._meaning(focused_id))
        trouble = troubles.get(focused_id) or next(filter(None, troubles.values()), "")
        duration, command = "", ""
        try:
            if not trouble:
                seconds = estimate(self.draft.config(), self._session.rows)
                duration = "ready; there is no similar run yet to estimate the time from"
                if seconds is not None:
                    duration = f"takes about {format_duration(seconds)}, estimated from similar runs"
                command = f"$ {self.draft.command(root=self._root)}"
        except UserError as error:
            trouble = str(error)
        line = self.query_one("#form-trouble", Static)
        line.set_class(bool(trouble), "wrong")
        line.update(printable(trouble) or duration)
        self.query_one("#form-command", Static).update(printable(command))

    def _meaning(self, name: str) -> str:
        if field := self._fields.get(name):
            return _description_text(field)
        return {
            "pick-kind": KIND_MEANINGS.get(self.draft.kind, KIND_MEANING),
            "pick-method": HYBRIDS[self.draft.method].summary,
            "pick-preset": "a named set of values; values typed below override it",
            "pick-task": TASKS[self.draft.task].summary,
        }.get(name, "")

    def action_step(self, by: int) -> None:
        """Move the focus to the next or the previous option."""
        self.focus_next("Choice, Input") if by > 0 else self.focus_previous("Choice, Input")

    async def action_more(self) -> None:
        """Show all options, or only the basic ones."""
        self._shows_all = not self._shows_all
        await self._fill()

    def action_copy(self) -> None:
        """Copy the command to the clipboard of the user's own machine, if the terminal allows it."""
        try:
            self.app.copy_to_clipboard(self.draft.command(root=self._root))
        except UserError as error:
            self.app.notify(printable(str(error)), severity="error", markup=False)
        else:
            self.app.notify("Command copied.", markup=False)

    def action_launch(self, now: bool) -> None:
        """Check the run in the background, then leave the form with it; show the error if there is one."""
        try:
            config, typed = self.draft.config(), dict(self.draft.typed)
        except UserError as error:
            self._show_error(error)
            return

        def check() -> LaunchRequest:
            limited = limit_images(config, typed)
            results.refuse_existing(limited, "Name another file as out.")
            missing = preflight.missing_data(limited)
            preflight.refuse(limited, fetching=missing is not None)
            return LaunchRequest(limited, now, missing or "")

        run_in_background(self.app, check, self._leave, self._show_error)

    def _leave(self, request: LaunchRequest) -> None:
        if self.is_current:  # the form may have been left meanwhile, or the key pressed twice
            self.dismiss(request)

    def _show_error(self, error: UserError) -> None:
        for line in self.query("#form-trouble").results(Static):
            line.add_class("wrong")
            line.update(printable(str(error)))


def _option_row(label: str, widget: Widget) -> Widget:
    return Horizontal(Label(label, classes="label", markup=False), widget, classes="row")


def _widget_id(key: str) -> str:
    return "option-" + key.replace(".", "-")


def _description_text(field: Field) -> str:
    bounds = [
        f"{sign} {bound:g}"
        for sign, bound in (("≥", field.ge), (">", field.gt), ("≤", field.le), ("<", field.lt))
        if bound is not None
    ]
    limits = f" ({', '.join(bounds)})" if bounds else ""
    return f"{field.description}{limits}"


def estimate(config: AnyRun, rows: Sequence[RunRow]) -> float | None:
    """Estimate a run's seconds from its first step to its end; None if there is no similar run.

    Similar runs have finished with the same kind, method, data set and device. Their times are scaled by the number of
    epochs, or of steps if they trained for no epochs. The effect of other options is ignored.
    """
    similar = sorted((row for row in rows if _is_similar(row, config)), key=lambda row: row.started, reverse=True)
    planned_epochs, planned_steps = _plan(config)
    estimates = []
    for row in similar[:MAX_SIMILAR_RUNS]:
        if row.epochs and planned_epochs:
            estimates.append(row.duration / row.epochs * planned_epochs)
        elif not row.epochs and planned_steps and row.steps:
            estimates.append(row.duration / row.steps * planned_steps)
    return median(estimates) if estimates else None


def _is_similar(row: RunRow, config: AnyRun) -> bool:
    return (
        row.state is RunState.finished
        and row.duration > 0
        and (row.kind, row.method) == (config.kind, config.method)
        and row.dataset in {config.data.dataset, ""}
        and (config.device == "auto" or row.device.partition(":")[0] == config.device.partition(":")[0])
    )


def _plan(config: AnyRun) -> tuple[int, int]:
    """Return the config's number of epochs and of DIP iterations; 0 if it has none."""
    ddpm, dip = getattr(config, "ddpm", None), getattr(config, "dip", None)
    return getattr(ddpm, "epochs", 0), getattr(dip, "iterations", 0)
