"""`dipddpm sample`: draw images from a trained diffusion model."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dipddpm.core.compute import devices
from dipddpm.core.config.ddpm import MIN_EVALUATED, USUAL_ETA, DdpmConfig, SamplerName
from dipddpm.core.errors import UserError
from dipddpm.core.events import Pictures, SamplesEvaluated
from dipddpm.core.io import atomic, output
from dipddpm.core.io.sanitize import printable
from dipddpm.core.runs import Run, trained
from dipddpm.tui.cli import complete
from dipddpm.tui.cli.help import MACHINE, OUTPUT, SAMPLING
from dipddpm.tui.cli.options import DEVICES, Json, RunArgument, RunsDir, find_run
from dipddpm.tui.cli.output import print_json
from dipddpm.tui.shared.durations import format_duration
from dipddpm.tui.shared.formatting import event_line

if TYPE_CHECKING:
    from torch import Tensor

    from dipddpm.core.ddpm.model import TrainedModel
    from dipddpm.core.metrics.samples import SampleEvaluator

DEFAULTS = DdpmConfig()


def sample(
    run: RunArgument = "last",
    *,
    steps: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Steps of the sampler; 0 means all timesteps.", rich_help_panel=SAMPLING),
    ] = 20,
    sampler: Annotated[
        SamplerName,
        typer.Option(help="The solver; heun and restart evaluate the network twice a step.", rich_help_panel=SAMPLING),
    ] = "dpm++",
    eta: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0,
            max=1,
            help="Share of new noise in each step of ddim or dpm++; 0 is deterministic, 1 is ancestral. By default it "
            "is 1 for dpm++ and 0 for ddim.",
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    restarts: Annotated[
        int,
        typer.Option(metavar="N", min=0, help="Times that restart adds noise again.", rich_help_panel=SAMPLING),
    ] = DEFAULTS.restarts,
    restart_steps: Annotated[
        int, typer.Option(metavar="N", min=1, help="Steps of each restart.", rich_help_panel=SAMPLING)
    ] = DEFAULTS.restart_steps,
    restart_low: Annotated[
        float,
        typer.Option(
            metavar="LEVEL", help="Noise at which restart adds noise, in grey levels.", rich_help_panel=SAMPLING
        ),
    ] = DEFAULTS.restart_low,
    restart_high: Annotated[
        float,
        typer.Option(metavar="LEVEL", help="Noise that there is then, in grey levels.", rich_help_panel=SAMPLING),
    ] = DEFAULTS.restart_high,
    n: Annotated[
        int,
        typer.Option(
            "--n", "-n", metavar="N", min=1, max=65536, help="Number of images to draw.", rich_help_panel=SAMPLING
        ),
    ] = 64,
    label: Annotated[
        int | None,
        typer.Option(
            "--class",
            metavar="N",
            min=0,
            help="Sample this class only (a conditional model); else every class in turn.",
            rich_help_panel=SAMPLING,
        ),
    ] = None,
    guidance: Annotated[
        float,
        typer.Option(
            metavar="SCALE",
            min=0,
            help="Scale of classifier-free guidance towards the class; 1 means none.",
            rich_help_panel=SAMPLING,
        ),
    ] = 1.0,
    clip: Annotated[
        bool,
        typer.Option(
            "--clip", help="Clip every estimate of the image to the range of the pixels.", rich_help_panel=SAMPLING
        ),
    ] = False,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the noise.", rich_help_panel=SAMPLING)] = 0,
    evaluate: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Measure the quality of N samples (28x28 grey images only); 0 measures nothing.",
            rich_help_panel=SAMPLING,
        ),
    ] = 0,
    device: Annotated[
        str,
        typer.Option(metavar="DEVICE", help=DEVICES, rich_help_panel=MACHINE, autocompletion=complete.devices),
    ] = "auto",
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Compile the network first, on a GPU with CUDA graphs; pays off for many images.",
            rich_help_panel=MACHINE,
        ),
    ] = False,
    grid: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The PNG file to write, a grid of the images.", rich_help_panel=OUTPUT),
    ] = Path("samples.png"),
    trajectory: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write a PNG file of eight images at about eight steps of the sampler.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.", rich_help_panel=OUTPUT)] = False,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Draw images from the diffusion model of a run into a PNG file.

    Examples:
        dipddpm sample reference
        dipddpm sample last --steps 20 --sampler dpm++ --n 64 --grid out.png
        dipddpm sample last --evaluate 1000

    The run is a ddpm run, or a hybrid that has trained its prior; its best model is used. --evaluate prints the Frechet
    distance and the kernel distance to the test images and the share of suspected copies, and writes a second PNG file
    with the nearest training images. Distances are comparable only at the same N. If the samples have left the range
    of images, a warning says so, and another PNG file shows each of them scaled to its own range.
    """
    nearest, scaled = (grid.with_stem(f"{grid.stem}-{name}") for name in ("nearest", "scaled"))
    extra = [*([nearest] if evaluate else []), *([scaled] if atomic.is_file(scaled) else [])]
    _refuse_paths([grid, *([trajectory] if trajectory else []), *extra], replace=force)
    _refuse_evaluation(evaluate, label)
    low, high = _refuse_levels(restart_low, restart_high)
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
    _refuse_guidance(model, guidance)
    if compiled:
        model = model.compiled("reduce-overhead")
    evaluator = _evaluator(source_run) if evaluate else None
    count = max(n, evaluate)
    options = DdpmConfig(
        eta=USUAL_ETA.get(sampler, 0.0) if eta is None else eta,
        variance=model.options.variance,
        restarts=restarts,
        restart_steps=restart_steps,
        restart_low=low,
        restart_high=high,
    )
    denoiser = model.denoiser(label=_labels(model, label, count), guidance=guidance, clip=clip)
    sampling = Sampling(
        denoiser, solver(sampler, options), (count, *model.shape), steps=steps, seed=seed, device=model.device
    )
    if trajectory is not None:
        sampling.trajectory_every = max(1, len(sampling) // 8)
    began = time.perf_counter()
    silent, stderr = not sys.stderr.isatty(), Console(stderr=True)
    for _ in track(sampling, "Sampling", len(sampling), console=stderr, transient=True, disable=silent):
        pass
    seconds, scale = time.perf_counter() - began, _scale(model)
    unusable = _refuse_unusable(sampling.xt, clip=clip)
    displayed = images.clip_visibly(images.to_unit(sampling.xt))
    with output.reporting(grid):
        images.save_png(grid, images.grid(displayed[:n], scale=scale))
    drifted = _save_scaled(sampling.xt, model, evaluator, scaled, count=n)
    if trajectory is not None:
        # A row holds the steps of one image.
        rows = images.clip_visibly(images.to_unit(torch.stack([xt[:8] for xt in sampling.trajectory], 1).flatten(0, 1)))
        with output.reporting(trajectory):
            images.save_png(trajectory, images.grid(rows, len(sampling.trajectory), scale=scale))
    items = list(evaluator(displayed[:evaluate], seed=seed, nfe=sampling.nfe)) if evaluator else []
    evaluations = [item for item in items if isinstance(item, SamplesEvaluated)]
    for item in items:
        if isinstance(item, Pictures):
            with output.reporting(nearest):
                images.save_png(nearest, images.grid(item.images, 3, scale=scale))
    if json:
        record = {"run": source_run.id, "file": str(grid), "images": n, "unusable": unusable, "nfe": sampling.nfe}
        record |= {"scaled": str(scaled) if drifted else None, "evaluated": evaluations}
        print_json(record)
        return
    print(f"{count} images in {format_duration(seconds)}, nfe {sampling.nfe}: {printable(str(grid))}")
    for event in evaluations:
        print(event_line(event))


def _refuse_unusable(samples: Tensor, *, clip: bool) -> int:
    """Return how many samples are no images, and warn of them; if none is an image, exit with 1."""
    from dipddpm.core.ddpm.sampling import CLIP_REMEDY, LOWER_REMEDY
    from dipddpm.core.metrics.usable import count_unusable, unusable_text

    unusable = count_unusable(samples)
    if unusable:
        print(f"{unusable_text(samples, 'samples')}. {LOWER_REMEDY if clip else CLIP_REMEDY}", file=sys.stderr)
    if unusable == len(samples):
        print("No picture was written.", file=sys.stderr)
        raise typer.Exit(1)
    return unusable


def _scale(model: TrainedModel) -> int:
    """Return the factor by which pictures enlarge the model's images."""
    return max(1, 56 // min(model.shape[1:]))


def _save_scaled(
    samples: Tensor, model: TrainedModel, evaluator: SampleEvaluator | None, file: Path, *, count: int
) -> bool:
    """If samples have left the range of images, warn, write `count` of them scaled to their own range; return True."""
    from dipddpm.core import images
    from dipddpm.core.ddpm.sensitivity import Sensitivity
    from dipddpm.core.metrics.spread import Spread, drift_text, scale_each

    drift = drift_text(samples, Spread.of_training(evaluator.training.images) if evaluator else None)
    if drift:
        blindness = Sensitivity.of(model.network, model.shape, len(model.schedule)).text(model.options.network)
        shown = f"{printable(str(file))} shows each sample scaled to its own range."
        print(" ".join(filter(None, (drift, blindness, shown))), file=sys.stderr)
        with output.reporting(file):
            images.save_png(file, images.grid(scale_each(samples[:count]), scale=_scale(model)))
    return bool(drift)


def _evaluator(run: Run) -> SampleEvaluator:
    """Return the evaluator that compares samples with the data set of this run."""
    from dipddpm.core.data.sources import load_training
    from dipddpm.core.metrics.samples import SampleEvaluator

    config = trained.trained_config(run.folder)
    training, _ = load_training(config.data, held_out=config.ddpm.hold_out)
    return SampleEvaluator.of(config.data, training)


def _labels(model: TrainedModel, label: int | None, count: int) -> Tensor | None:
    """Return the class of each image, `label` or every class in turn; None for a model without classes.

    Raises UserError if the model doesn't have the class.
    """
    import torch

    if label is not None and label >= model.classes:
        if not model.classes:
            problem = "This model was trained without classes."
            raise UserError(problem, "Leave out --class, or train a model with --set ddpm.conditional=true.")
        raise UserError(f"The model has no class {label}.", f"Give --class 0 to {model.classes - 1}.")
    if not model.classes:
        return None
    if label is not None:
        return torch.full((count,), label, device=model.device)
    return torch.arange(count, device=model.device) % model.classes


def _refuse_guidance(model: TrainedModel, guidance: float) -> None:
    if guidance != 1 and not model.classes:
        problem = "--guidance needs classes, and this model was trained without."
        raise UserError(problem, "Leave it out, or train a model with --set ddpm.conditional=true.")


def _refuse_levels(low: float, high: float) -> tuple[float, float]:
    if not 0 < low < high:
        problem = f"--restart-low and --restart-high must rise from above 0, not {low:g} and {high:g}."
        raise UserError(problem, "Give such as 8 and 38.")
    return low, high


def _refuse_evaluation(count: int, label: int | None) -> None:
    if 0 < count < MIN_EVALUATED:
        problem = f"{count} samples are too few to measure their quality."
        raise UserError(problem, f"Give --evaluate {MIN_EVALUATED} or more; 5,000 are usual.")
    if count and label is not None:
        problem = "--evaluate compares with the images of all classes, and --class samples only one."
        raise UserError(problem, "Leave out one of the two.")


def _refuse_paths(paths: list[Path], *, replace: bool) -> None:
    """Raise UserError, before any work, if a PNG file can't be written to each of these paths."""
    for path in paths:
        if path.suffix.lower() != ".png":
            raise UserError(f"{printable(str(path))} is not the name of a PNG file.", "Give a name that ends in .png.")
        output.refuse_file(path, replace=replace)
    if len({path.absolute() for path in paths}) < len(paths):
        names = ", ".join(printable(path.name) for path in paths)
        raise UserError(f"Two of the pictures have the same name: {names}.", "Give each a name of its own.")
