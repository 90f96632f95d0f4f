"""The commands on runs: start, stop, resume, extend, tag, export, delete. A screen asks the questions for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from dipddpm.core.errors import UserError
from dipddpm.core.io import home
from dipddpm.core.launch import inputs, local, preflight
from dipddpm.core.runs import Run, RunState, extend, trash
from dipddpm.tui.console.screens.dialogs import LaunchRequest, PromptField
from dipddpm.tui.console.screens.surface import Surface
from dipddpm.tui.console.session import Session
from dipddpm.tui.shared import marks
from dipddpm.tui.shared.columns import format_size, run_title
from dipddpm.tui.shared.draft import Draft
from dipddpm.tui.shared.runlist import RunRow

Answers = dict[str, str]
WRITE_COMMANDS = {"new", "fork", "stop", "resume", "extend", "tag", "delete", "undo"}
"""Commands refused with --readonly."""


class RunCommands:
    """The commands on runs. They read and write files only in the background."""

    def __init__(self, session: Session, screen: Surface) -> None:
        self._session = session
        self._screen = screen
        self._resuming: set[str] = set()

    def allows(self, command: str, rows: Sequence[RunRow]) -> bool:
        """Return whether a command applies to these rows: a run, the runs of a group, or none."""
        states = [row.state for row in rows]
        one = len(rows) == 1
        allowed = {
            "stop": any(state.live for state in states),
            "resume": any(state.resumable for state in states),
            "undo": bool(self._session.deleted),
            "extend": one and states[0] is RunState.finished,
            "delete": one and not states[0].live,
            "fork": one,
            "tag": one,
            "export": one,
        }.get(command, True)
        return allowed and not (command in WRITE_COMMANDS and self._session.options.readonly)

    def perform(self, command: str, rows: Sequence[RunRow]) -> None:
        """Run a command on these rows: a run, or the runs of a group."""
        alone = {"new": self.new, "undo": self.undo}
        on_several = {"stop": self.stop, "resume": self.resume}
        on_one: dict[str, Callable[[RunRow], None]] = {
            "fork": self.fork,
            "extend": self.extend,
            "tag": self.tag,
            "export": self.export,
            "delete": lambda row: self.delete(self._session.run_of(row), run_title(row)),
        }
        if command in alone:
            alone[command]()
        elif command in on_several:
            on_several[command](rows)
        elif len(rows) == 1:
            on_one[command](rows[0])

    # New runs

    def new(self) -> None:
        """Open the form for a new run."""
        self._screen.open_form(Draft("image"), "New run", self._start)

    def fork(self, row: RunRow) -> None:
        """Open the form with the options of a run."""
        run = self._session.run_of(row)

        def open_form(draft: Draft) -> None:
            self._screen.open_form(draft, f"New run like {run.id}", self._start)

        self._screen.background(lambda: Draft.fork(run.config()), open_form)

    def _start(self, request: LaunchRequest) -> None:
        if not request.missing:
            self._launch(request)
            return

        def download() -> None:
            from dipddpm.core import data

            data.fetch(request.missing)

        def fetch() -> None:
            self._screen.notify(f"Downloading {request.missing}; then the run starts.")
            self._screen.background(download, lambda _: self._launch(request))

        detail = "It is downloaded and verified once; then the run starts."
        self._screen.ask(f"{request.missing} is not on this machine. Download it now?", detail, fetch)

    def _launch(self, request: LaunchRequest) -> None:
        def launch() -> Run:
            run = self._session.runs.create(request.config)
            local.start(run, now=request.now)
            return run

        self._screen.background(launch, self._go_to)

    def extend(self, row: RunRow) -> None:
        """Ask for the additional length, and continue the run in a new one."""
        run = self._session.run_of(row)

        def ask(extendable: tuple[str, int]) -> None:
            key, length = extendable
            what = key.partition(".")[2]
            detail = f"{run.id} has {length} {what}. A new run continues where it ended; the old run stays as it is."
            field = PromptField("more", f"additional {what}", str(length))
            self._screen.prompt(
                "Extend the run",
                [field],
                detail,
                lambda answers: self._screen.background(
                    partial(self._extend, run, answers["more"].strip(), what), self._go_to
                ),
            )

        self._screen.background(lambda: extend.length(run), ask)

    def _extend(self, run: Run, more: str, what: str) -> Run:
        if not more.isdecimal():
            raise UserError(f"{more!r} is not a number of {what}.", "Give a whole number.")
        preflight.refuse_resume(run, notify=self._screen.notify)
        new = extend.extend(self._session.runs, run, int(more))
        local.start(new, resume=True)
        return new

    def _go_to(self, run: Run) -> None:
        """Move the cursor to a new run as soon as the list holds it."""
        self._session.awaited_run = run.id
        self._screen.changed()

    # Stop and resume

    def stop(self, rows: Sequence[RunRow]) -> None:
        """Ask for confirmation, then stop the live runs: by a request file, and if that has no effect by signals."""
        live = [row for row in rows if row.state.live]
        name = run_title(live[0]) if len(live) == 1 else f"{len(live)} runs of {live[0].group}"
        runs = [self._session.run_of(row) for row in live]

        def stop() -> None:
            self._screen.notify(f"{name} will stop after {'its' if len(live) == 1 else 'their'} current step.")
            self._screen.background(lambda: local.stop_all(runs), lambda _: self._screen.changed())

        detail = "It finishes its step and writes a checkpoint; r resumes it."
        if len(live) > 1:
            detail = "Each finishes its step and writes a checkpoint; r on the group resumes them."
        self._screen.ask(f"Stop {name}?", detail, stop)

    def resume(self, rows: Sequence[RunRow]) -> None:
        """Resume the runs from their last checkpoints."""
        wanted = [row for row in rows if row.state.resumable and row.id not in self._resuming]
        ids, runs = {row.id for row in wanted}, [self._session.run_of(row) for row in wanted]
        self._resuming |= ids

        def resume() -> None:
            refused: list[UserError] = []
            compared: set[inputs.Hashes] = set()
            for run in runs:
                try:
                    elsewhere = bool(local.cluster(run))
                    preflight.refuse_resume(run, elsewhere=elsewhere, compared=compared, notify=self._screen.notify)
                    local.resume(run)  # waits for the previous worker to end
                except UserError as error:
                    refused.append(error)
            self._resuming -= ids
            if refused:
                raise refused[0]

        self._screen.background(resume, lambda _: self._screen.changed())

    # Notes, exports, deletion

    def tag(self, row: RunRow) -> None:
        """Edit the run's tags and note."""
        run = self._session.run_of(row)

        def write(answers: Answers) -> None:
            notes = marks.RunNotes(marks.parse_tags(answers["tags"]), answers["note"])
            self._screen.background(lambda: marks.write(run.folder, notes), lambda _: self._screen.changed())

        fields = [
            PromptField("tags", "tags", " ".join(row.tags), "words; the filter tag:word finds them"),
            PromptField("note", "note", row.note, "what this run is about"),
        ]
        prompt = partial(self._screen.prompt, f"Tags and note of {run_title(row)}", fields, "", write)
        self._screen.background(run.refuse_change, lambda _: prompt())

    def export(self, row: RunRow) -> None:
        """Ask for the format and the folder, export the run, and show how to copy the result to another machine."""
        from dipddpm.core.export import FORMATS

        run = self._session.run_of(row)

        def choose(name: str) -> None:
            if missing := FORMATS[name].missing:
                self._screen.show_error(missing)
                return
            field = PromptField("folder", "folder", "exports", "the run gets its own subfolder")
            self._screen.prompt(f"Export: {FORMATS[name].words}", [field], "", partial(export, name))

        def export(name: str, answers: Answers) -> None:
            try:
                folder = self._session.options.cwd / home.expand(answers["folder"])
            except UserError as error:
                self._screen.show_error(error)
                return
            self._export(run, name, folder)

        width = max(map(len, FORMATS))
        choices = [
            (name, f"{name:<{width}}  {each.words}" + (f" (needs {each.module})" if each.missing else ""))
            for name, each in FORMATS.items()
        ]
        self._screen.choose(f"Export {run_title(row)}", choices, choose)

    def _export(self, run: Run, name: str, folder: Path, *, replace: bool = False) -> None:
        from dipddpm.core.export import OutputExistsError, export, scp_line

        def work() -> Callable[[], None]:
            try:
                (done,) = export([run], [name], folder, replace=replace)
            except OutputExistsError as error:
                again = partial(self._export, run, name, folder, replace=True)
                return partial(self._screen.ask, f"{error.problem} Replace it?", "", again)
            next_step = f"Next: {done.then}\n\n" if done.then else ""
            words = f"{done.path}\n\n{next_step}To copy it to your own machine, run there:"
            return partial(self._screen.show_result, "Exported", words, scp_line(done.path))

        self._screen.background(work, lambda show: show())

    def delete(self, run: Run, name: str) -> None:
        """Ask for confirmation, then move the run to the trash; `undo` brings it back until the console is quit."""

        def measure() -> int:
            trash.refuse_deletion(run)
            return trash.disk_use(run).total

        def ask(size: int) -> None:
            detail = f"{run.id}, {format_size(size)}. Until you quit, u brings it back."
            self._screen.ask(f"Delete {name}?", detail, delete)

        def delete() -> None:
            self._screen.background(lambda: trash.delete(run), deleted)

        def deleted(_: None) -> None:
            self._session.deleted.append(run.id)
            self._screen.notify(f"{name} is deleted; u brings it back.")
            self._screen.changed()

        self._screen.background(measure, ask)

    def undo(self) -> None:
        """Bring back the last deleted run."""
        run_id = self._session.deleted.pop()
        self._screen.drop_notices()  # the one that offers to bring the run back

        def undelete() -> Run:
            try:
                return trash.undelete(self._session.runs, run_id)
            except UserError:
                if run_id in trash.trashed(self._session.runs):  # it can be tried again
                    self._session.deleted.append(run_id)
                raise

        self._screen.background(undelete, self._go_to)

    # Disk space

    def keep_best_only(self, run: Run) -> None:
        """Ask for confirmation, then keep only the best model of a run."""
        detail = "It can then be neither resumed nor extended."
        self._free(f"Keep only the best model of {run.id}?", detail, lambda: trash.keep_best_only(run))

    def prune(self, runs: Sequence[Run]) -> None:
        """Ask for confirmation, then keep only the best model of every run that has ended."""
        detail = "They can then be neither resumed nor extended. Live runs and runs without a best model don't change."
        self._free("Keep only the best model of every run that has ended?", detail, lambda: trash.prune(runs))

    def empty_trash(self) -> None:
        """Ask for confirmation, then remove the runs in the trash for good."""

        def empty() -> None:
            self._session.deleted.clear()
            trash.empty_trash(self._session.runs)

        self._free("Empty the trash?", "Deleted runs can then not be brought back.", empty)

    def _free(self, question: str, detail: str, work: Callable[[], int | None]) -> None:
        """Ask for confirmation, do the work, and show how many bytes it has freed."""

        def report(freed: int | None) -> None:
            self._screen.notify("The trash is empty." if freed is None else f"{format_size(freed)} freed.")
            self._screen.changed()

        self._screen.ask(question, detail, lambda: self._screen.background(work, report))
