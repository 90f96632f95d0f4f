"""Compare the posterior samplers with the exact posterior, for images whose distribution is known.

The images are drawn from that distribution and the network is its ideal denoiser, so all that separates a sampler from
the exact posterior is its own error: of its approximation, and of its finite number of steps.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from benchmarks.exact import Mixture, Posterior
from benchmarks.options import Threads, resolve
from benchmarks.posterior_rows import SAMPLES, Row, Sampler, load, samplers, save, table, title
from dipddpm.core import data
from dipddpm.core.config import DdpmConfig, parse_task
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.posterior import Problem, Restoration
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.degrade import degrade
from dipddpm.core.images import to_model, to_unit
from dipddpm.core.metrics.coverage import coverage
from dipddpm.tui.cli.output import print_table

POPULATION = 2_000
"""Number of training images that the distribution is made of."""
BANDWIDTH = 0.5
"""The kernel's covariance is the square of this times the images' own."""
DEVIATION = 2 * 5 / 255
"""Standard deviation of the white part of the kernel: 5 grey levels, in model space."""
TASKS = {
    "images": (
        "inpaint:missing=0.95,sigma=25",
        "superres:factor=4,sigma=25",
        "deblur:width=3,sigma=25",
        "superres:factor=8,sigma=10",
    ),
    "gaussian": ("inpaint:missing=0.7,sigma=10", "deblur:width=2,sigma=10"),
}
"""The tasks of each distribution. Chosen on other images (`--seed 1000`), by the effective number of images."""
LEVEL = 127.5
"""Grey levels in a unit of model space."""


def measure(
    out: Annotated[Path, typer.Option(help="the CSV file of the rows; rows that are in it aren't made again")] = Path(
        "benchmarks/measured/posterior.csv"
    ),
    images: Annotated[int, typer.Option(min=2, help="number of images of each task")] = 20,
    population: Annotated[int, typer.Option(min=2, help="number of training images in the distribution")] = POPULATION,
    seed: Annotated[int, typer.Option(help="seed of the images, of their noise and of the samples")] = 0,
    threads: Threads = 1,
) -> None:
    """Compare each posterior sampler with the exact posterior: the mean of its samples, their spread and coverage."""
    resolve("cpu", threads)
    rows = load(out)
    for name, tasks in TASKS.items():
        for task in tasks:
            done = {(row.method, row.steps) for row in rows if (row.images, row.task) == (name, task)}
            missing = [sampler for sampler in samplers(name) if (sampler.label, sampler.steps) not in done]
            if missing:
                bench = Bench(name, task, distribution(name, population), images, seed)
                for sampler in missing:
                    made = bench.measure(sampler)
                    save(out, made)
                    rows += made
                    print(f"{name}, {task}, {sampler.label}, {sampler.steps} steps", flush=True)
    for name, tasks in TASKS.items():
        of_name = [row for row in rows if row.images == name]
        each = [[row for row in of_name if row.task == task] for task in tasks]
        for own in [*each, of_name] if len(tasks) > 1 else each:
            print(f"\n{title(own)}")
            print_table(table(own))


def distribution(name: str, population: int = POPULATION) -> Mixture:
    """Return the distribution of this name, made of the first training images of FashionMNIST."""
    pictures = to_model(data.load("fashionmnist", "train").take(range(population)).images)
    if name == "gaussian":
        return Mixture.gaussian(pictures, DEVIATION)
    return Mixture.around(pictures, BANDWIDTH, DEVIATION)


class Bench:
    """One task on images of a known distribution, with the exact posterior."""

    def __init__(self, name: str, task: str, prior: Mixture, count: int, seed: int) -> None:
        """Draw `count` images of the distribution called `name`, and measure them."""
        self.name, self.task, self.seed = name, task, seed
        self.truth = prior.sample(count, torch.Generator().manual_seed(seed))
        self.y, self.degradation = degrade(parse_task(task), to_unit(self.truth), range(seed, seed + count))
        self.schedule = Schedule.from_config(DdpmConfig())
        self.network = prior.network(self.schedule)
        channels, height, width = prior.shape
        self.shape = (count, channels, height, width)
        self.posterior: Posterior = prior.posterior(Problem(self.y, self.degradation, self.shape))

    def samples(self, sampler: Sampler) -> tuple[Tensor, int]:
        """Return samples of each image in model space, (K, N, C, H, W), and the NFE of one sample."""
        count = SAMPLES[-1]
        if not sampler.steps:
            return self.posterior.sample(count, torch.Generator().manual_seed(self.seed + 1)), 0
        denoiser = Denoiser(self.network, self.schedule, objective="x0", batch_size=count * len(self.truth))
        restoration = Restoration(
            sampler.method,
            denoiser,
            self.y,
            self.degradation,
            self.shape,
            steps=sampler.steps,
            samples=count,
            seed=self.seed,
            options=dict(sampler.options),
        )
        for _ in restoration:
            pass
        return restoration.xt.view(len(self.truth), count, *self.shape[1:]).transpose(0, 1), restoration.evaluations

    def measure(self, sampler: Sampler) -> list[Row]:
        """Return what is measured of a sampler on each image."""
        start = time.process_time()
        samples, nfe = self.samples(sampler)
        seconds = (time.process_time() - start) / samples.shape[0] / samples.shape[1]
        samples, truth, exact = samples.double(), self.truth.double(), self.posterior.mean
        measured = {
            "psnr_of_exact": psnr(exact, truth),
            **{f"psnr_of_{count}": psnr(samples[:count].mean(0), truth) for count in SAMPLES},
            "exact_variance": per_image(self.posterior.variance) * LEVEL**2,
            "variance": per_image(samples.var(0)) * LEVEL**2,
            "distance": per_image((samples.mean(0) - exact).square()) * LEVEL**2,
            "covered_50": coverage(samples, truth, 0.5),
            "covered_90": coverage(samples, truth, 0.9),
            "effective": self.posterior.effective,
        }
        return [
            Row(
                images=self.name,
                task=self.task,
                method=sampler.label,
                steps=sampler.steps,
                image=image,
                **{column: values[image].item() for column, values in measured.items()},
                nfe=nfe,
                cpu_seconds=seconds,
            )
            for image in range(len(truth))
        ]


def per_image(values: Tensor) -> Tensor:
    """Return the mean over the pixels of each image, (N,)."""
    return values.flatten(1).mean(1)


def psnr(images: Tensor, truth: Tensor) -> Tensor:
    """Return the PSNR in dB of images in model space, (N,), without clipping, since the truth isn't clipped either."""
    return -10 * (per_image((images - truth).square()) / 4).log10()
