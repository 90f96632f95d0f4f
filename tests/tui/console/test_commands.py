"""The commands on runs, without a terminal: a fake screen answers and records every question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from dipddpm.core.errors import UserError
from dipddpm.core.launch import local
from dipddpm.core.runs import CHECKPOINT_FILE, CONFIG_FILE, EVENTS_FILE, Run, RunsFolder, folder, log, trash
from dipddpm.tui.console.commands import RunCommands
from dipddpm.tui.console.screens.dialogs import LaunchRequest, PromptField
from dipddpm.tui.console.screens.surface import Surface
from dipddpm.tui.console.session import Options, Session
from dipddpm.tui.shared import marks
from dipddpm.tui.shared.draft import Draft
from dipddpm.tui.shared.runlist import RunRow, make_row
from tests.tui.driving import Maker

Result = TypeVar("Result")


class AnsweringScreen(Surface):
    """A fake screen that gives the same answer to every question and every prompt."""

    def __init__(self, *, sure: bool = True, answers: dict[str, str] | None = None) -> None:
        self.sure = sure
        self.answers = answers or {}
        self.questions: list[str] = []
        self.errors: list[UserError] = []
        self.notices: list[str] = []
        self.drafts: list[Draft] = []
        self.changes = 0

    def ask(self, question: str, detail: str, yes: Callable[[], object]) -> None:
        self.questions.append(question)
        if self.sure:
            yes()

    def choose(
        self, title: str, choices: Sequence[tuple[str, str]], then: Callable[[str], object], chosen: str = ""
    ) -> None:
        then(choices[0][0])

    def prompt(
        self, title: str, fields: Sequence[PromptField], detail: str, then: Callable[[dict[str, str]], object]
    ) -> None:
        then(self.answers)

    def show_result(self, title: str, text: str, line: str) -> None:
        self.questions.append(title)

    def open_form(self, draft: Draft, title: str, then: Callable[[LaunchRequest], object]) -> None:
        self.drafts.append(draft)

    def background(self, work: Callable[[], Result], then: Callable[[Result], object]) -> None:
        try:
            result = work()
        except UserError as error:
            self.errors.append(error)
        else:
            then(result)

    def notify(self, text: str) -> None:
        self.notices.append(text)

    def drop_notices(self) -> None:
        self.notices.clear()

    def show_error(self, error: UserError) -> None:
        self.errors.append(error)

    def changed(self) -> None:
        self.changes += 1


@pytest.fixture
def session(runs: RunsFolder) -> Session:
    return Session.open(Options(root=runs.root))


def row_of(run: Run) -> RunRow:
    return make_row(run.status())


@pytest.mark.parametrize("sure", [True, False])
def test_delete_asks_first_and_undo_brings_run_back(session: Session, make: Maker, *, sure: bool) -> None:
    run, screen = make(), AnsweringScreen(sure=sure)
    commands = RunCommands(session, screen)
    commands.delete(run, "shirts")
    assert screen.questions == ["Delete shirts?"]
    assert session.deleted == trash.trashed(session.runs) == [run.id] * sure
    assert commands.allows("undo", ()) is sure
    assert screen.notices == ["shirts is deleted; u brings it back."] * sure
    if sure:
        commands.undo()
        assert screen.notices == []
        assert session.runs.runs() == [run]
        assert session.awaited_run == run.id


def test_console_leaves_run_of_another_process_alone(
    session: Session, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "LOCK_SECONDS", 0.05)
    monkeypatch.setattr(trash, "LOCK_SECONDS", 0.05)
    run, screen = make(state="crashed"), AnsweringScreen(sure=True)
    commands = RunCommands(session, screen)
    with log.hold(run.folder):
        commands.delete(run, "shirts")
        commands.resume([row_of(run)])
    assert [error.problem for error in screen.errors] == [f"Another process works on {run.id}."] * 2
    assert session.runs.runs() == [run]
    commands.delete(run, "shirts")
    with log.hold(session.runs.root / trash.TRASH / run.id):
        commands.undo()
    assert len(screen.errors) == 3
    assert session.deleted == [run.id], "it can be tried again"
    commands.undo()
    assert (session.runs.runs(), session.deleted) == ([run], [])


def test_tag_writes_entered_tags_and_note(session: Session, make: Maker) -> None:
    run, screen = make(), AnsweringScreen(answers={"tags": "good old", "note": "a note"})
    RunCommands(session, screen).tag(row_of(run))
    assert marks.read(run.folder) == marks.RunNotes(("good", "old"), "a note")
    assert screen.changes == 1


def test_extend_refuses_length_that_is_no_number(session: Session, make: Maker) -> None:
    run, screen = make(), AnsweringScreen(answers={"more": "many"})
    RunCommands(session, screen).extend(row_of(run))
    assert "'many'" in str(screen.errors[0])
    assert session.runs.runs() == [run]


def test_fork_opens_form_with_options_of_run(session: Session, make: Maker) -> None:
    screen = AnsweringScreen()
    RunCommands(session, screen).fork(row_of(make(settings={"ddpm.epochs": 33})))
    assert screen.drafts[0].typed["ddpm.epochs"] == "33"


def test_allows_depends_on_state_of_runs(session: Session, make: Maker) -> None:
    commands = RunCommands(session, AnsweringScreen())
    finished, stopped, live = (row_of(make(state=state)) for state in ("finished", "stopped", "running"))
    allowed = {
        row.id: {name for name in ("stop", "resume", "extend", "delete") if commands.allows(name, [row])}
        for row in (finished, stopped, live)
    }
    assert allowed == {finished.id: {"extend", "delete"}, stopped.id: {"resume", "delete"}, live.id: {"stop"}}


def test_readonly_allows_export_but_no_change(runs: RunsFolder, make: Maker) -> None:
    commands = RunCommands(Session.open(Options(root=runs.root, readonly=True)), AnsweringScreen())
    row = row_of(make())
    assert [name for name in ("new", "fork", "delete", "tag", "extend", "export") if commands.allows(name, [row])] == [
        "export"
    ]


def test_resume_refuses_runs_that_cannot_go_on_and_resumes_the_others(
    session: Session, make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Run] = []
    monkeypatch.setattr(local, "_start_here", lambda run, **_: started.append(run))
    spoilt, without_picture = (
        make("dip", state="stopped", losses=[], settings={"images.files": (f"{tmp_path}/{name}.png",)}) for name in "ab"
    )
    good = make(state="stopped", settings={"data.dataset": "fashion-mini"})
    rows = [row_of(run) for run in (spoilt, without_picture, good)]
    path = spoilt.folder / CONFIG_FILE
    path.write_text(path.read_text().replace("\nlr = ", "\nrl = "))
    (without_picture.folder / CHECKPOINT_FILE).touch()
    logs = [(run.folder / EVENTS_FILE).read_bytes() for run in (spoilt, without_picture)]
    for row, words in ((rows[0], "There is no option 'dip.rl'."), (rows[1], "There is no image file")):
        screen = AnsweringScreen()
        RunCommands(session, screen).resume([row])
        (error,) = screen.errors
        assert words in error.problem
    assert "Put the old files back and resume the run again" in error.remedy
    assert started == []
    RunCommands(session, screen := AnsweringScreen()).resume(rows)
    assert len(screen.errors) == 1
    assert started == [good]
    assert [(run.folder / EVENTS_FILE).read_bytes() for run in (spoilt, without_picture)] == logs


def test_extend_refuses_changed_data_before_it_copies_anything(session: Session, make: Maker, tmp_path: Path) -> None:
    run = make(settings={"data.dataset": f"folder:{tmp_path}/gone"})
    (run.folder / CHECKPOINT_FILE).touch()
    screen = AnsweringScreen(answers={"more": "2"})
    RunCommands(session, screen).extend(row_of(run))
    (error,) = screen.errors
    assert "There is no folder" in error.problem
    assert session.runs.runs() == [run]
