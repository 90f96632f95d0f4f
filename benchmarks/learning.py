"""Benchmark of learning speed: the time in which a network reaches a baseline's held-out loss after some epochs.

The loss is the error of eps on images held out from the training split, with the same noise and timesteps every time.
The time is the number of epochs times the seconds of an epoch. These are measured for both networks in turns in one
process, since the times in a run's log also depend on other work on the machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import torch
import typer

from benchmarks import results
from benchmarks.options import Device, Out, dataset_root, ddpm_config, resolve
from benchmarks.timing import seconds_of, side_by_side
from dipddpm.core import data
from dipddpm.core.bench.speed import take
from dipddpm.core.compute import checkpoint
from dipddpm.core.compute.rng import derive
from dipddpm.core.config import DdpmRun
from dipddpm.core.data.sources import load_training
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.ddpm.validation import Validator
from dipddpm.core.errors import UserError
from dipddpm.core.events import EpochFinished
from dipddpm.core.experiments.ddpm import DdpmExperiment
from dipddpm.core.methods.budget import clock_of
from dipddpm.core.report import plots
from dipddpm.core.report.plots import Curve, LinePlot
from dipddpm.core.runs import Run
from dipddpm.tui.cli.options import RunArgument, RunsDir, find_run
from dipddpm.tui.cli.output import print_table


class LossPoint(msgspec.Struct, frozen=True):
    """The error of eps on held-out images after so many epochs."""

    epoch: int
    loss: float


class Overtaken(msgspec.Struct, frozen=True, kw_only=True):
    """The time at which a network reaches the baseline's loss after `epoch` epochs; None if it never does."""

    epoch: int
    loss: float
    epochs: float | None
    """The network's epochs, interpolated between two of them."""
    share: float | None
    """The network's time as a share of the baseline's."""


def measure(
    run: RunArgument,
    against: Annotated[str, typer.Argument(metavar="BASELINE", help="The baseline's run.")],
    *,
    model: Annotated[
        list[str], typer.Option(metavar="EPOCH=FILE", help="The baseline's checkpoint of an epoch; may be repeated.")
    ],
    images: Annotated[int, typer.Option(min=128, help="Images in each measurement of the training speed.")] = 1536,
    repeats: Annotated[int, typer.Option(min=1, help="Measurements of the training speed.")] = 5,
    out: Out = Path("build/learning"),
    device: Device = "auto",
    runs_dir: RunsDir = None,
) -> None:
    """Measure how much sooner a network reaches the losses of a baseline.

    Both networks are measured on the same held-out images with the same noise. If the baseline was also trained on
    these images, it has an advantage.
    """
    network_run, baseline_run = find_run(run, runs_dir), find_run(against, runs_dir)
    torch_device = resolve(device)
    configs = {config.method: config for config in (ddpm_config(baseline_run), ddpm_config(network_run))}
    if len(configs) == 1:
        raise UserError("Both runs have the same network.", "Give runs of two different networks.")
    baseline, network = configs
    curves = {baseline: measured(configs[baseline], _models(model), torch_device), network: logged(network_run)}
    speeds = seconds_per_image(configs, images=images, repeats=repeats, device=torch_device)
    seconds = {name: seconds_per_epoch(config, speeds[name]) for name, config in configs.items()}
    ratio = seconds[network] / seconds[baseline]
    rows = overtaken(curves[network], curves[baseline], ratio)
    record = {"seconds_per_epoch": seconds, "ratio": ratio, "curves": curves, "overtaken": rows}
    results.save(out / "learning.json", record)
    plots.save(plot(curves, seconds), out / "learning.png")
    table = [(f"EPOCHS OF {baseline.upper()}", "LOSS", f"EPOCHS OF {network.upper()}", "SHARE OF THE TIME")]
    for row in rows:
        reached_at = ("never", "") if row.epochs is None else (f"{row.epochs:.2f}", f"{row.share:.3f}")
        table.append((str(row.epoch), f"{row.loss:.5f}", *reached_at))
    print_table(list(table))
    print(f"An epoch of {network} takes {ratio:.3f} of the time of an epoch of {baseline}.")


def logged(run: Run) -> list[LossPoint]:
    """Read the held-out loss of each epoch from a run's log. Raises UserError for a run without held-out images."""
    points = [LossPoint(e.epoch, e.held_out) for e in run.events() if isinstance(e, EpochFinished) and e.held_out]
    if not points:
        raise UserError(f"The run {run.id} has no held-out loss.", "Give a run with ddpm.hold_out=true.")
    return points


def measured(config: DdpmRun, models: Mapping[int, Path], device: torch.device | str = "cpu") -> list[LossPoint]:
    """Measure the held-out losses of checkpoints by epoch, with the noise of a run with the config's seed.

    Raises UserError for files that are no checkpoints.
    """
    _, held_out = data.hold_out(data.load(config.data.dataset, "train", root=dataset_root(config)))
    schedule = Schedule.from_config(config.ddpm, device)
    validator = Validator(schedule, held_out.images.to(device), seed=derive(config.seed, "training"))
    points = []
    for epoch, path in sorted(models.items()):
        denoiser = Denoiser(checkpoint.load(path, device), schedule, objective=config.ddpm.objective)
        points.append(LossPoint(epoch, validator.measure(denoiser)[0]))
    return points


def seconds_per_image(
    configs: Mapping[str, DdpmRun], *, images: int = 1_536, repeats: int = 5, device: torch.device | str = "cpu"
) -> dict[str, float]:
    """Measure the median training time per image of each config, in turns."""
    clock = clock_of(torch.device(device))

    def training(config: DdpmRun) -> float:
        short = msgspec.structs.replace(
            config,
            data=msgspec.structs.replace(config.data, train_images=images),
            ddpm=msgspec.structs.replace(config.ddpm, epochs=1, samples=0, sample_every=0, evaluate=0),
        )
        experiment = DdpmExperiment.from_config(short, device)
        steps = experiment.training.steps_per_epoch
        return seconds_of(lambda: take(experiment.training, steps), clock)

    first = next(iter(configs))
    work = {name: partial(training, config) for name, config in configs.items()}
    return {row.name: row.seconds / images for row in side_by_side(first, work, repeats=repeats)}


def seconds_per_epoch(config: DdpmRun, per_image: float) -> float:
    """Return the seconds of an epoch over all training images of the config."""
    return len(load_training(config.data, held_out=config.ddpm.hold_out)[0]) * per_image


def overtaken(curve: Sequence[LossPoint], baseline: Sequence[LossPoint], ratio: float) -> list[Overtaken]:
    """Return when a curve reaches each loss of the baseline's; `ratio` is its time per epoch over the baseline's."""
    rows = []
    for point in baseline:
        epochs = reached(curve, point.loss)
        share = None if epochs is None else epochs * ratio / point.epoch
        rows.append(Overtaken(epoch=point.epoch, loss=point.loss, epochs=epochs, share=share))
    return rows


def reached(curve: Sequence[LossPoint], loss: float) -> float | None:
    """Return the epochs after which a curve first has this loss, interpolated in log loss; None if it never has.

    The curve is unknown before its first point, so a higher loss counts as reached at that point.
    """
    before: LossPoint | None = None
    for point in sorted(curve, key=lambda point: point.epoch):
        if point.loss <= loss:
            if before is None:
                return float(point.epoch)
            fraction = math.log(before.loss / loss) / math.log(before.loss / point.loss)
            return before.epoch + fraction * (point.epoch - before.epoch)
        before = point
    return None


def plot(curves: Mapping[str, Sequence[LossPoint]], seconds: Mapping[str, float]) -> LinePlot:
    """Plot held-out loss against minutes of training, with a curve per network; `seconds` are per epoch."""
    return LinePlot(
        title="How fast the networks learn",
        x="minutes of training",
        y="held-out error of eps",
        curves=[
            Curve(name, [p.epoch * seconds[name] / 60 for p in points], [p.loss for p in points])
            for name, points in curves.items()
        ],
        log_x=True,
        log_y=True,
    )


def _models(texts: list[str]) -> dict[int, Path]:
    models = {}
    for text in texts:
        epoch, _, file = text.partition("=")
        if not (epoch.isdecimal() and int(epoch) and file):
            raise UserError(f"{text!r} is not an epoch and a file.", "Write --model as 5=FILE.")
        models[int(epoch)] = Path(file).expanduser()
    return models
