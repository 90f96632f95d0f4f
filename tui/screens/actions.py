"""What can be done to runs from the main screen: start, stop, change, take away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual.binding import Binding, BindingType
from textual.screen import Screen

from core import launch
from core.errors import UserError
from core.runs import Run, State, extend, keep
from tui.columns import size, title

if TYPE_CHECKING:
    from core.export import Format
    from tui.console import Console
    from tui.follower import Follower
    from tui.model.draft import Draft
    from tui.model.runlist import RunRow
    from tui.preferences import Preferences
    from tui.screens.dialogs import Ask, Tell
    from tui.screens.form import Launch
    from tui.widgets.runtable import RunTable

CHANGES = {"new", "fork", "stop", "resume", "extend", "tag", "delete", "undo"}
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

    follower: Follower

    def __init__(self) -> None:
        super().__init__()
        self._resuming: set[str] = set()

    @property
    def console(self) -> Console:
        """The app, by its own type."""
        return cast("Console", self.app)

    @property
    def preferences(self) -> Preferences:
        """How the person wants to see things."""
        return self.console.preferences

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
        return self.console.runs.run(self.row.id)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: PLR0911
        """What applies here and now; the footer shows nothing else."""
        if action in CHANGES and self.console.options.readonly:
            return False
        row = self.row
        match action:
            case "stop":
                return any(one.state.live for one in self.chosen)
            case "resume":
                return any(one.state.resumable for one in self.chosen)
            case "extend":
                return row is not None and row.state is State.finished
            case "delete":
                return row is not None and not row.state.live
            case "fork" | "tag" | "export" | "mark" | "scrub" | "log_y" | "smooth" | "axis":
                return row is not None
            case "undo":
                return bool(self.console.deleted)
            case _:
                return True

    # New runs

    def action_new(self) -> None:
        """Open the form."""
        from tui.model.draft import Draft

        self._open_form(Draft(), "New run")

    def action_fork(self) -> None:
        """Open the form as the run under the cursor was made."""
        from tui.model.draft import Draft

        try:
            draft = Draft.fork(self.run.config())
        except UserError as error:
            self.console.complain(error)
        else:
            self._open_form(draft, f"New run, after {self.run.id}")

    def _open_form(self, draft: Draft, title: str) -> None:
        from tui.screens.form import Form

        shown = None if self.console.at_home else self.console.runs.root
        self.app.push_screen(Form(draft, title, root=shown, estimate=self.console.estimate), self._start)

    def _start(self, wanted: Launch | None) -> None:
        if wanted is None:
            return
        if not wanted.missing:
            self._launch(wanted)
            return
        from tui.screens.dialogs import Ask

        def fetch(sure: bool | None) -> None:
            if sure:
                self.app.notify(f"Fetching {wanted.missing}; the run starts when it is here.", markup=False)
                self.console.in_background(lambda: self._fetch(wanted))

        detail = "It is downloaded and verified once; the run starts when it is here."
        self.app.push_screen(Ask(f"{wanted.missing} is not on this machine. Fetch it now?", detail), fetch)

    def _fetch(self, wanted: Launch) -> Callable[[], None]:
        from core import data

        data.fetch(wanted.missing)
        return partial(self._launch, wanted)

    def _launch(self, wanted: Launch) -> None:
        try:
            run = self.console.runs.create(wanted.config)
            launch.start(run, now=wanted.now)
        except UserError as error:
            self.console.complain(error)
        else:
            self._go_to(run)

    def action_extend(self) -> None:
        """Ask for how much longer, and go on in a new run."""
        from tui.screens.dialogs import Line, Prompt

        run = self.run
        try:
            key, length = extend.length(run)
        except UserError as error:
            self.console.complain(error)
            return
        what = key.partition(".")[2]

        def go_on(answer: dict[str, str] | None) -> None:
            if answer is not None:
                self.console.in_background(partial(self._extend, run, answer["more"].strip(), what))

        detail = f"{run.id} has {length}. The new run begins where it ended; the old one stays as it is."
        self.app.push_screen(Prompt("Go on for longer", [Line("more", f"{what} more", str(length))], detail), go_on)

    def _extend(self, run: Run, more: str, what: str) -> Callable[[], None]:
        if not more.isdecimal():
            raise UserError(f"{more!r} is no number of {what}.", "Give a whole number.")
        new = extend.extend(self.console.runs, run, int(more))
        launch.start(new, resume=True)
        return partial(self._go_to, new)

    def _go_to(self, run: Run) -> None:
        """Put the cursor on a run that the list doesn't know yet, as soon as it does."""
        self.console.arriving = run.id
        self.follower.hurry()

    # Runs that go on

    def action_stop(self) -> None:
        """Ask, then stop: the request, and after a while the signals."""
        from tui.screens.dialogs import Ask

        live = [row for row in self.chosen if row.state.live]
        name = title(live[0]) if len(live) == 1 else f"{len(live)} runs of {live[0].group}"

        def stop(sure: bool | None) -> None:
            if sure:
                self.app.notify(f"{name} {'is' if len(live) == 1 else 'are'} asked to stop.", markup=False)
                self.console.in_background(lambda: _stop(self._runs(live)))
                self.follower.hurry()

        detail = "It finishes its step and writes a checkpoint; r resumes it."
        if len(live) > 1:
            detail = "Each finishes its step and writes a checkpoint; r on the group resumes them."
        self.app.push_screen(Ask(f"Stop {name}?", detail), stop)

    def action_resume(self) -> None:
        """Go on from the last checkpoint."""
        wanted = [row for row in self.chosen if row.state.resumable and row.id not in self._resuming]
        self._resuming |= {row.id for row in wanted}

        def resume() -> Callable[[], None]:
            try:
                for run in self._runs(wanted):
                    launch.resume(run)  # which waits for the worker before to end
            finally:
                self._resuming -= {row.id for row in wanted}
            return self.follower.hurry

        self.console.in_background(resume)

    def _runs(self, rows: Sequence[RunRow]) -> list[Run]:
        return [self.console.runs.run(row.id) for row in rows]

    def action_queue(self) -> None:
        """The runs that wait, to be put in another order."""
        from tui.screens.queue import Queue

        self.app.push_screen(Queue(self.follower.hurry, readonly=self.console.options.readonly))

    # What is kept

    def action_tag(self) -> None:
        """Write tags and a note."""
        from tui.model import marks
        from tui.screens.dialogs import Line, Prompt

        run, row = self.run, self.row
        assert row is not None
        if self._refused(run):
            return

        def write(answer: dict[str, str] | None) -> None:
            if answer is None:
                return
            try:
                marks.write(run.folder, marks.Marks(marks.parse_tags(answer["tags"]), answer["note"]))
            except UserError as error:
                self.console.complain(error)
            self.follower.hurry()

        lines = [
            Line("tags", "tags", " ".join(row.tags), "words, found with tag:word"),
            Line("note", "note", row.note, "what this run is about"),
        ]
        self.app.push_screen(Prompt(f"Tags and note of {title(row)}", lines), write)

    def action_export(self) -> None:
        """Ask what for and where to, write it, and say how to fetch it."""
        from core.export import FORMATS
        from tui.screens.dialogs import Choose, Line, Prompt

        run = self.run

        def choose(name: str | None) -> None:
            if name is None:
                return
            if missing := FORMATS[name].missing:
                self.console.complain(missing)
                return
            line = Line("folder", "into the folder", "exports", "the run gets a place of its own in it")
            self.app.push_screen(Prompt(f"Export: {FORMATS[name].words}", [line]), partial(export, name))

        def export(name: str, answer: dict[str, str] | None) -> None:
            if answer is not None:
                folder = self.console.options.here / Path(answer["folder"]).expanduser()
                self.console.in_background(lambda: self._export(run, name, folder))

        width = max(map(len, FORMATS))
        choices = [(name, f"{name:<{width}}  {_words(each)}") for name, each in FORMATS.items()]
        self.app.push_screen(Choose(f"Export {title(self.row) if self.row else run.id}", choices), choose)

    def _export(self, run: Run, name: str, folder: Path, *, replace: bool = False) -> Callable[[], None]:
        from core.export import AlreadyThereError, export, scp_line
        from tui.screens.dialogs import Ask, Tell

        def again(sure: bool | None) -> None:
            if sure:
                self.console.in_background(lambda: self._export(run, name, folder, replace=True))

        try:
            (done,) = export([run], [name], folder, replace=replace)
        except AlreadyThereError as error:
            asked = Ask(f"{error.problem} Replace it?")
            return partial(self._ask, asked, again)
        then = f"To go on with it: {done.then}\n\n" if done.then else ""
        words = f"{done.path}\n\n{then}To fetch it, on your own machine:"
        return partial(self._tell, Tell("Exported", words, scp_line(done.path)))

    def _tell(self, told: Tell) -> None:
        self.app.push_screen(told)

    def _ask(self, asked: Ask, then: Callable[[bool | None], None]) -> None:
        self.app.push_screen(asked, then)

    def action_delete(self) -> None:
        """Ask, then put the run where `u` finds it until the console is quit."""
        from tui.screens.dialogs import Ask

        run = self.run
        if self._refused(run):
            return
        name = title(self.row) if self.row else run.id

        def delete(sure: bool | None) -> None:
            if not sure:
                return
            try:
                keep.delete(run)
            except UserError as error:
                self.console.complain(error)
                return
            self.console.deleted.append(run.id)
            self.app.notify(f"{name} is deleted; u brings it back.", markup=False)
            self.follower.hurry()
            self.refresh_bindings()

        detail = f"{run.id}, {size(keep.disk_use(run).total)}. Until you quit, u brings it back."
        self.app.push_screen(Ask(f"Delete {name}?", detail), delete)

    def _refused(self, run: Run) -> bool:
        """Say so of a run that stays as it is; whether it is one."""
        try:
            run.refuse_change()
        except UserError as error:
            self.console.complain(error)
            return True
        return False

    def action_undo(self) -> None:
        """Bring back the run that was deleted last."""
        try:
            run = keep.restore(self.console.runs, self.console.deleted.pop())
        except UserError as error:
            self.console.complain(error)
        else:
            self._go_to(run)
        self.refresh_bindings()

    def action_disk(self) -> None:
        """What takes up the disk, and what can go."""
        from tui.screens.storage import Storage

        self.app.push_screen(Storage(self.console), lambda _: self.follower.hurry())


def _words(each: Format) -> str:
    """What a format is, and what it needs where that isn't there."""
    return f"{each.words} (needs {each.module})" if each.missing else each.words


def _stop(runs: Sequence[Run]) -> None:
    """Ask, and after a while insist."""
    launch.stop_all(runs)
