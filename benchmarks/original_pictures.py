"""Restoration of real pictures by the code of the Deep Image Prior's paper, at the settings of its notebooks.

The notebooks fit a network of 2.2 million parameters for thousands of iterations on a GPU. On a CPU this takes hours,
so the fits are done by turns, each is stored after its turn, and the command continues stored fits. The iterations are
those of the notebooks, and no stop looks at the truth; the best PSNR on the way is only recorded.
"""

from __future__ import annotations

import csv
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor, nn

from benchmarks.damage import Damaged, damaged
from benchmarks.options import Threads, resolve
from benchmarks.original import Build, load
from dipddpm.core.compute.rng import derive
from dipddpm.core.errors import UserError
from dipddpm.core.io import atomic
from dipddpm.core.metrics.image import psnr
from dipddpm.tui.cli.output import print_table

INPUT_CHANNELS = 32
COLUMNS = ("picture", "damage", "size", "iteration", "of", "seconds", "cpu_seconds", "loss", "psnr", "psnr_average")
DROP = 5.0
"""Decrease of the PSNR in dB against the measurements at which the notebooks return to earlier weights."""


@dataclass(frozen=True)
class Notebook:
    """The settings of one of the original's notebooks."""

    source: str
    iterations: int
    lr: float
    input_noise: float
    network: dict[str, Any]
    average: float = 0.0
    """Weight of the earlier outputs in the average of outputs; 0: the notebook averages none."""
    fall_back: int = 0
    """The weights are stored at iterations that aren't multiples of this (denoising) or are (restoration); 0: never."""


NOTEBOOKS = {
    "noise": Notebook("denoising.ipynb, F16", 3000, 0.01, 1 / 30, {"upsample_mode": "bilinear"}, 0.99, 100),
    "text": Notebook("inpainting.ipynb, kate", 6001, 0.01, 0.03, {"upsample_mode": "nearest", "skip_n11": 128}),
    "random": Notebook("restoration.ipynb, barbara", 11000, 0.001, 0.03, {"upsample_mode": "bilinear"}, 0.0, 50),
}


def measure(
    path: Annotated[
        Path, typer.Argument(help="A checkout of github.com/DmitryUlyanov/deep-image-prior, whose code is run.")
    ],
    *,
    case: Annotated[
        list[str] | None,
        typer.Option(metavar="PICTURE:DAMAGE", help="A picture and noise, random or text; may be repeated."),
    ] = None,
    size: Annotated[int, typer.Option(min=0, help="Side of the square in the middle; 0: the whole picture.")] = 128,
    minutes: Annotated[float, typer.Option(help="Minutes after which the command ends; a later one continues.")] = 50,
    turn: Annotated[int, typer.Option(min=1, help="Iterations of a fit before the next fit has its turn.")] = 100,
    iterations: Annotated[int, typer.Option(min=0, help="Iterations of each fit; 0: those of its notebook.")] = 0,
    threads: Threads = 1,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the fits and their curves are stored.")] = Path(
        "build/original-pictures"
    ),
) -> None:
    """Restore damaged pictures of scikit-image by the original's notebooks, and record the PSNR on the way."""
    build = load(path.expanduser())
    resolve("cpu", threads)
    cases = [_split(each) for each in case or ["camera:noise", "astronaut:noise", "astronaut:text", "astronaut:random"]]
    fits = [Fit(build, picture, damage, size, iterations, out) for picture, damage in cases]
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end and any(fit.iteration < fit.total for fit in fits):
        fit = min((fit for fit in fits if fit.iteration < fit.total), key=lambda fit: fit.iteration)
        fit.advance(min(turn, fit.total - fit.iteration))
        print(f"{fit.name}: iteration {fit.iteration}, {fit.last[1]:.2f} dB", flush=True)
    table = [("FIT", "ITERATION", "OF", "PSNR", "BEST", "AT", "SECONDS")]
    for fit in fits:
        best, at = fit.best
        row = (str(fit.iteration), str(fit.total), f"{fit.last[1]:.2f}", f"{best:.2f}", str(at), f"{fit.seconds:.0f}")
        table.append((fit.name, *row))
    print_table(list(table))


def _split(case: str) -> tuple[str, str]:
    picture, colon, damage = case.partition(":")
    if not colon or damage not in NOTEBOOKS:
        raise UserError(f"{case!r} isn't a picture and a damage.", "Write camera:noise or astronaut:text, for example.")
    return picture, damage


class Fit:
    """One fit as in its notebook; it is stored after each turn and continues where it was."""

    def __init__(  # noqa: PLR0917
        self, build: Build, picture: str, damage: str, size: int, iterations: int, folder: Path
    ) -> None:
        self.notebook = NOTEBOOKS[damage]
        self.picture, self.damage, self.size = picture, damage, size
        self.total = iterations or self.notebook.iterations
        self.name = f"{picture}-{damage}-{size or 'whole'}"
        self.folder = folder
        given = damaged(picture, damage, size)
        self.y, self.truth = _tensor(given.pixels), _tensor(given.truth)
        self.known = _known(given)
        self.generator = torch.Generator().manual_seed(derive(0, self.name))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(0, self.name))
            network = build(INPUT_CHANNELS, "skip", "reflection", n_channels=self.y.shape[1], **self.notebook.network)
            self.network = network.to(memory_format=torch.channels_last)  # 10% faster on a CPU
            self.z = 0.1 * torch.rand(1, INPUT_CHANNELS, *self.y.shape[2:])
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.notebook.lr)
        self.iteration, self.seconds, self.cpu_seconds = 0, 0.0, 0.0
        self.best, self.last = (-float("inf"), 0), (0.0, 0.0)
        self.average: Tensor | None = None
        self.stored: list[Tensor] | None = None
        self.stored_psnr = 0.0
        if self.checkpoint.is_file():
            self._load()

    @property
    def checkpoint(self) -> Path:
        """The file of the fit's state."""
        return self.folder / f"{self.name}.pt"

    def advance(self, iterations: int) -> None:
        """Do some iterations, append a row to the curve, and store the fit and its restored picture."""
        self.folder.mkdir(parents=True, exist_ok=True)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(iterations):
            loss, output = self._step()
        self.seconds += time.perf_counter() - wall
        self.cpu_seconds += time.process_time() - cpu
        restored = self._restored(output)
        self.last = (psnr(output.clamp(0, 1), self.truth).item(), psnr(restored, self.truth).item())
        self._save(restored)
        file = self.folder / f"{self.name}.csv"
        new = not file.is_file()
        with file.open("a", newline="") as stream:
            writer = csv.writer(stream)
            if new:
                writer.writerow(COLUMNS)
            seconds = (f"{self.seconds:.1f}", f"{self.cpu_seconds:.1f}")
            values = (f"{loss:.6g}", *(f"{value:.3f}" for value in self.last))
            writer.writerow((self.picture, self.damage, self.size, self.iteration, self.total, *seconds, *values))

    def _step(self) -> tuple[float, Tensor]:
        """Do one iteration; return the loss and the output."""
        notebook = self.notebook
        self.optimizer.zero_grad()
        noise = torch.randn(self.z.shape, generator=self.generator)
        output = self.network(self.z + notebook.input_noise * noise)
        loss = nn.functional.mse_loss(output * self.known, self.y * self.known)
        loss.backward()  # type: ignore[no-untyped-call]
        result = output.detach()
        if notebook.average:
            weight = notebook.average
            self.average = result if self.average is None else weight * self.average + (1 - weight) * result
        if not self._fell_back(result):
            self.iteration += 1
        self.optimizer.step()
        value = psnr(self._restored(result), self.truth).item()
        self.best = max(self.best, (value, self.iteration), key=lambda pair: pair[0])
        return loss.item(), result

    @torch.no_grad()
    def _fell_back(self, output: Tensor) -> bool:
        """Return to the stored weights if the fit has become much worse, else store the weights, as the notebook."""
        every = self.notebook.fall_back
        at_multiple = self.damage == "random"
        if not every or (self.iteration % every == 0) != at_multiple:
            return False
        value = psnr(output * self.known, self.y * self.known).item()
        parameters = list(self.network.parameters())
        if self.stored is not None and value - self.stored_psnr < -DROP:
            for parameter, stored in zip(parameters, self.stored, strict=True):
                parameter.copy_(stored)
            return True
        self.stored, self.stored_psnr = [parameter.detach().clone() for parameter in parameters], value
        return False

    def _restored(self, output: Tensor) -> Tensor:
        """Return the notebook's result: the average of outputs, or the output with the known pixels put in."""
        if self.average is not None:
            return self.average.clamp(0, 1)
        return torch.where(self.known > 0, self.y, output).clamp(0, 1)

    def _save(self, restored: Tensor) -> None:
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "numbers": [self.iteration, self.seconds, self.cpu_seconds, *self.best, *self.last, self.stored_psnr],
            "average": self.average,
            "stored": self.stored,
        }
        part = self.checkpoint.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.checkpoint)
        pixels = np.round(255 * restored[0].numpy().transpose(1, 2, 0)).astype(np.uint8)
        image = Image.fromarray(pixels.squeeze())
        with atomic.atomic_writer(self.folder / f"{self.name}.png") as stream:
            image.save(stream, "PNG")

    def _load(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        numbers = state["numbers"]
        self.iteration, self.seconds, self.cpu_seconds = numbers[:3]
        self.best, self.last, self.stored_psnr = tuple(numbers[3:5]), tuple(numbers[5:7]), numbers[7]
        self.average, self.stored = state["average"], state["stored"]


def _tensor(pixels: Any) -> Tensor:
    values = torch.from_numpy(np.asarray(pixels, np.float32) / 255)
    return values[None, None] if values.ndim == 2 else values.permute(2, 0, 1)[None]


def _known(given: Damaged) -> Tensor:
    known = np.ones(given.truth.shape[:2]) if given.known is None else given.known
    return torch.from_numpy(np.asarray(known, np.float32))[None, None]
