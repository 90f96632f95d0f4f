"""What can be done to runs from the main screen: start, stop, change, take away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual.binding import Binding, BindingType
from textual.screen import Screen

from dipddpm.core.errors import UserError
from dipddpm.core.launch import local
from dipddpm.core.runs import Run, RunState, extend, trash
from dipddpm.tui.shared.columns import format_size, run_title

if TYPE_CHECKING:
    from dipddpm.core.export import Format
    from dipddpm.tui.console.app import DipddpmApp
    from dipddpm.tui.console.preferences import Preferences
    from dipddpm.tui.console.reader import Reader
    from dipddpm.tui.console.screens.dialogs import ConfirmDialog, ResultDialog
    from dipddpm.tui.console.screens.form import LaunchRequest
    from dipddpm.tui.console.widgets.runtable import RunTable
    from dipddpm.tui.shared.draft import Draft
    from dipddpm.tui.shared.runlist import RunRow

WRITE_ACTIONS = {"new", "fork", "stop", "resume", "extend", "tag", "delete", "undo"}
"""Refused by --readonly."""


class RunActions(Screen[None]):
    """The run under the cursor is what an action acts on."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "new run"),
        Binding("s", "stop", "stop"),
        Binding("r", "resume", "resume"),
        Binding("x", "extend", "extend"),
        Binding("u", "undo", "undo delete"),
        Binding("Q", "queue", "queue", show=False),
        Binding("D", "disk", "disk use", show=False),
    ]

    reader: Reader

    def __init__(self) -> None:
        super().__init__()
        self._resuming: set[str] = set()

    @property
    def dipddpm_app(self) -> DipddpmApp:
        """The app, by its own type."""
        return cast("DipddpmApp", self.app)

    @property
    def preferences(self) -> Preferences:
        """How the person wants to see things."""
        return self.dipddpm_app.preferences

    @property
    def table(self) -> RunTable:
        """The run list."""
        raise NotImplementedError

    @property
    def row(self) -> RunRow | None:
        """The row under the cursor."""
        raise NotImplementedError

    @property
    def chosen(self) -> Sequence[RunRow]:
        """The run under the cursor, or those of the group whose header is there."""
        raise NotImplementedError

    @property
    def run(self) -> Run:
        """The run under the cursor."""
        assert self.row is not None
        return self.dipddpm_app.runs.run(self.row.id)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: PLR0911
        """What applies here and now; the footer shows nothing else."""
        if action in WRITE_ACTIONS and self.dipddpm_app.options.readonly:
            return False
        row = self.row
        match action:
            case "stop":
                return any(one.state.live for one in self.chosen)
            case "resume":
                return any(one.state.resumable for one in self.chosen)
            case "extend":
                return row is not None and row.state is RunState.finished
            case "delete":
                return row is not None and not row.state.live
            case "fork" | "tag" | "export" | "mark" | "scrub" | "log_y" | "smooth" | "axis":
                return row is not None
            case "undo":
                return bool(self.dipddpm_app.deleted)
            case _:
                return True

    # New runs

    def action_new(self) -> None:
        """Open the form."""
        from dipddpm.tui.shared.draft import Draft

        self._open_form(Draft(), "New run")

    def action_fork(self) -> None:
        """Open the form as the run under the cursor was made."""
        from dipddpm.tui.shared.draft import Draft

        try:
            draft = Draft.fork(self.run.config())
        except UserError as error:
            self.dipddpm_app.show_error(error)
        else:
            self._open_form(draft, f"New run, after {self.run.id}")

    def _open_form(self, draft: Draft, title: str) -> None:
        from dipddpm.tui.console.screens.form import Form

        shown = None if self.dipddpm_app.uses_default_root else self.dipddpm_app.runs.root
        self.app.push_screen(Form(draft, title, root=shown, estimate=self.dipddpm_app.estimate), self._start)

    def _start(self, request: LaunchRequest | None) -> None:
        if request is None:
            return
        if not request.missing:
            self._launch(request)
            return
        from dipddpm.tui.console.screens.dialogs import ConfirmDialog

        def fetch(sure: bool | None) -> None:
            if sure:
                self.app.notify(f"Fetching {request.missing}; the run starts when it is here.", markup=False)
                self.dipddpm_app.run_in_background(lambda: self._fetch(request))

        detail = "It is downloaded and verified once; the run starts when it is here."
        self.app.push_screen(ConfirmDialog(f"{request.missing} is not on this machine. Fetch it now?", detail), fetch)

    def _fetch(self, request: LaunchRequest) -> Callable[[], None]:
        from dipddpm.core import data

        data.fetch(request.missing)
        return partial(self._launch, request)

    def _launch(self, request: LaunchRequest) -> None:
        try:
            run = self.dipddpm_app.runs.create(request.config)
            local.start(run, now=request.now)
        except UserError as error:
            self.dipddpm_app.show_error(error)
        else:
            self._go_to(run)

    def action_extend(self) -> None:
        """Ask for how much longer, and go on in a new run."""
        from dipddpm.tui.console.screens.dialogs import PromptDialog, PromptField

        run = self.run
        try:
            key, length = extend.length(run)
        except UserError as error:
            self.dipddpm_app.show_error(error)
            return
        what = key.partition(".")[2]

        def go_on(answer: dict[str, str] | None) -> None:
            if answer is not None:
                self.dipddpm_app.run_in_background(partial(self._extend, run, answer["more"].strip(), what))

        detail = f"{run.id} has {length}. The new run begins where it ended; the old one stays as it is."
        self.app.push_screen(
            PromptDialog("Go on for longer", [PromptField("more", f"{what} more", str(length))], detail), go_on
        )

    def _extend(self, run: Run, more: str, what: str) -> Callable[[], None]:
        if not more.isdecimal():
            raise UserError(f"{more!r} is no number of {what}.", "Give a whole number.")
        new = extend.extend(self.dipddpm_app.runs, run, int(more))
        local.start(new, resume=True)
        return partial(self._go_to, new)

    def _go_to(self, run: Run) -> None:
        """Put the cursor on a run that the list doesn't know yet, as soon as it does."""
        self.dipddpm_app.awaited_run = run.id
        self.reader.wake()

    # Runs that go on

    def action_stop(self) -> None:
        """Ask, then stop: the request, and after a while the signals."""
        from dipddpm.tui.console.screens.dialogs import ConfirmDialog

        live = [row for row in self.chosen if row.state.live]
        name = run_title(live[0]) if len(live) == 1 else f"{len(live)} runs of {live[0].group}"

        def stop(sure: bool | None) -> None:
            if sure:
                self.app.notify(f"{name} {'is' if len(live) == 1 else 'are'} asked to stop.", markup=False)
                self.dipddpm_app.run_in_background(lambda: _stop(self._runs(live)))
                self.reader.wake()

        detail = "It finishes its step and writes a checkpoint; r resumes it."
        if len(live) > 1:
            detail = "Each finishes its step and writes a checkpoint; r on the group resumes them."
        self.app.push_screen(ConfirmDialog(f"Stop {name}?", detail), stop)

    def action_resume(self) -> None:
        """Go on from the last checkpoint."""
        rows = [row for row in self.chosen if row.state.resumable and row.id not in self._resuming]
        self._resuming |= {row.id for row in rows}

        def resume() -> Callable[[], None]:
            try:
                for run in self._runs(rows):
                    local.resume(run)  # which waits for the worker before to end
            finally:
                self._resuming -= {row.id for row in rows}
            return self.reader.wake

        self.dipddpm_app.run_in_background(resume)

    def _runs(self, rows: Sequence[RunRow]) -> list[Run]:
        return [self.dipddpm_app.runs.run(row.id) for row in rows]

    def action_queue(self) -> None:
        """The runs that wait, to be put in another order."""
        from dipddpm.tui.console.screens.queue import QueueScreen

        self.app.push_screen(QueueScreen(self.reader.wake, readonly=self.dipddpm_app.options.readonly))

    # What is kept

    def action_tag(self) -> None:
        """Write tags and a note."""
        from dipddpm.tui.console.screens.dialogs import PromptDialog, PromptField
        from dipddpm.tui.shared import marks

        run, row = self.run, self.row
        assert row is not None
        if self._is_protected(run):
            return

        def write(answer: dict[str, str] | None) -> None:
            if answer is None:
                return
            try:
                marks.write(run.folder, marks.RunNotes(marks.parse_tags(answer["tags"]), answer["note"]))
            except UserError as error:
                self.dipddpm_app.show_error(error)
            self.reader.wake()

        lines = [
            PromptField("tags", "tags", " ".join(row.tags), "words, found with tag:word"),
            PromptField("note", "note", row.note, "what this run is about"),
        ]
        self.app.push_screen(PromptDialog(f"Tags and note of {run_title(row)}", lines), write)

    def action_export(self) -> None:
        """Ask what for and where to, write it, and say how to fetch it."""
        from dipddpm.core.export import FORMATS
        from dipddpm.tui.console.screens.dialogs import ChoiceDialog, PromptDialog, PromptField

        run = self.run

        def choose(name: str | None) -> None:
            if name is None:
                return
            if missing := FORMATS[name].missing:
                self.dipddpm_app.show_error(missing)
                return
            line = PromptField("folder", "into the folder", "exports", "the run gets a place of its own in it")
            self.app.push_screen(PromptDialog(f"Export: {FORMATS[name].words}", [line]), partial(export, name))

        def export(name: str, answer: dict[str, str] | None) -> None:
            if answer is not None:
                folder = self.dipddpm_app.options.cwd / Path(answer["folder"]).expanduser()
                self.dipddpm_app.run_in_background(lambda: self._export(run, name, folder))

        width = max(map(len, FORMATS))
        choices = [(name, f"{name:<{width}}  {_format_text(each)}") for name, each in FORMATS.items()]
        self.app.push_screen(ChoiceDialog(f"Export {run_title(self.row) if self.row else run.id}", choices), choose)

    def _export(self, run: Run, name: str, folder: Path, *, replace: bool = False) -> Callable[[], None]:
        from dipddpm.core.export import AlreadyThereError, export, scp_line
        from dipddpm.tui.console.screens.dialogs import ConfirmDialog, ResultDialog

        def replace_existing(sure: bool | None) -> None:
            if sure:
                self.dipddpm_app.run_in_background(lambda: self._export(run, name, folder, replace=True))

        try:
            (done,) = export([run], [name], folder, replace=replace)
        except AlreadyThereError as error:
            question = ConfirmDialog(f"{error.problem} Replace it?")
            return partial(self._ask, question, replace_existing)
        next_step = f"To go on with it: {done.then}\n\n" if done.then else ""
        words = f"{done.path}\n\n{next_step}To fetch it, on your own machine:"
        return partial(self._show_result, ResultDialog("Exported", words, scp_line(done.path)))

    def _show_result(self, dialog: ResultDialog) -> None:
        self.app.push_screen(dialog)

    def _ask(self, dialog: ConfirmDialog, callback: Callable[[bool | None], None]) -> None:
        self.app.push_screen(dialog, callback)

    def action_delete(self) -> None:
        """Ask, then put the run where `u` finds it until the console is quit."""
        from dipddpm.tui.console.screens.dialogs import ConfirmDialog

        run = self.run
        if self._is_protected(run):
            return
        name = run_title(self.row) if self.row else run.id

        def delete(sure: bool | None) -> None:
            if not sure:
                return
            try:
                trash.delete(run)
            except UserError as error:
                self.dipddpm_app.show_error(error)
                return
            self.dipddpm_app.deleted.append(run.id)
            self.app.notify(f"{name} is deleted; u brings it back.", markup=False)
            self.reader.wake()
            self.refresh_bindings()

        detail = f"{run.id}, {format_size(trash.disk_use(run).total)}. Until you quit, u brings it back."
        self.app.push_screen(ConfirmDialog(f"Delete {name}?", detail), delete)

    def _is_protected(self, run: Run) -> bool:
        """Say so of a run that stays as it is; whether it is one."""
        try:
            run.refuse_change()
        except UserError as error:
            self.dipddpm_app.show_error(error)
            return True
        return False

    def action_undo(self) -> None:
        """Bring back the run that was deleted last."""
        try:
            run = trash.undelete(self.dipddpm_app.runs, self.dipddpm_app.deleted.pop())
        except UserError as error:
            self.dipddpm_app.show_error(error)
        else:
            self._go_to(run)
        self.refresh_bindings()

    def action_disk(self) -> None:
        """What takes up the disk, and what can go."""
        from dipddpm.tui.console.screens.storage import Storage

        self.app.push_screen(Storage(self.dipddpm_app), lambda _: self.reader.wake())


def _format_text(export_format: Format) -> str:
    """What a format is, and what it needs where that isn't there."""
    return f"{export_format.words} (needs {export_format.module})" if export_format.missing else export_format.words


def _stop(runs: Sequence[Run]) -> None:
    """Ask, and after a while insist."""
    local.stop_all(runs)
