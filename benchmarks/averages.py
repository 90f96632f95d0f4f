"""Benchmark of weight averages: what an average of another length, combined after the training, would have gained.

A model is trained again with two power-function averages, whose snapshots give averages of any length afterwards
(post-hoc EMA, Karras et al., CVPR 2024). All are compared with the last weights and with the run's own average.
"""

from __future__ import annotations

import copy
import csv
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Annotated, Literal, TypeAlias

import msgspec
import typer
from torch import Tensor

from benchmarks import draws
from benchmarks.options import Device, Out, Threads, dataset_root, ddpm_config, resolve
from benchmarks.power_average import PowerAverage, Snapshot, combined, exponent_of
from dipddpm.core import data
from dipddpm.core.compute import checkpoint
from dipddpm.core.config import DdpmRun
from dipddpm.core.config.ddpm import MIN_EVALUATED
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.validation import MAX_VALIDATION_IMAGES, Validator
from dipddpm.core.errors import UserError
from dipddpm.core.events import EpochFinished, Step
from dipddpm.core.experiments.ddpm import DdpmExperiment
from dipddpm.core.io import atomic
from dipddpm.tui.cli.options import RunArgument, RunsDir, find_run
from dipddpm.tui.cli.output import print_table

Decay: TypeAlias = Literal["none", "linear", "cosine"]
TRACKED = (0.05, 0.10)
"""The lengths of the averages that are tracked in training, as in the paper."""
LENGTHS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.10, 0.15, 0.20)
"""The lengths that are compared, as shares of the training."""
LAST = "last weights"
NFE = 20
"""Evaluations for each sample, by dpm++ with eta=1."""
COLUMNS = ("average", "chosen on", "reported on", "frechet", "kernel")


def measure(
    run: RunArgument = "reference",
    *,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of the training.")] = 8,
    decay: Annotated[Decay | None, typer.Option(help="Decay of the learning rate; by default the run's.")] = None,
    snapshots: Annotated[int, typer.Option(min=2, help="Snapshots of each tracked average.")] = 32,
    n: Annotated[int, typer.Option("--n", "-n", min=MIN_EVALUATED, help="Samples for each average and seed.")] = 1000,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of the samples.")] = 3,
    out: Out = Path("build/averages"),
    device: Device = "auto",
    threads: Threads = 0,
    runs_dir: RunsDir = None,
) -> None:
    """Measure what other averages of the weights would have gained in a training.

    The length of an average is chosen on up to 1,000 held-out images, and its loss is reported on others. Samples are
    scored of the last weights, the run's own average, the best length and its neighbours. A training that is
    interrupted goes on after its last finished epoch.
    """
    torch_device = resolve(device, threads)
    source = find_run(run, runs_dir)
    config = ddpm_config(source)
    if not config.ddpm.hold_out:
        raise UserError("The run has no held-out images.", "Choose one with ddpm.hold_out=true.")
    changed = {"epochs": epochs, "samples": 0, "evaluate": 0, **({"decay": decay} if decay else {})}
    config = msgspec.structs.replace(config, ddpm=msgspec.structs.replace(config.ddpm, **changed))
    experiment = DdpmExperiment.from_config(config, torch_device)
    stem = f"{source.id}-{config.ddpm.decay}-{epochs}"  # no training goes on from the state of another run
    candidates = train(experiment, out / f"{stem}.safetensors", snapshots)
    losses = {name: held_out_losses(experiment, weights) for name, weights in candidates.items()}
    best = min(map(name_of, LENGTHS), key=lambda name: losses[name][0])
    scores = sample_scores(
        experiment, config, {name: candidates[name] for name in scored(list(losses), best)}, n, seeds
    )
    rows = [(name, *(f"{loss:.5f}" for loss in losses[name]), *scores.get(name, ("", ""))) for name in losses]
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([COLUMNS, *rows])
    atomic.write_atomic(out / f"{stem}.csv", stream.getvalue().encode())
    print_table([tuple(name.upper() for name in COLUMNS), *rows])
    print(f"Chosen: {best}. Samples by dpm++ with eta=1, {NFE} NFE, {n:,} for each of {seeds} seed(s).")


def train(experiment: DdpmExperiment, path: Path, count: int) -> dict[str, list[Tensor]]:
    """Train, and return the weights of all averages that are compared, by name; the state is stored in `path`."""
    training = experiment.training
    tracked = [PowerAverage(training.network, exponent_of(length)) for length in TRACKED]
    stored = list[Snapshot]()
    if path.is_file():
        state = checkpoint.load_state(path, training.images.device)
        training.load_state_dict(state["training"])
        for average, part in zip(tracked, state["averages"], strict=True):
            average.load_state_dict(part)
        stored = [Snapshot(*part) for part in state["snapshots"]]
    every = max(1, len(training) // count)
    ended = False  # the epoch has, before the step that its state is valid after
    for item in training:
        ended = ended or isinstance(item, EpochFinished)
        if not isinstance(item, Step):
            continue
        for average in tracked:
            average.update(training.network)
            if item.step % every == 0 or item.step == len(training):
                stored.append(average.snapshot())
        if ended:
            parts = [average.state_dict() for average in tracked]
            state = {"training": training.state_dict(), "averages": parts, "snapshots": [list(part) for part in stored]}
            path.parent.mkdir(parents=True, exist_ok=True)
            checkpoint.save(path, state)
            print(f"epoch {training.epoch} of {training.epochs}, loss {item.loss:.4f}", flush=True)
            ended = False
    averages: dict[str, list[Tensor]] = {LAST: [*training.network.parameters()]}
    if training.ema:
        averages[f"ema={training.options.ema:g}"] = [*training.ema.network.parameters()]
    return averages | {name_of(length): combined(stored, exponent_of(length)) for length in LENGTHS}


def name_of(length: float) -> str:
    """Return the name of an average of this length."""
    return f"length {length:g}"


def scored(names: list[str], best: str) -> list[str]:
    """Return the averages whose samples are scored: those that aren't of a length, the best, and its neighbours."""
    lengths = [*map(name_of, LENGTHS)]
    near = {lengths[index] for index in range(len(lengths)) if abs(index - lengths.index(best)) <= 1}
    return [name for name in names if name not in lengths or name in near]


def held_out_losses(experiment: DdpmExperiment, weights: list[Tensor]) -> tuple[float, float]:
    """Return the error of eps of these weights on a first part of the held-out images, and on a second one."""
    images = experiment.sets[1].images.to(experiment.training.images.device)
    half = min(MAX_VALIDATION_IMAGES, len(images) // 2)
    parts = images[:half], images[half:]
    denoiser = with_weights(experiment, weights).denoiser()
    first, second = (Validator(experiment.schedule, part, seed=0).measure(denoiser)[0] for part in parts)
    return first, second


def sample_scores(
    experiment: DdpmExperiment, config: DdpmRun, candidates: Mapping[str, list[Tensor]], n: int, seeds: int
) -> dict[str, tuple[str, str]]:
    """Return the Frechet and the kernel distance of each average's samples to the test images, means over seeds."""
    test, scores = data.load(config.data.dataset, "test", root=dataset_root(config)), dict[str, tuple[str, str]]()
    for name, weights in candidates.items():
        model = with_weights(experiment, weights)
        model = replace(model, options=msgspec.structs.replace(model.options, eta=1.0))
        drawn = [*draws.draws(model, test, samplers=["dpm++"], nfe=[NFE], samples=n, seeds=range(seeds))]
        scores[name] = f"{mean([each.frechet for each in drawn]):.4f}", f"{mean([each.kernel for each in drawn]):.5f}"
        print(f"{name}: {scores[name]}", flush=True)
    return scores


def with_weights(experiment: DdpmExperiment, weights: list[Tensor]) -> TrainedModel:
    """Return the trained model with other weights."""
    network = copy.deepcopy(experiment.network).requires_grad_(False).eval()
    for parameter, weight in zip(network.parameters(), weights, strict=True):
        parameter.copy_(weight)
    return TrainedModel(network, experiment.schedule, experiment.config.ddpm, experiment.training.images.device)
