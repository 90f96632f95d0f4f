"""Benchmark of the published network's training, by this program and by the code that was published with it.

Both train the same network by Adam on batches of 128 of 60,000 grey images of 28x28. The published loop reads its
images one by one through a DataLoader, here as in its notebook.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Compose, Lambda, ToTensor

from benchmarks.options import Device, Threads, resolve
from benchmarks.timing import TimingRow, print_rows, seconds_of, side_by_side
from dipddpm.core.bench.speed import BATCH, EPOCH, SHAPE, take, training_of
from dipddpm.core.ddpm.training import READ_EVERY
from dipddpm.core.errors import UserError
from dipddpm.core.methods.budget import clock_of

MODELS = Path("src/cv/ddpm/models.py")
TIMESTEPS = 1000


def measure(
    path: Annotated[
        Path, typer.Argument(help="A checkout of github.com/BrianPulfer/PapersReimplementations, whose code is run.")
    ],
    *,
    threads: Threads = 0,
    device: Device = "auto",
) -> None:
    """Compare the speed of our training with the published code's, measured in turns."""
    print_rows(compare(load(path.expanduser()), resolve(device, threads)))


def load(folder: Path) -> Any:
    """Import the module of networks from a checkout of github.com/BrianPulfer/PapersReimplementations.

    Raises UserError if the folder is no such checkout.
    """
    file = folder / MODELS
    if not file.is_file():
        problem = f"The folder {folder} doesn't have the published network's code."
        raise UserError(problem, "Give a checkout of github.com/BrianPulfer/PapersReimplementations.")
    spec = importlib.util.spec_from_file_location("published_ddpm", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compare(module: Any, device: torch.device, *, steps: int = 0, repeats: int = 5) -> list[TimingRow]:
    """Time steps of the published loop and of ours in both precisions; 0 steps: a number that suits the device."""
    steps = steps or (2 * READ_EVERY if device.type == "cuda" else 8)
    clock = clock_of(device)
    images = torch.randint(256, (EPOCH, *SHAPE), dtype=torch.uint8)
    loops: dict[str, tuple[Iterator[object], int]] = {"published": (published_loop(module, images, device), steps)}
    steps_per_item = READ_EVERY if device.type == "cuda" else 1
    for precision in ("float32", "bfloat16"):
        for compiled in (False, True):
            settings = {"ddpm.precision": precision, "ddpm.compile": compiled}
            name = f"ours, {precision}{', compiled' if compiled else ''}"
            loops[name] = (training_of("tutorial", None, settings, device), steps // steps_per_item)
    work = {name: partial(seconds_of, partial(take, *loop), clock) for name, loop in loops.items()}
    return side_by_side("published", work, repeats=repeats)


class _Pictures(Dataset[tuple[Tensor, int]]):
    """A data set of images as from torchvision's FashionMNIST: PIL images, converted and scaled to [-1, 1]."""

    def __init__(self, images: Tensor) -> None:
        self.images = images
        self.transform = Compose([ToTensor(), Lambda(lambda x: (x - 0.5) * 2)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index, 0].numpy(), mode="L")), 0


def published_loop(module: Any, images: Tensor, device: torch.device) -> Iterator[float]:
    """Run the published `training_loop` without its progress bars; yield the loss of each step."""
    ddpm = module.MyDDPM(module.MyUNet(TIMESTEPS), n_steps=TIMESTEPS, min_beta=1e-4, max_beta=0.02, device=device)
    optimizer = torch.optim.Adam(ddpm.parameters(), 1e-3)
    mse = nn.MSELoss()
    for batch in DataLoader(_Pictures(images), BATCH, shuffle=True):
        x0 = batch[0].to(device)
        n = len(x0)
        eta = torch.randn_like(x0).to(device)
        t = torch.randint(0, TIMESTEPS, (n,)).to(device)
        noisy = ddpm(x0, t, eta)
        loss = mse(ddpm.backward(noisy, t.reshape(n, -1)), eta)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()
