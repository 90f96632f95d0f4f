"""Benchmarks of the program around the experiments: its start-up, and the event log of a training."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path

import msgspec
import torch

from benchmarks.timing import TimingRow, print_rows, seconds_of, side_by_side
from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.experiments.ddpm import DdpmExperiment
from dipddpm.core.launch.recorder import Recorder
from dipddpm.core.runs import EventLog, RunsFolder, summary

CLI = [sys.executable, "-P", "-c", "from dipddpm.tui.cli.main import main; main()"]
PYTHON = "python -c pass"


def measure_start_up() -> None:
    """Time `dipddpm --help` and `dipddpm ls` against `python -c pass`."""
    print_rows(start_up(CLI))


def measure_log() -> None:
    """Time a training with and without its event log."""
    print_rows(event_log())


def start_up(command: list[str], runs: int = 100, repeats: int = 15) -> list[TimingRow]:
    """Measure the wall time of `command --help` and `command ls` with `runs` runs, against `python -c pass`."""

    def seconds(command: list[str]) -> float:
        return seconds_of(partial(execute, command), time.perf_counter)

    with tempfile.TemporaryDirectory() as folder:
        make_runs(Path(folder), runs)
        work = {
            PYTHON: partial(seconds, [sys.executable, "-c", "pass"]),
            "dipddpm --help": partial(seconds, [*command, "--help"]),
            f"dipddpm ls, {runs} runs": partial(seconds, [*command, "ls", "--all", "--runs-dir", folder]),
        }
        return side_by_side(PYTHON, work, repeats=repeats)


def event_log(steps: int = 48, repeats: int = 7) -> list[TimingRow]:
    """Measure a training of the tutorial network with a run's files against the same training without.

    The files are events, summary, best models and a checkpoint. The two trainings differ by less than repeats of the
    same one, so the writing is also timed separately. Events are written at every step, other files at every epoch; an
    epoch here is a thirtieth of a real one.
    """
    config = configs.build(
        "ddpm",
        settings={
            "data.dataset": "fashion-mini",
            "data.train_images": 128 * steps if 128 * steps < 2000 else 0,
            "ddpm.epochs": max(1, steps * 128 // 2000),
            "ddpm.samples": 0,
        },
    )
    assert isinstance(config, configs.DdpmRun)
    cpu = torch.device("cpu")

    def unlogged() -> float:
        experiment = DdpmExperiment.from_config(config, cpu)
        started = time.perf_counter()
        for _ in experiment:
            pass
        return time.perf_counter() - started

    writing = {"events": 0.0, "files": 0.0}

    def logged() -> float:
        writing.update(dict.fromkeys(writing, 0.0))
        experiment = DdpmExperiment.from_config(config, cpu)
        with tempfile.TemporaryDirectory() as folder:
            run = RunsFolder(Path(folder)).create(config)
            log = EventLog(run.folder)
            recorder = Recorder(run.folder, log)

            def write(kind: str, function: Callable[[], object]) -> None:
                writing[kind] += seconds_of(function, time.perf_counter)

            started = time.perf_counter()
            for item in chain([experiment.started()], experiment):
                write("events" if isinstance(item, events.Event) else "files", partial(recorder.record, item))
                if isinstance(item, events.Step):
                    write("files", recorder.flush)
            write("files", partial(recorder.checkpoint, experiment))
            write("events", partial(recorder.record, events.RunFinished(seconds=0.0, step=experiment.step)))
            seconds = time.perf_counter() - started
            log.close()
        return seconds

    baseline = "training, no log"
    work = {baseline: unlogged, "training, logged": logged}
    work |= {f"of that, writing {kind}": partial(writing.__getitem__, kind) for kind in writing}
    return side_by_side(baseline, work, repeats=repeats)


def make_runs(folder: Path, count: int, epochs: int = 20, newest: str = "") -> None:
    """Make finished runs, each with the events of a short training; `newest` is the name of the last run."""
    config = configs.build("ddpm")
    runs = RunsFolder(folder)
    for number in range(count):
        run = runs.create(msgspec.structs.replace(config, name=newest if number == count - 1 else ""))
        log = EventLog(run.folder)
        log.append(events.RunStarted(kind="ddpm", method="tutorial", device="cpu", epochs=epochs, steps=epochs * 469))
        for epoch in range(1, epochs + 1):
            log.append(events.EpochFinished(epoch=epoch, step=epoch * 469, loss=0.129 / epoch + number * 1e-4))
        log.append(events.RunFinished(seconds=60.0, step=epochs * 469))
        log.close()
        summary.write(run.folder, summary.read(run.folder))


def execute(command: list[str]) -> None:
    """Run a command and discard its output. Raises CalledProcessError if it fails."""
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
