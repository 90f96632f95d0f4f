"""The series of the watched runs equal their logs, in whatever order the reader and the screen do their work."""

from __future__ import annotations

import shutil
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dipddpm.core import events
from dipddpm.core.runs import EVENTS_FILE, EventLog, EventReader, Run, RunsFolder, history, trash
from dipddpm.tui.console.model.series import KEPT_SERIES, RunSeries, SeriesStore
from dipddpm.tui.console.reader import Reader
from tests.tui.driving import Maker

RUNS = ("a", "b", "c")
KEPT = 2
MOST_ROUNDS = 20


class Console:
    """A reader and a store without threads: each does its next work when the test calls it."""

    def __init__(self, root: Path, kept: int = KEPT) -> None:
        self.posted: deque[Any] = deque()
        self.reader = Reader(root, 1.0)
        self.reader.post_to(self.posted.append)
        self.store = SeriesStore(self.reader.rewind, kept)
        self.watched: tuple[str, ...] = ()

    def watch(self, *runs: str) -> None:
        self.watched = runs
        self.store.watch(runs)
        self.reader.watch(runs)

    def receive(self) -> None:
        message = self.posted.popleft()
        self.store.add(message.run, message.start, message.end, message.events)

    def settle(self) -> None:
        """Read and receive until nothing is left to do."""
        for _ in range(MOST_ROUNDS):
            self.reader.run_commands()
            self.reader.read_logs()
            if not self.posted:
                return
            while self.posted:
                self.receive()
        pytest.fail("the reader and the screen never finish")


def drawn(series: RunSeries | None) -> str:
    """Return the content that a screen shows of a series."""
    assert series is not None
    shown = (
        series.loss(),
        series.epochs,
        series.recent_events(0),
        series.pictures(),
        series.step,
        series.epoch,
        series.ended,
    )
    return repr((*shown, series.best_marks(), series.steps()))


def expected(folder: Path) -> str:
    series = RunSeries()
    series.feed(history(EventReader(folder).read()))
    return drawn(series)


def write(folder: Path, *more: events.Event) -> None:
    folder.mkdir(exist_ok=True)
    log = EventLog(folder)
    for event in more:
        log.append(event)
    log.close()


class Following(RuleBasedStateMachine):
    """The actions of users, workers, the reader's and the screen's thread, as rules applied in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.runs = RunsFolder(self.root)
        self.console = Console(self.root)
        self.clock = 1000.0
        self.steps = dict.fromkeys(RUNS, 0)

    def teardown(self) -> None:
        self.agree()
        shutil.rmtree(self.root)

    def start(self, folder: Path) -> None:
        self.clock += 1
        started = events.RunStarted(kind="ddpm", method="unet", device="cpu", steps=100, epochs=10, time=self.clock)
        write(folder, started)

    def exists(self, run: str) -> bool:
        return (self.root / run).is_dir()

    @initialize()
    def begin(self) -> None:
        for run in RUNS:
            self.start(self.root / run)

    @rule(runs=st.lists(st.sampled_from(RUNS), min_size=1, max_size=2, unique=True))
    def watch(self, runs: list[str]) -> None:
        self.console.watch(*runs)

    @rule(run=st.sampled_from(RUNS), count=st.integers(1, 3))
    def train(self, run: str, count: int) -> None:
        if not self.exists(run):
            return
        for _ in range(count):
            self.clock += 1
            self.steps[run] += 1
            step = self.steps[run]
            write(
                self.root / run,
                events.Step(step=step, loss=1 / step, time=self.clock),
                events.EpochFinished(epoch=step, step=step, loss=1 / step, best=True, time=self.clock),
            )

    @rule(run=st.sampled_from(RUNS), lines=st.sampled_from([b"\n", b"no event\n", b'{"event": "torn']))
    def damage(self, run: str, lines: bytes) -> None:
        if self.exists(run):
            with (self.root / run / EVENTS_FILE).open("ab") as log:
                log.write(lines)

    @rule(run=st.sampled_from(RUNS), share=st.floats(0, 1))
    def resume(self, run: str, share: float) -> None:
        if not self.exists(run):
            return
        kept = history(EventReader(self.root / run).read())
        offset = kept[int(share * (len(kept) - 1))].offset
        done = [event.step for event in kept if isinstance(event, events.Step) and event.offset < offset]
        self.steps[run] = max(done, default=0)
        self.clock += 1
        resumed = events.RunResumed(from_step=self.steps[run], from_offset=offset, device="cpu", time=self.clock)
        write(self.root / run, events.RunStopped(reason="asked", step=self.steps[run], time=self.clock), resumed)

    @rule(run=st.sampled_from(RUNS))
    def delete(self, run: str) -> None:
        if self.exists(run):
            trash.delete(Run(self.root / run))

    @rule(run=st.sampled_from(RUNS))
    def undo(self, run: str) -> None:
        if not self.exists(run):
            trash.undelete(self.runs, run)

    @rule(run=st.sampled_from(RUNS), length=st.integers(0, 4))
    def replace(self, run: str, length: int) -> None:
        """Replace the run's folder by another run, whose log may be shorter, equally long or longer."""
        if not self.exists(run):
            return
        shutil.rmtree(self.root / run)
        self.start(self.root / run)
        self.steps[run] = 0
        self.train(run, length)

    @rule()
    def run_commands(self) -> None:
        self.console.reader.run_commands()

    @rule()
    def read(self) -> None:
        self.console.reader.read_logs()

    @precondition(lambda self: self.console.posted)
    @rule()
    def receive(self) -> None:
        self.console.receive()

    @invariant()
    def store_holds_at_most_kept_series(self) -> None:
        assert len(self.console.store) <= KEPT

    @rule()
    def agree(self) -> None:
        """Check that the watched series equal their logs once everything is read."""
        self.console.settle()
        for run in self.console.watched:
            if self.exists(run):
                assert drawn(self.console.store.get(run)) == expected(self.root / run)


TestFollowing = Following.TestCase
TestFollowing.settings = settings(settings.default, max_examples=100, stateful_step_count=30)


@pytest.fixture
def console(make: Maker) -> Console:
    return Console(make.root)


def test_store_reads_restored_run_once(console: Console, make: Maker, runs: RunsFolder) -> None:
    run = make(losses=[0.3, 0.2, 0.1])
    console.watch(run.id)
    console.settle()
    trash.delete(run)
    console.settle()
    trash.undelete(runs, run.id)
    console.settle()
    assert drawn(console.store.get(run.id)) == expected(run.folder)


def test_store_rereads_log_after_dropped_series(console: Console, make: Maker) -> None:
    first, second = make(losses=[0.3]), make(losses=[0.2, 0.1])
    console.watch(first.id, second.id)
    console.reader.run_commands()
    console.watch(first.id)
    console.store.watch([f"other {number}" for number in range(KEPT)])  # drops the second run's series
    console.reader.read_logs()  # the reader has not run the command yet, so it still reads both
    while console.posted:
        console.receive()
    console.watch(second.id)
    console.settle()
    assert drawn(console.store.get(second.id)) == expected(second.folder)


def test_store_rereads_runs_beyond_kept_series(make: Maker) -> None:
    console = Console(make.root, KEPT_SERIES)
    made = [make(losses=[0.5, 1 / (1 + number)]) for number in range(KEPT_SERIES + 2)]
    for run in made:
        console.watch(run.id)
        console.settle()
    assert len(console.store) == KEPT_SERIES
    assert console.store.get(made[0].id) is None
    console.watch(made[0].id)
    console.settle()
    assert drawn(console.store.get(made[0].id)) == expected(made[0].folder)


@pytest.mark.parametrize("losses", [[0.9], [0.9, 0.8, 0.7, 0.6]], ids=["shorter", "longer"])
def test_store_rereads_folder_replaced_while_watched(console: Console, make: Maker, losses: list[float]) -> None:
    run, other = make(losses=[0.3, 0.2]), make(losses=losses)
    console.watch(run.id)
    console.settle()
    shutil.rmtree(run.folder)
    other.folder.rename(run.folder)
    console.settle()
    assert drawn(console.store.get(run.id)) == expected(run.folder)


def test_reader_announces_empty_log_once(console: Console, make: Maker) -> None:
    (make.root / "empty").mkdir(parents=True)
    console.watch("empty")
    console.reader.run_commands()
    console.reader.read_logs()
    assert [(message.start, message.end, message.caught_up) for message in console.posted] == [(0, 0, True)]
    console.reader.read_logs()
    assert len(console.posted) == 1


def test_store_rewinds_on_missing_events_and_stays_unchanged() -> None:
    rewound: list[str] = []
    store = SeriesStore(rewound.append)
    store.watch(["a"])
    rewound.clear()
    step = events.Step(step=1, loss=0.5, time=1.0)
    assert store.add("a", 0, 100, [step])
    before = drawn(store.get("a"))
    assert not store.add("a", 200, 300, [step])
    assert (rewound, drawn(store.get("a"))) == (["a"], before)
    assert store.add("a", 100, 200, [step])
    assert rewound == ["a"]


def test_store_skips_invalid_lines_without_rereading(console: Console, make: Maker) -> None:
    run = make(losses=[0.3])
    console.watch(run.id)
    console.settle()
    with (run.folder / EVENTS_FILE).open("ab") as log:
        log.write(b"no event\n")
    console.settle()
    write(run.folder, events.Message(text="more"))
    console.reader.read_logs()
    console.receive()
    console.reader.run_commands()
    console.reader.read_logs()
    assert not console.posted
    assert drawn(console.store.get(run.id)) == expected(run.folder)
