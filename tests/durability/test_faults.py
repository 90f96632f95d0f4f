"""Tests with a disk that is full, failing or read-only at any call of a run: no incomplete file counts as complete."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from dipddpm.core import config as configs
from dipddpm.core import events, images, registry
from dipddpm.core.compute import checkpoint
from dipddpm.core.config import DdpmRun
from dipddpm.core.dip.networks import DecoderNetwork
from dipddpm.core.events import (
    BestModel,
    Document,
    EpochFinished,
    Item,
    Pictures,
    RestoredImages,
    RunFailed,
    RunStarted,
    Step,
    Tensors,
)
from dipddpm.core.io import atomic
from dipddpm.core.launch.worker import main as work
from dipddpm.core.runs import EventReader, Run, RunsFolder, RunState, environment, heartbeat
from tests.durability.conftest import REPORT
from tests.durability.disk import FAULTS, Disk

EPOCHS = 2
DOCUMENT = "# Report\n" * 40
SQUARE = torch.full((1, 8, 8), 0.5)


class Tiny:
    """An experiment that yields every kind of item, with a real network."""

    network: ClassVar[Any] = None

    def __init__(self) -> None:
        self.yielded = 0
        """The number of items yielded."""
        self.network = DecoderNetwork(2, 1, 1, [8, 8], channels=4)  # type: ignore[misc]

    @property
    def step(self) -> int:
        return min(2 * EPOCHS, 2 * (self.yielded // 5) + min(2, self.yielded % 5))

    @property
    def epoch(self) -> int:
        return min(EPOCHS, (self.yielded + 1) // 5)

    @classmethod
    def from_config(cls, config: DdpmRun, device: torch.device) -> Tiny:
        return cls()

    inputs = ()

    def started(self) -> RunStarted:
        return RunStarted(kind="ddpm", method="tutorial", device="", epochs=EPOCHS, steps=2 * EPOCHS)

    def __iter__(self) -> Iterator[Item]:
        while self.yielded < 5 * EPOCHS + 3:
            self.yielded += 1
            yield self.item(self.yielded - 1)

    def item(self, index: int) -> Item:
        epoch, part = index // 5 + 1, index % 5
        if epoch > EPOCHS:
            closing: list[Item] = [
                Tensors(name="y", tensors={"y": torch.ones(4)}, step=self.step),
                Document(name="report.md", text=DOCUMENT),
                RestoredImages(names=["a", "b"], restored=[SQUARE, SQUARE], degraded=[SQUARE, SQUARE], step=self.step),
            ]
            return closing[part]
        if part < 2:
            return Step(step=self.step, epoch=epoch, loss=1 / self.step)
        with torch.no_grad():
            for weight in self.network.parameters():
                weight.fill_(epoch)
        if part == 2:
            return BestModel(
                network=self.network, tensors={"epoch": epoch}, step=self.step, epoch=epoch, value=1 / epoch
            )
        if part == 3:
            return EpochFinished(epoch=epoch, step=self.step, loss=1 / epoch, best=True)
        shade = torch.full((1, 1, 8, 8), epoch / EPOCHS)
        return Pictures(name="samples", images=shade, step=self.step, numbered=True)

    def state_dict(self) -> dict[str, Any]:
        return {"yielded": self.yielded}

    def load_state_dict(self, state: Any) -> None:
        self.yielded = int(state["yielded"])
        self.network.load_state_dict(state["network"])


@dataclass
class Bench:
    """A runs folder for the tiny experiment, on a disk that can be made to fail."""

    runs: RunsFolder
    disk: Disk
    config: DdpmRun

    def run(self) -> Run:
        """Create a run."""
        self.disk.mend()
        return self.runs.create(self.config)

    def work(self, run: Run, *options: str) -> int:
        """Run the worker of a run in this process, and return its exit code."""
        code = work([str(run.folder), "--now", *options])
        self.disk.mend()
        with contextlib.suppress(FileNotFoundError):
            (run.folder / heartbeat.WORKER_FILE).unlink()  # it names this process, which lives on
        return code


LAST_LINES = 3
"""The lines that a worker tries to write on a full disk: its current event, and twice the reason for its end."""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    resolve, collected = registry.resolve, environment.collect("cpu", "cpu", 1)
    monkeypatch.setattr(registry, "resolve", lambda path: Tiny if path == DdpmRun.experiment else resolve(path))
    monkeypatch.setattr(environment, "collect", lambda *_: collected)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    config = configs.build("ddpm", settings={"device": "cpu", "threads": 1, "checkpoint_seconds": 0})
    assert isinstance(config, DdpmRun)
    with pytest.MonkeyPatch.context() as patch:
        yield Bench(RunsFolder(tmp_path / "runs"), Disk(tmp_path / "runs", patch), config)
    for number, handler in before.items():
        signal.signal(number, handler)


def check_files(run: Run, torn: int = 1) -> None:
    """Check that every file with its final name is complete, and that every file in the log exists and matches it.

    At most `torn` lines of the log may be incomplete, one for each attempted write.
    """
    reader = EventReader(run.folder)
    recorded = reader.read()
    assert reader.unreadable <= torn
    best = run.folder / "checkpoints" / "best.safetensors"
    stored = [event for event in recorded if isinstance(event, events.BestModelStored)]
    if stored or best.exists():
        state = checkpoint.load_state(best)
        assert checkpoint.load(best) is not None
        # The log may lack the newest best model, but never names one that doesn't exist.
        assert state["epoch"] >= (stored[-1].epoch if stored else 1)
        assert all(bool((weight == state["epoch"]).all()) for weight in state["network"].values())
    for name in ("checkpoints/last.safetensors", "y.safetensors"):
        if (run.folder / name).exists():
            checkpoint.load_state(run.folder / name)
    pictures = [run.folder / event.file for event in recorded if isinstance(event, events.ImageSaved)]
    for event in recorded:
        if isinstance(event, events.RestoredSaved):
            pictures += [run.folder / name for name in (*event.files, *event.degraded)]
            assert (len(event.files), len(event.degraded)) == (2, 2)
    for path in {*pictures, *(run.folder / "images").glob("*.png")}:
        images.load_image(path)
    if (run.folder / "report.md").exists():
        assert (run.folder / "report.md").read_text() == DOCUMENT
    assert run.config().kind == "ddpm"


def numbers(run: Run) -> list[tuple[int, int, float]]:
    return [(e.epoch, e.step, e.loss) for e in run.events() if isinstance(e, EpochFinished)]


def run_with_fault(
    bench: Bench, at: int, fault: str, capsys: pytest.CaptureFixture[str], *, lasting: bool = False
) -> str:
    """Make one run in which this call fails, resume it on a working disk, check both, and return the call."""
    run = bench.run()
    bench.disk.fail(at, fault, lasting=lasting)
    code = bench.work(run)
    call = bench.disk.failed
    printed = capsys.readouterr()
    torn = LAST_LINES if lasting else 1
    check_files(run, torn)
    state = run.status().state
    if code:
        failures = [event for event in run.events() if isinstance(event, RunFailed)]
        text = f"{failures[-1].error} {failures[-1].hint}" if failures else printed.err
        full = fault in {"ENOSPC", "short"}
        assert ("The disk is full." if full else "could not be read or written") in text, (call, text)
        assert "resume the run" in text, (call, text)
        assert failures or lasting or code == 2, (call, "the log holds no failure")
        # A fault after the last event leaves the run finished.
        assert state in {RunState.failed, RunState.crashed, RunState.queued} | (
            {RunState.finished} if lasting else set()
        )
    else:
        assert state is RunState.finished
    unfinished = state is not RunState.finished
    if unfinished:
        assert bench.work(run, "--resume") == 0
    check_files(run, torn)
    assert run.status().state is RunState.finished
    assert numbers(run) == [(epoch, 2 * epoch, 1 / epoch) for epoch in range(1, EPOCHS + 1)]
    assert checkpoint.load_state(run.folder / "checkpoints" / "best.safetensors")["epoch"] == EPOCHS
    if unfinished:
        assert list(run.folder.rglob(f"*{atomic.TEMPORARY}")) == [], "the next worker removes temporary files"
    return call


def calls_of_a_run(bench: Bench) -> list[str]:
    assert bench.work(bench.run()) == 0
    return list(bench.disk.calls)


def test_worker_without_faults_uses_every_kind_of_disk_call(bench: Bench) -> None:
    calls = {call.partition(" ")[0] for call in calls_of_a_run(bench)}
    assert calls >= {"write", "fsync", "open", "replace", "unlink"}


@pytest.mark.parametrize("fault", FAULTS)
def test_worker_survives_sampled_disk_faults(bench: Bench, fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    count = len(calls_of_a_run(bench))
    for at in range(3 + len(fault), count, 47):
        run_with_fault(bench, at, fault, capsys)
    run_with_fault(bench, count // 2, fault, capsys, lasting=fault != "short")


@pytest.mark.durability
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("fault", FAULTS)
def test_worker_survives_disk_fault_at_every_call(
    bench: Bench, fault: str, lasting: bool, capsys: pytest.CaptureFixture[str], pytestconfig: pytest.Config
) -> None:
    count = len(calls_of_a_run(bench))
    for at in range(count):
        run_with_fault(bench, at, fault, capsys, lasting=lasting)
    when = "from each of its calls on" if lasting else "at each of its calls in turn"
    pytestconfig.stash.setdefault(REPORT, []).append(f"{count} runs with {fault} {when}, each resumed to its end")


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002])
def test_worker_files_respect_umask(bench: Bench, umask: int) -> None:
    before = os.umask(umask)
    try:
        run = bench.run()
        assert work([str(run.folder), "--now"]) == 0
    finally:
        os.umask(before)
    made = [run.folder, *run.folder.rglob("*")]
    assert {path.name for path in made} >= {"events.jsonl", "worker.json", "best.safetensors", "samples-000002.png"}
    for path in made:
        assert path.stat().st_mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~umask, path


@pytest.mark.parametrize("tampered", [{"yielded": "x"}, {"yielded": None}, {}, {"logged": "x"}, {"generators": []}])
def test_worker_reports_tampered_checkpoint(bench: Bench, tampered: dict[str, Any]) -> None:
    run = bench.run()
    assert bench.work(run) == 0
    last = run.folder / "checkpoints" / "last.safetensors"
    state = checkpoint.load_state(last)
    state.pop(next(iter(tampered), "yielded"))
    checkpoint.save(last, {**state, **tampered})
    assert bench.work(run, "--resume") == 1
    failed = run.events()[-1]
    assert isinstance(failed, RunFailed)
    assert "does not fit the run" in failed.error
