"""Measurements of the program itself: always side by side in one run, and as a ratio. Loads no torch by itself."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain
from pathlib import Path

import msgspec

from dipddpm.core import config as configs
from dipddpm.core import events
from dipddpm.core.runs import EventLog, RunsFolder, summary


class TimingRow(msgspec.Struct, frozen=True):
    """One measured thing beside what it is compared with. `ratio` is that of the medians, `spread` half the range."""

    name: str
    seconds: float
    spread: float
    against: str
    ratio: float
    repeats: int


def side_by_side(
    baseline: str, work: Mapping[str, Callable[[], float]], *, repeats: int, warm_up: int = 1
) -> list[TimingRow]:
    """Measure things in turn, so that what else the machine does falls on all alike.

    Each function returns the seconds that it took. The first row is the baseline's, with ratio 1.
    """
    for _ in range(warm_up):
        for function in work.values():
            function()
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, function in work.items():
            times[name].append(function())
    base = statistics.median(times[baseline])
    return [
        TimingRow(
            name=name,
            seconds=statistics.median(taken),
            spread=(max(taken) - min(taken)) / 2,
            against=baseline,
            ratio=statistics.median(taken) / base,
            repeats=repeats,
        )
        for name, taken in times.items()
    ]


def timed(work: Callable[[], object], clock: Callable[[], float], repeats: int) -> list[float]:
    """The seconds of each of so many calls, after one that warms up."""
    work()
    times = []
    for _ in range(repeats):
        began = clock()
        work()
        times.append(clock() - began)
    return times


def start_up(command: list[str], runs: int = 100, repeats: int = 15) -> list[TimingRow]:
    """Wall time of `command --help` and `command ls`, with so many runs to list, against `python -c pass`."""
    with tempfile.TemporaryDirectory() as folder:
        make_runs(Path(folder), runs)
        return side_by_side(
            "python -c pass",
            {
                "python -c pass": lambda: _seconds([sys.executable, "-c", "pass"]),
                "dipddpm --help": lambda: _seconds([*command, "--help"]),
                f"dipddpm ls, {runs} runs": lambda: _seconds([*command, "ls", "--all", "--runs-dir", folder]),
            },
            repeats=repeats,
        )


def event_log(steps: int = 48, repeats: int = 7) -> list[TimingRow]:
    """Training of the tutorial network with its events put on disk, against the same training without a log.

    What is written is what a run writes: events, summary, and the files of best models and a checkpoint. The difference
    of the two is less than what trainings differ by, so what is spent on writing is told by itself, too: events come
    with every step, files with an epoch, of which these are a thirtieth of real ones.
    """
    import torch

    from dipddpm.core.experiments.ddpm import DdpmExperiment
    from dipddpm.core.launch.recorder import Recorder

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

    def bare() -> float:
        experiment = DdpmExperiment.from_config(config, torch.device("cpu"))
        started = time.perf_counter()
        for _ in experiment:
            pass
        return time.perf_counter() - started

    spent = {"events": 0.0, "files": 0.0}

    def logged() -> float:
        spent.update(dict.fromkeys(spent, 0.0))
        experiment = DdpmExperiment.from_config(config, torch.device("cpu"))
        with tempfile.TemporaryDirectory() as folder:
            run = RunsFolder(Path(folder)).create(config)
            log = EventLog(run.folder)
            recorder = Recorder(run.folder, log)

            def written(what: str, write: Callable[[], object]) -> None:
                began = time.perf_counter()
                write()
                spent[what] += time.perf_counter() - began

            started = time.perf_counter()
            for item in chain([experiment.started()], experiment):
                written("events" if isinstance(item, events.Event) else "files", partial(recorder.record, item))
            written("files", partial(recorder.checkpoint, experiment))
            written("events", partial(recorder.record, events.RunFinished(seconds=0.0, step=experiment.step)))
            seconds = time.perf_counter() - started
            log.close()
        return seconds

    bare_name = "training, no log"
    work = {bare_name: bare, "training, logged": logged}
    work |= {f"of that, writing {what}": partial(spent.__getitem__, what) for what in spent}
    return side_by_side(bare_name, work, repeats=repeats)


def make_runs(folder: Path, count: int, epochs: int = 20, newest: str = "") -> None:
    """Finished runs to list, each with the events of a short training; the newest has this name."""
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


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started
