"""`dipddpm sample`: images from a trained model."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from core import devices
from core.config.ddpm import SamplerName
from core.errors import UserError
from core.text import printable
from tui.commands.options import Json, RunArgument, RunsDir, find_run
from tui.lines import duration

if TYPE_CHECKING:
    from torch import Tensor

    from core.ddpm.sampling import Sampling
    from core.ddpm.trained import TrainedModel


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
    grid: Annotated[Path | None, typer.Option(help="Where to put the picture (else samples.png here).")] = None,
    trajectory: Annotated[Path | None, typer.Option(help="A picture of eight of them on their way, too.")] = None,
    runs_dir: RunsDir = None,
    json: Json = False,
) -> None:
    """Sample images from the best model of a ddpm run, as one PNG."""
    target = grid or Path("samples.png")
    for path in filter(None, (target, trajectory)):
        _refuse_path(path)
    found = find_run(run, runs_dir)
    usable = devices.candidates(device)

    from core import images
    from core.ddpm.sampling import Sampling
    from core.ddpm.solvers import solver
    from core.ddpm.trained import TrainedModel

    model = TrainedModel.of_run(found.folder, devices.resolve(usable[0]))
    chosen = solver(sampler, eta=eta, variance=model.options.variance)
    denoiser = model.denoiser(label=_labels(model, label, n), guidance=guidance, clip=clip)
    sampling = Sampling(denoiser, chosen, (n, *model.shape), steps=steps, seed=seed, device=model.device)
    if trajectory is not None:
        sampling.keep_every = max(1, len(sampling) // 8)
    began = time.perf_counter()
    _follow(sampling)
    seconds = time.perf_counter() - began
    scale = max(1, 56 // min(model.shape[1:]))
    images.save_png(target, images.grid(_visible(sampling.xt), scale=scale))
    if trajectory is not None:
        rows = _visible(_on_the_way(sampling))
        images.save_png(trajectory, images.grid(rows, len(sampling.trajectory), scale=scale))
    if json:
        print(msgspec.json.encode({"run": found.id, "file": str(target), "images": n, "nfe": sampling.nfe}).decode())
        return
    print(f"{n} images in {duration(seconds)}, nfe {sampling.nfe}: {printable(str(target))}")


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


def _follow(sampling: Sampling) -> None:
    """Run it, with a progress bar on a terminal."""
    steps: Iterable[object] = sampling
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track

        steps = track(sampling, "Sampling", total=len(sampling), console=Console(stderr=True), transient=True)
    for _ in steps:
        pass


def _on_the_way(sampling: Sampling) -> Tensor:
    """The first eight images at each moment that was kept: a row for each image."""
    import torch

    return torch.stack([xt[:8] for xt in sampling.trajectory], 1).flatten(0, 1)


def _visible(xt: Tensor) -> Tensor:
    from core.images import to_unit

    return to_unit(xt).clamp(0, 1)


def _refuse_path(path: Path) -> None:
    """Before any work: a picture that can't be put where it is wanted."""
    if path.suffix.lower() != ".png":
        raise UserError(f"{printable(str(path))} is no name of a PNG file.", "Let it end in .png.")
    if not path.parent.is_dir():
        raise UserError(f"There is no folder {printable(str(path.parent))}.", "Make it, or choose another.")
