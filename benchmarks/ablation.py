"""Measure the hybrid `calibrated` without each of its parts, on images that it wasn't tuned on.

One trial and one making of all final results serve all variants that differ in their weights alone.
"""

from __future__ import annotations

import csv
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
import torch
import typer
from torch import Tensor
from torch.nn.functional import one_hot

from benchmarks.options import Threads, resolve
from dipddpm.core import data
from dipddpm.core.config import DipConfig, parse_task
from dipddpm.core.config.hybrid import Calibrated
from dipddpm.core.config.study import TASKS
from dipddpm.core.data import procedural
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade.case import Case
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.intervals import pooled
from dipddpm.core.images import to_unit
from dipddpm.core.means import mean
from dipddpm.core.methods.base import Restorer
from dipddpm.core.methods.calibrated.candidates import DIFFUSION, FIT
from dipddpm.core.methods.calibrated.method import AGAIN, CalibratedRestorer
from dipddpm.core.methods.calibrated.stacking import STRENGTH, WEAK_STRENGTH, stack
from dipddpm.core.methods.classical.table import CLASSICS
from dipddpm.core.metrics.image import psnr
from dipddpm.core.runs import reference
from dipddpm.tui.cli.output import print_table

SETS = ("fashionmnist", "glyphs", "patches", "leaves")
FIRST = {"fashionmnist": 55_500}
"""The first number of a data set's training images; the prior was trained on those before 55,000."""
FIRST_DRAWN = 100_500
"""The first number of drawn images. Constants were tuned on numbers from 100,000 to 100,299, a board begins at 0."""
COLUMNS = ("task", "set", "variant", "image", "psnr", "cpu_seconds")
FULL = "full"
VARIANTS = {
    FULL: "",
    "pick": "the best candidate by held-out error in place of weights",
    "equal weights": "all candidates have the same weight",
    "no pooling": "weights of an image by its own held-out values alone",
    "all pooled": "the same weights for all images of a cell",
    "no threshold": "candidates keep the smallest weights (least=0)",
    "no DIP": "",
    "no diffusion": "fits are still guided by the prior",
    "no classics": "",
    "no final round": "the results of the folds are the restoration",
    "pull=0": "fits without a pull to the diffusion network's estimate",
    "folds=4": "",
    "iterations=200": "fits of the same length for every kind of task",
    "samples=2": "2 samples, in each fold and finally",
}
"""The variants in the order of the table, and what they do."""
SETTINGS: dict[str, dict[str, int]] = {
    "pull=0": {"pull": 0},
    "iterations=200": {"iterations": 200},
    "samples=2": {"samples": 2, "trial_samples": 2},
    "folds=4": {"folds": 4},
}
"""The options of the variants that have others."""
Result: TypeAlias = tuple[Tensor, float]
"""Restored images, and the CPU seconds of all of them."""


def measure(
    out: Annotated[Path, typer.Option(help="the CSV file of the rows; cells that are in it aren't made again")] = Path(
        "benchmarks/measured/ablation.csv"
    ),
    images: Annotated[
        int, typer.Option(min=2, help="number of images of each cell; cells with fewer are made again")
    ] = 6,
    cells: Annotated[int, typer.Option(min=0, help="number of cells; each 6 have all tasks, each 12 half of all")] = 24,
    variants: Annotated[list[str], typer.Option("--variant", help="measure this variant; repeat for several")] = [],  # noqa: B006
    threads: Threads = 1,
) -> None:
    """Measure what each part of calibrated is worth, and print its effect on the PSNR and on the CPU seconds."""
    resolve("cpu", threads)
    unknown = [name for name in variants if name not in VARIANTS]
    if unknown:
        raise UserError(f"There is no variant {unknown[0]!r}.", f"Choose among {', '.join(VARIANTS)}.")
    for task, name in cell_order()[:cells]:
        done = Counter(row[2] for row in load(out) if row[:2] == [task, name])
        missing = [variant for variant in variants or VARIANTS if done[variant] < images]
        if missing:
            prior = TrainedModel.of_run(reference.FOLDER / reference.PRIOR, "cpu")
            truth = truths(name, images)
            case = Case.of(truth, parse_task(task), [f"{name} {number}" for number in range(images)], seed=7)
            for variant, (restored, seconds) in restorations(case, prior, Calibrated(), DipConfig(), missing):
                values = psnr(restored, truth).tolist()
                own = [(str(image), f"{value:.3f}", f"{seconds / images:.3f}") for image, value in enumerate(values)]
                save(out, [(task, name, variant, *row) for row in own])
                print(f"{task}, {name}, {variant}: {mean(values):.2f} dB, {seconds / images:.2f} s", flush=True)
    print_table(table(load(out)))


def cell_order() -> list[tuple[str, str]]:
    """Return all cells so that each six in a row have all tasks, and each of them has another set in the next six."""
    return [(task, SETS[(turn + column) % len(SETS)]) for turn in range(len(SETS)) for column, task in enumerate(TASKS)]


def truths(name: str, count: int) -> Tensor:
    """Return images that neither the prior, nor any constant, nor a board has seen, (N, 1, 28, 28)."""
    if name in FIRST:
        first = FIRST[name]
        return to_unit(data.load(name, "train").take(range(first, first + count)).images)
    return to_unit(procedural.load(name, count, first=FIRST_DRAWN).images)


# The variants


class StageTimer(CalibratedRestorer):
    """The restorer, with the CPU seconds of each stage."""

    def __init__(self, case: Case, prior: TrainedModel, options: Calibrated, dip: DipConfig) -> None:
        super().__init__(case, prior, options, dip)
        self.seconds = dict.fromkeys(self.stages, 0.0)
        self.started = 0.0

    def run(self) -> Result:
        """Run all stages; return the restoration and the seconds."""
        for _ in self:
            pass
        return self.images, sum(self.seconds.values())

    def _begin(self, name: str) -> tuple[Restorer, list[int]] | None:
        self.started = time.process_time()
        return super()._begin(name)

    def _finish(self, name: str) -> str:
        problem = super()._finish(name)
        self.seconds[name] += time.process_time() - self.started
        return problem


class Everything(StageTimer):
    """A restorer that makes all final results of all images, so that any weights can be tried afterwards."""

    ended = False

    def run(self) -> Result:
        """Run all stages; return what the full method would have restored, and in which time."""
        super().run()
        self.ended = True
        return self.weighted(self.stacked())

    def _wanted(self, kind: str) -> Tensor:
        if self.ended:
            return super()._wanted(kind)
        return torch.ones(len(self.case.y), dtype=torch.bool)

    def stacked(
        self, without: Sequence[str] = (), *, strength: float | None = None, least: float | None = None
    ) -> Tensor:
        """Return stacking weights without some candidates; None stands for the method's own strength and threshold."""
        kept = [index for index, kind in enumerate(self.kinds) if kind not in without]
        weights = torch.zeros(len(self.case.y), len(self.kinds))
        weights[:, kept] = stack(
            self.errors()[kept],
            self.split.where.flatten(1),
            self.options.folds,
            (WEAK_STRENGTH if self.split.is_weak else STRENGTH) if strength is None else strength,
            self.least if least is None else least,
        )
        return weights

    def errors(self) -> Tensor:
        """Return the candidates' errors at the held-out values, (K, F N, M)."""
        return self.split.errors(torch.stack([self.results[kind].flatten(0, 1) for kind in self.kinds]))

    def best(self) -> Tensor:
        """Return weights of 1 for the candidate of each image with the least held-out error."""
        squares = self.errors().square().sum(2).view(len(self.kinds), self.options.folds, -1).sum(1)
        return one_hot(squares.argmin(0), len(self.kinds)).float()

    def weighted(self, weights: Tensor, without: Sequence[str] = ()) -> Result:
        """Return the restoration by other weights, and the seconds that it takes without some candidates' stages."""
        self.weights = weights
        seconds = 0.0
        for kind in (kind for kind in self.kinds if kind not in without):
            share = self._wanted(kind).float().mean().item()
            seconds += self.seconds[kind] + share * self.seconds[kind + AGAIN]
        return self.images, seconds


def restorations(
    case: Case, prior: TrainedModel, options: Calibrated, dip: DipConfig, variants: Sequence[str]
) -> Iterator[tuple[str, Result]]:
    """Yield the variants of the method and their restorations of a case."""
    if any(name not in SETTINGS for name in variants):
        yield from reweighted(case, prior, options, dip, [name for name in variants if name not in SETTINGS])
    for name in (name for name in variants if name in SETTINGS):
        yield name, StageTimer(case, prior, msgspec.structs.replace(options, **SETTINGS[name]), dip).run()


def reweighted(
    case: Case, prior: TrainedModel, options: Calibrated, dip: DipConfig, variants: Sequence[str]
) -> Iterator[tuple[str, Result]]:
    """Yield the variants that one trial serves."""
    whole = Everything(case, prior, options, dip)
    full = whole.run()
    shares = zip(whole.kinds, whole.stacked().mean(0).tolist(), strict=True)
    print("weights:", ", ".join(f"{kind} {share:.0%}" for kind, share in shares))
    classics = [kind for kind in whole.kinds if kind in CLASSICS]
    makers: dict[str, Callable[[], Result]] = {
        FULL: lambda: full,
        "pick": lambda: whole.weighted(whole.best()),
        "equal weights": lambda: whole.weighted(torch.full_like(whole.stacked(), 1 / len(whole.kinds))),
        "no pooling": lambda: whole.weighted(whole.stacked(strength=0.0)),
        "all pooled": lambda: whole.weighted(whole.stacked(strength=1e12)),
        "no threshold": lambda: whole.weighted(whole.stacked(least=0.0)),
        "no DIP": lambda: whole.weighted(whole.stacked([FIT]), [FIT]),
        "no diffusion": lambda: whole.weighted(whole.stacked([DIFFUSION]), [DIFFUSION]),
        "no classics": lambda: whole.weighted(whole.stacked(classics), classics),
        "no final round": lambda: folds_alone(whole),
    }
    for name in variants:
        yield name, makers[name]()


def folds_alone(whole: Everything) -> Result:
    """Return the weighted mean of the folds' results, and the seconds of the trial."""
    whole.weights = whole.stacked()
    images = whole._combine([whole.results[kind].mean(0) for kind in whole.kinds])
    return images, sum(whole.seconds[kind] for kind in whole.kinds)


# The rows


def load(path: Path) -> list[list[str]]:
    """Return the rows of a CSV file, without its heading; none if there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.reader(file))[1:]


def save(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Append rows to a CSV file; a new one begins with a heading."""
    path.parent.mkdir(parents=True, exist_ok=True)
    heading = [] if path.is_file() else [COLUMNS]
    with path.open("a", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([*heading, *rows])


def table(rows: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """Return the table of means: a variant's PSNR minus the full method's, by kind of task, and its seconds."""
    scores = {(row[2], row[0], row[1], row[3]): (float(row[4]), float(row[5])) for row in rows}
    kinds = [
        kind for kind in dict.fromkeys(kind_of(task) for task in TASKS) if any(kind_of(row[0]) == kind for row in rows)
    ]
    lines: list[tuple[str, ...]] = [("VARIANT", "CELLS", "MINUS FULL, dB [95%]", *kinds, "SECONDS", "OF FULL")]
    for variant in VARIANTS:
        own = [key for key in scores if key[0] == variant and (FULL, *key[1:]) in scores]
        if not own:
            continue
        differences: dict[tuple[str, str], list[float]] = {}
        for _, task, name, image in own:
            value, whole = scores[variant, task, name, image][0], scores[FULL, task, name, image][0]
            differences.setdefault((task, name), []).append(0.0 if value == whole else value - whole)
        means = [_mean_of_kind(differences, kind) for kind in kinds]
        effect = str(pooled(list(differences.values())))
        if variant == FULL:
            effect = f"PSNR {mean([scores[key][0] for key in own]):.2f}"
            means = [f"{mean([scores[key][0] for key in own if kind_of(key[1]) == kind]):.2f}" for kind in kinds]
        seconds, share = (mean([scores[name, *key[1:]][1] for key in own]) for name in (variant, FULL))
        lines.append((variant, str(len(differences)), effect, *means, f"{seconds:.2f}", f"{seconds / share:.0%}"))
    return lines


def _mean_of_kind(differences: dict[tuple[str, str], list[float]], kind: str) -> str:
    strata = [values for (task, _), values in differences.items() if kind_of(task) == kind]
    return f"{pooled(strata).mean:+.2f}" if strata else ""


def kind_of(task: str) -> str:
    """Return a short name of a task's kind."""
    if "blind" in task:
        return "unknown level"
    return "impulses" if "salt-and-pepper" in task else task.split(":", maxsplit=1)[0]
