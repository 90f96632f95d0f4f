"""The parts that test and train: `pytest -m gpu`, the tutorial network, and the preset `gpu` with its samples."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from benchmarks import draws, published
from benchmarks.gpu import runs
from benchmarks.gpu.parts import Settings
from benchmarks.gpu.records import Figure, Note
from benchmarks.options import resolve
from benchmarks.timing import seconds_of
from dipddpm.core import config as configs
from dipddpm.core import data
from dipddpm.core.bench import rates, roofline
from dipddpm.core.bench.rates import Work
from dipddpm.core.bench.speed import BATCH, EPOCH, take, training_of
from dipddpm.core.compute import checkpoint
from dipddpm.core.config import PRESETS, DdpmRun
from dipddpm.core.config.ddpm import SamplerName
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.training import READ_EVERY
from dipddpm.core.events import EpochFinished
from dipddpm.core.methods.budget import clock_of
from dipddpm.core.runs import BEST_FILE, reference

TESTS = Path(__file__).parents[2] / "tests" / "gpu"
OUTCOME = re.compile(r"::.* (?P<outcome>PASSED|FAILED|ERROR|SKIPPED)\b")
FORMS: dict[str, dict[str, Any]] = {
    "eager": {},
    "CUDA graphs": {"ddpm.compile": True, "ddpm.compile_mode": "reduce-overhead"},
    "compiled": {"ddpm.compile": True},
}
"""The forms of a training by the order of their worth."""
PRECISIONS = ("float32", "bfloat16")
PRESET = "preset gpu"
TRAINING_SECONDS = 240.0
START_SECONDS = 15.0
"""Time that a worker takes to start, and to evaluate its last epochs."""
EPOCH_MARGIN = 1.3
"""The validation and storing of an epoch's model, as a factor of its training."""
SAMPLING_SECONDS = 30.0
"""Time kept for the samples of the preset's model and of the shipped reference."""


def tests(settings: Settings, until: float) -> Iterator[Figure | Note]:
    """Run the tests of the marker `gpu` on the device of the measurement, and count those that ended in time."""
    selection = ["-k", "restorer or visible_devices"] if settings.miniature else []
    command = [sys.executable, "-m", "pytest", "-vv", "-m", "gpu", "-p", "no:cacheprovider", str(TESTS), *selection]
    lines: list[str] = []
    with subprocess.Popen(
        command, cwd=TESTS.parents[1], env=runs.environment(settings), stdout=subprocess.PIPE, text=True
    ) as pytest:
        timer = threading.Timer(max(1.0, until - time.monotonic()), pytest.kill)
        timer.start()
        assert pytest.stdout is not None
        for line in pytest.stdout:
            lines.append(line)
            print(line, end="")
        timer.cancel()
    outcomes = [match["outcome"] for line in lines if (match := OUTCOME.search(line))]
    if not outcomes:
        raise RuntimeError("pytest has run no test")
    for name, kinds in (("passed", {"PASSED"}), ("failed", {"FAILED", "ERROR"}), ("skipped", {"SKIPPED"})):
        count = sum(outcome in kinds for outcome in outcomes)
        yield Figure(name=f"tests {name}", value=count, unit="tests")
    for line in lines:
        if line.startswith(("FAILED ", "ERROR ")):
            yield Note(line.strip()[:400])
    if pytest.returncode < 0:
        yield Note(f"There was time for {len(outcomes)} tests; each is in the log.", "unfinished")


def tutorial(settings: Settings, until: float) -> Iterator[Figure | Note]:
    """Time training steps of the tutorial network in each form, beside the published code's."""
    device = resolve(settings.device)
    machine = roofline.measure(device)
    gpu = device.type == "cuda"
    items, units = 2, 2 * BATCH * (READ_EVERY if gpu else 1)
    baseline = 0.0
    if settings.published:
        steps = 2 * READ_EVERY if gpu else 2
        images = torch.randint(256, (EPOCH, 1, 28, 28), dtype=torch.uint8)
        theirs = published.published_loop(published.load(Path(settings.published)), images, device)
        work = Work("training", "published code", "images", steps * BATCH, partial(take, theirs, steps))
        (rate,) = rates.measure([work], machine, repeats=3)
        baseline = EPOCH / rate.per_second
        yield Figure(name="an epoch, published code", value=baseline, unit="s", precision="float32")
    else:
        yield Note("The published code's time needs --published, a checkout of it.", "waiting")
    for form, options in FORMS.items():
        if form == "CUDA graphs" and not gpu:
            yield Note("CUDA graphs need a GPU.", "waiting")
            continue
        if options and settings.miniature:
            yield Note("A miniature doesn't compile, which would take a minute.", "waiting")
            continue
        for precision in PRECISIONS:
            eager = partial(take, training_of("tutorial", None, {"ddpm.precision": precision}, device), items)
            loop = training_of("tutorial", None, {**options, "ddpm.precision": precision}, device)
            run = partial(take, loop, items)
            work = Work("training", form, "images", units, run, precision, eager if options else None)
            (rate,) = rates.measure([work], machine, repeats=1 if settings.miniature else 3)
            seconds = EPOCH / rate.per_second
            notes = [f"{rate.share:.0%} of the roofline", f"first steps {rate.warm_up:.1f} s"]
            notes += [f"{baseline / seconds:.1f} times the published code"] if baseline else []
            note = ", ".join(notes)
            yield Figure(name=f"an epoch, {form}", value=seconds, unit="s", precision=precision, note=note)


def preset(settings: Settings, until: float) -> Iterator[Figure | Note]:
    """Train the preset `gpu` for as long as there is time, and measure its samples beside the shipped reference's."""
    if "gpu" not in PRESETS["ddpm"]:
        yield Note("The program has no preset gpu.", "waiting")
        return
    run = runs.find(settings, PRESET)
    if run is None:
        per_epoch, compiling = _seconds_per_epoch(settings)
        left = until - time.monotonic() - START_SECONDS - SAMPLING_SECONDS - compiling / 2
        count = max(1, int(min(TRAINING_SECONDS, left) / (EPOCH_MARGIN * per_epoch)))
        count = 1 if settings.miniature else count
        note = f"first steps {compiling:.0f} s, of which the worker's cache saves a part"
        yield Figure(name="an epoch of training", value=per_epoch, unit="s", precision="bfloat16", note=note)
        run = runs.create(settings, _preset(settings, count))
    if not runs.carry_out(run, until - SAMPLING_SECONDS / 2):
        yield Note(f"The training was stopped: {runs.progress(run)}.", "unfinished")
    if not (run.folder / BEST_FILE).is_file():
        return
    history = [event for event in run.events() if isinstance(event, EpochFinished)]
    seconds = sum(event.seconds for event in history)
    note = f"{len(history)} epochs, the learning rate falls to 0 at the last one"
    yield Figure(name="training", value=seconds, unit="s", precision="bfloat16", note=note)
    held_out = [event.held_out for event in history if event.held_out is not None]
    if held_out:
        yield Figure(name="lowest held-out loss", value=min(held_out), unit="")
    weights = run.folder / BEST_FILE
    yield Figure(name="weights", value=weights.stat().st_size / 2**20, unit="MiB", note=f"in runs.tar, run {run.id}")
    yield from _samples(settings, run.folder, until)


def _seconds_per_epoch(settings: Settings) -> tuple[float, float]:
    """Return the seconds of an epoch with the preset, and of its first steps, which include the compilation."""
    device = resolve(settings.device)
    clock = clock_of(device)
    config = _preset(settings, 1)
    batch = config.ddpm.batch_size
    size = {"unet.channels": config.unet.channels, "ddpm.compile": config.ddpm.compile, "ddpm.batch_size": batch}
    loop = training_of("unet", "gpu", size, device)
    compiling = seconds_of(partial(take, loop, 1), clock)
    items = 1 if settings.miniature else 4
    steps = items * (READ_EVERY if device.type == "cuda" else 1)
    return seconds_of(partial(take, loop, items), clock) / (steps * batch) * EPOCH, compiling


def _preset(settings: Settings, epochs: int) -> DdpmRun:
    changes: dict[str, Any] = {"name": PRESET, "ddpm.epochs": epochs, "ddpm.samples": 0, "ddpm.sample_every": 0}
    if settings.miniature:
        small = {"data.dataset": "fashion-mini", "data.train_images": 256, "ddpm.compile": False}
        changes |= small | {"unet.channels": "8,8,8", "ddpm.batch_size": 64, "ddpm.warmup": 2}
    config = configs.build("ddpm", preset="gpu", settings={**changes, "device": settings.device})
    return cast(DdpmRun, config)


def _samples(settings: Settings, folder: Path, until: float) -> Iterator[Figure | Note]:
    """Measure the Frechet distance of samples of the new model and of the shipped reference, cheapest first."""
    dataset = "fashion-mini" if settings.miniature else "fashionmnist"
    count, nfe = (128, (3, 5)) if settings.miniature else (5000, (19, 1000))
    truth = data.load(dataset, "test")
    models = {PRESET: folder, "reference": reference.FOLDER / reference.PRIOR}
    pace: dict[str, float] = {}
    wanted: tuple[tuple[SamplerName, int], ...] = (("heun", nfe[0]), ("restart", 60), ("ancestral", nfe[1]))
    for sampler, budget in wanted:
        values: dict[str, float] = {}
        for name, path in models.items():
            expected = budget * pace.get(name, 0.0)
            if expected > until - time.monotonic():
                yield Note(f"{sampler}, {budget} NFE, of the {name} would take {expected:.0f} s.", "unfinished")
                continue
            draw = _draw(settings, path, truth, sampler=sampler, nfe=budget, count=count)
            pace[name] = draw.seconds / draw.nfe
            values[name] = draw.frechet
            share = values.get(PRESET, math.nan) / draw.frechet
            compared = f", the preset's is {share:.3f} of it" if name != PRESET else ""
            yield Figure(
                name=f"Frechet distance, {name}, {sampler}, {draw.nfe} NFE",
                value=draw.frechet,
                unit="",
                precision="float32",
                note=f"N = {count:,}, {draw.seconds:.1f} s{compared}",
            )


def _draw(
    settings: Settings, folder: Path, truth: data.ImageSet, *, sampler: SamplerName, nfe: int, count: int
) -> draws.Draw:
    """Draw and measure samples of a run's model, unless an earlier start has done so."""
    digest = checkpoint.digest(folder / BEST_FILE)
    path = settings.runs_folder / f"quality-{digest[:12]}.json"
    drawn = draws.load(path, digest, count)
    model = TrainedModel.of_run(folder, resolve(settings.device))
    drawn += draws.draws(model, truth, samplers=[sampler], nfe=[nfe], samples=count, seeds=[0], known=list(drawn))
    draws.save(path, digest, count, drawn)
    steps = draws.steps_for(sampler, nfe, len(model.schedule), model.options)
    return next(draw for draw in drawn if (draw.sampler, draw.steps) == (sampler, steps))
