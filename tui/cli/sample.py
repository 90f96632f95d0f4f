"""`dipddpm sample`: images from a trained model."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dipddpm.core.compute import devices
from dipddpm.core.config.ddpm import MIN_EVALUATED, SamplerName
from dipddpm.core.errors import UserError
from dipddpm.core.events import Pictures, SamplesEvaluated
from dipddpm.core.io.sanitize import printable
from dipddpm.core.runs import Run, trained
from dipddpm.tui.cli.options import Json, RunArgument, RunsDir, find_run
from dipddpm.tui.cli.output import print_json
from dipddpm.tui.shared.formatting import event_line, format_duration

if TYPE_CHECKING:
    from torch import Tensor

    from dipddpm.core.ddpm.model import TrainedModel
    from dipddpm.core.metrics.samples import SampleEvaluator


def sample(
    run: RunArgument = "last",
    *,
    steps: Annotated[int, typer.Option(min=0, help="Steps of the sampler; 0: all timesteps.")] = 20,
    sampler: Annotated[SamplerName, typer.Option(help="How; a step of heun evaluates the network twice.")] = "dpm++",
    eta: Annotated[float, typer.Option(min=0, max=1, help="Noise drawn anew on the way (ddim).")] = 0.0,
    n: Annotated[int, typer.Option("--n", "-n", min=1, max=65536, help="How many images.")] = 64,
    label: Annotated[int | None, typer.Option("--class", min=0, help="Of one class (a conditional model).")] = None,
    guidance: Annotated[float, typer.Option(min=0, help="How much more than asked for of the class; 1: as is.")] = 1.0,
    clip: Annotated[bool, typer.Option("--clip", help="Keep every estimate of the image within range.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    compiled: Annotated[
        bool, typer.Option("--compile", help="Compile the network first, on a GPU with CUDA graphs: for many images.")
    ] = False,
    evaluate: Annotated[
        int, typer.Option(metavar="N", min=0, help="Measure the quality of N samples, too (28x28 grey images).")
    ] = 0,
    grid: Annotated[Path | None, typer.Option(help="Where to put the picture (else samples.png here).")] = None,
    trajectory: Annotated[Path | None, typer.Option(help="A picture of eight of them on their way, too.")] = None,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Sample images from the best model of a run, ddpm or a hybrid that has trained its prior, as one PNG.

    With --evaluate, the Frechet and the kernel distance to the test images, the share of suspected copies, and beside
    the PNG another one of the nearest training images. The distances compare with each other at the same N only.
    """
    target = grid or Path("samples.png")
    for path in filter(None, (target, trajectory)):
        _refuse_path(path)
    _refuse_evaluation(evaluate, label)
    source_run = find_run(run, runs_dir)
    usable = devices.candidates(device)
    import torch
    from rich.console import Console
    from rich.progress import track

    from dipddpm.core import images
    from dipddpm.core.ddpm.model import TrainedModel
    from dipddpm.core.ddpm.sampling import Sampling
    from dipddpm.core.ddpm.solvers import solver

    model = TrainedModel.of_run(source_run.folder, devices.resolve(usable[0]))
    if compiled:
        model = model.compiled("reduce-overhead")
    evaluator = _evaluator(source_run) if evaluate else None
    count = max(n, evaluate)
    chosen = solver(sampler, eta=eta, variance=model.options.variance)
    denoiser = model.denoiser(label=_labels(model, label, count), guidance=guidance, clip=clip)
    sampling = Sampling(denoiser, chosen, (count, *model.shape), steps=steps, seed=seed, device=model.device)
    if trajectory is not None:
        sampling.trajectory_every = max(1, len(sampling) // 8)
    began = time.perf_counter()
    silent, stderr = not sys.stderr.isatty(), Console(stderr=True)
    for _ in track(sampling, "Sampling", len(sampling), console=stderr, transient=True, disable=silent):
        pass
    seconds = time.perf_counter() - began
    scale = max(1, 56 // min(model.shape[1:]))
    displayed = images.to_unit(sampling.xt).clamp(0, 1)
    images.save_png(target, images.grid(displayed[:n], scale=scale))
    if trajectory is not None:
        rows = torch.stack([xt[:8] for xt in sampling.trajectory], 1).flatten(0, 1)  # a row for each of eight images
        images.save_png(trajectory, images.grid(images.to_unit(rows), len(sampling.trajectory), scale=scale))
    evaluations: list[SamplesEvaluated] = []
    for item in evaluator(displayed[:evaluate], seed=seed, nfe=sampling.nfe) if evaluator else ():
        if isinstance(item, Pictures):
            images.save_png(target.with_stem(f"{target.stem}-nearest"), images.grid(item.images, 3, scale=scale))
        else:
            evaluations.append(item)
    if json:
        file = str(target)
        print_json({"run": source_run.id, "file": file, "images": n, "nfe": sampling.nfe, "evaluated": evaluations})
        return
    print(f"{count} images in {format_duration(seconds)}, nfe {sampling.nfe}: {printable(str(target))}")
    for event in evaluations:
        print(event_line(event))


def _evaluator(run: Run) -> SampleEvaluator:
    """Who judges the samples of this run's model."""
    from dipddpm.core.data.sources import load_training
    from dipddpm.core.metrics.samples import SampleEvaluator

    config = trained.trained_config(run.folder)
    training, _ = load_training(config.data, held_out=config.ddpm.hold_out)
    return SampleEvaluator.of(config.data, training)


def _labels(model: TrainedModel, label: int | None, count: int) -> Tensor | None:
    """The class of each image: the one asked for, else every class in turn; None for a model without classes."""
    import torch

    if label is not None and label >= model.classes:
        if not model.classes:
            problem = "This model knows no classes."
            raise UserError(problem, "Leave --class out, or train one with --set ddpm.conditional=true.")
        raise UserError(f"There is no class {label}.", f"Choose from 0 to {model.classes - 1}.")
    if not model.classes:
        return None
    if label is not None:
        return torch.full((count,), label, device=model.device)
    return torch.arange(count, device=model.device) % model.classes


def _refuse_evaluation(count: int, label: int | None) -> None:
    if 0 < count < MIN_EVALUATED:
        problem = f"The quality of {count} samples can't be measured."
        raise UserError(problem, f"Give --evaluate {MIN_EVALUATED} or more; 5,000 are usual.")
    if count and label is not None:
        problem = "Samples of one class are not to be compared with images of all of them."
        raise UserError(problem, "Leave --class out, or --evaluate.")


def _refuse_path(path: Path) -> None:
    """Before any work: a picture that can't be put where it is wanted."""
    if path.suffix.lower() != ".png":
        raise UserError(f"{printable(str(path))} is no name of a PNG file.", "Let it end in .png.")
    if not path.parent.is_dir():
        raise UserError(f"There is no folder {printable(str(path.parent))}.", "Make it, or choose another.")
