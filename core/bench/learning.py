"""How fast networks learn: the time in which one reaches what another one has after so many epochs.

Losses are those of eps on images held out from the training split, always with the same noise and timesteps. Time is
epochs times what an epoch takes, and that is measured for both networks in turn in one process: the clock of a run's
own log tells of what else the machine did as well.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import torch

from dipddpm.core import data
from dipddpm.core.bench.program import side_by_side
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
from dipddpm.core.report.plots import Curve, LinePlot
from dipddpm.core.runs import Run


class LossPoint(msgspec.Struct, frozen=True):
    """What a network's error of eps is on held-out images after so many epochs of its training."""

    epoch: int
    loss: float


class Overtaken(msgspec.Struct, frozen=True, kw_only=True):
    """When a network reaches what the baseline has after `epoch` epochs; None where it never does."""

    epoch: int
    loss: float
    epochs: float | None
    """Epochs of the network, between two of them by interpolation."""
    share: float | None
    """Its time as a share of the baseline's."""


def logged(run: Run) -> list[LossPoint]:
    """What a run that selects on held-out images says of itself, epoch by epoch.

    Raises UserError for one that holds none out.
    """
    found = [LossPoint(e.epoch, e.held_out) for e in run.events() if isinstance(e, EpochFinished) and e.held_out]
    if not found:
        raise UserError(f"The run {run.id} tells of no held-out loss.", "Give one with ddpm.hold_out.")
    return found


def measured(config: DdpmRun, models: Mapping[int, Path], device: torch.device | str = "cpu") -> list[LossPoint]:
    """The same of checkpoints after so many epochs of a training, as `logged` measures it for a run of its seed.

    Raises UserError for files that are no checkpoints.
    """
    root = Path(config.data.directory).expanduser() if config.data.directory else None
    _, held_out = data.hold_out(data.load(config.data.dataset, "train", root=root))
    schedule = Schedule.from_config(config.ddpm, device)
    monitor = Validator(schedule, held_out.images.to(device), seed=derive(config.seed, "training"))
    found = []
    for epoch, path in sorted(models.items()):
        denoiser = Denoiser(checkpoint.load(path, device), schedule, objective=config.ddpm.objective)
        found.append(LossPoint(epoch, monitor.measure(denoiser)[0]))
    return found


def seconds_per_image(
    configs: Mapping[str, DdpmRun], *, images: int = 1_536, repeats: int = 5, device: torch.device | str = "cpu"
) -> dict[str, float]:
    """The median time that training takes for an image, of each config, measured in turn.

    With one thread on a CPU that is processor time, to which nothing adds that others do meanwhile.
    """
    alone = torch.device(device).type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else clock_of(torch.device(device))

    def training(config: DdpmRun) -> float:
        short = msgspec.structs.replace(
            config,
            data=msgspec.structs.replace(config.data, train_images=images),
            ddpm=msgspec.structs.replace(config.ddpm, epochs=1, samples=0, sample_every=0, evaluate=0),
        )
        experiment = DdpmExperiment.from_config(short, device)
        steps = experiment.training.steps_per_epoch
        began = clock()
        for _ in zip(range(steps), experiment.training, strict=False):
            pass
        return clock() - began

    first = next(iter(configs))
    work = {name: (lambda config=config: training(config)) for name, config in configs.items()}
    return {row.name: row.seconds / images for row in side_by_side(first, work, repeats=repeats)}


def seconds_per_epoch(config: DdpmRun, per_image: float) -> float:
    """What an epoch over all the images of this config's training takes."""
    return len(load_training(config.data, held_out=config.ddpm.hold_out)[0]) * per_image


def overtaken(ours: Sequence[LossPoint], theirs: Sequence[LossPoint], ratio: float) -> list[Overtaken]:
    """When the curve of one network reaches each point of the baseline's; `ratio` is that of an epoch's time."""
    found = []
    for point in theirs:
        epochs = reached(ours, point.loss)
        share = None if epochs is None else epochs * ratio / point.epoch
        found.append(Overtaken(epoch=point.epoch, loss=point.loss, epochs=epochs, share=share))
    return found


def reached(curve: Sequence[LossPoint], loss: float) -> float | None:
    """After how many epochs a curve is first at this loss, by interpolation in log loss; None where it never is.

    What it did before its first point nobody measured: there the first point counts.
    """
    before: LossPoint | None = None
    for point in sorted(curve, key=lambda point: point.epoch):
        if point.loss <= loss:
            if before is None:
                return float(point.epoch)
            way = math.log(before.loss / loss) / math.log(before.loss / point.loss)
            return before.epoch + way * (point.epoch - before.epoch)
        before = point
    return None


def plot(curves: Mapping[str, Sequence[LossPoint]], seconds: Mapping[str, float]) -> LinePlot:
    """Held-out loss against minutes of training, a curve for each network; `seconds` are those of an epoch."""
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
