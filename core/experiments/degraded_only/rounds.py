"""The results of each round: what they measure, how they are shown, and their table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from torch import Tensor

from dipddpm.core.config import HybridRun
from dipddpm.core.config.hybrid import DegradedOnly
from dipddpm.core.data import ImageSet
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.panels import comparison, side_by_side
from dipddpm.core.errors import UserError
from dipddpm.core.events import Document, FitMeasured, Item, Message, Pictures, PsnrMeasured
from dipddpm.core.experiments.given import qualities
from dipddpm.core.images import clip_visibly, to_unit
from dipddpm.core.means import decibels, psnr_mean
from dipddpm.core.metrics.image import psnr, ssim_scores
from dipddpm.core.metrics.samples import evaluate
from dipddpm.core.metrics.usable import count_unusable, unusable_text

SHOWN = 8
"""Number of images in a picture."""
TABLE = "rounds.csv"
REMEDY = "Lower ddpm.lr, or raise ddpm.epochs or hybrid.steps."
"""The remedy for images that aren't finite."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Measured images, and the true ones (N, C, H, W) in [0, 1], for reporting only; None if they aren't known."""

    case: Case
    truth: Tensor | None = None


class Round(msgspec.Struct, frozen=True):
    """The results of a round, of which round 0 is the start; None for what isn't measured."""

    round: int
    training: float | None = None
    """Mean PSNR in dB of the restorations of the training images, of which each is one sample after round 0."""
    held_out: float | None = None
    """Mean PSNR in dB of the held-out images, each the mean of `hybrid.samples` samples if a network restores it."""
    frechet: float | None = None
    """Frechet distance of the new images to the reference."""


@dataclass(eq=False)
class Rounds:
    """The rounds so far. The true images are used here alone, and nothing that is computed here is trained on."""

    config: HybridRun
    training: Measured
    held_out: Measured
    reference: ImageSet | None
    """Real images that new ones are compared with; None if they aren't."""
    done: dict[int, Round] = field(default_factory=dict)

    @property
    def new_images(self) -> int:
        """Number of images that each round draws from noise alone."""
        return max(self.config.ddpm.samples, self.config.ddpm.evaluate if self.reference else 0)

    def finish_held_out(self, images: Tensor, number: int, step: int) -> Iterator[Item]:
        """Yield the quality of the held-out images, and a picture of the first ones."""
        case, truth = self.held_out.case, self.held_out.truth
        _refuse_unusable(images)
        if truth is None:
            known = qualities(case.y, case.degradation, images)
            residual, noise = ([each[name] for each in known] for name in ("residual", "noise"))
            yield FitMeasured(step=step, residual=residual, noise=noise)  # type: ignore[arg-type]
        else:
            values = psnr(images, truth).tolist()
            mean = psnr_mean(values).value
            yield PsnrMeasured(step=step, psnr=values, mean=mean, ssim=ssim_scores(images, truth))
            self._note(number, held_out=mean)
        yield self._picture("held-out", self.held_out, images, step, f"Held-out images, {_when(number)}")

    def finish_new(self, work: Sampling, number: int, step: int) -> Iterator[Item]:
        """Yield the distances of new images to the reference, and a picture of the first ones."""
        images, ddpm = clip_visibly(to_unit(work.xt)), self.config.ddpm
        _refuse_unusable(images)
        if ddpm.samples:
            title = f"New images after round {number} (nfe {work.nfe})"
            yield Pictures(name="progress", images=images[: ddpm.samples], step=step, title=title, numbered=True)
        if self.reference is not None:
            some = images[: ddpm.evaluate]
            distances = evaluate(some, self.reference, seed=self.config.seed, step=step, nfe=work.nfe)
            yield from distances
            self._note(number, frechet=distances[0].value)

    def finish_training(self, images: Tensor, number: int, step: int) -> Iterator[Item]:
        """Yield the round in words, the table of all rounds, and a picture of the first training images."""
        _refuse_unusable(images)
        truth = self.training.truth
        known = {} if truth is None else {"training": psnr_mean(psnr(images, truth).tolist()).value}
        self._note(number, **known)
        yield self._picture("training", self.training, images, step, f"Training images, {_when(number)}")
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(Round.__struct_fields__)
        writer.writerows(msgspec.structs.astuple(row) for row in self.done.values())
        yield Document(name=TABLE, text=stream.getvalue(), step=step)
        yield Message(text=self._sentence(self.done[number]))

    def rows(self) -> list[dict[str, Any]]:
        """Return the rounds as builtin values."""
        return [msgspec.structs.asdict(row) for row in self.done.values()]

    def load_rows(self, rows: list[dict[str, Any]]) -> None:
        """Restore the rounds that `rows` returned."""
        self.done = {row["round"]: Round(**row) for row in rows}

    def _note(self, number: int, **values: float) -> None:
        self.done[number] = msgspec.structs.replace(self.done.get(number, Round(number)), **values)

    def _sentence(self, row: Round) -> str:
        options = self.config.hybrid
        assert isinstance(options, DegradedOnly)
        parts = []
        if row.training is not None:
            parts.append(f"{decibels(row.training)} for the {len(self.training.case.y):,} training images")
        if row.held_out is not None:
            means = row.round or options.start == "clean"
            averaged = f" (mean of {options.samples})" if means and options.samples > 1 else ""
            parts.append(f"{decibels(row.held_out)} for the {len(self.held_out.case.y):,} held-out ones{averaged}")
        if row.frechet is not None:
            parts.append(f"Frechet distance {row.frechet:.3g} of {self.config.ddpm.evaluate:,} new images")
        name = f"Round {row.round} of {options.rounds}" if row.round else f"Start {options.start}"
        return f"{name}: {', '.join(parts) or 'the training images are restored'}"

    def _picture(self, name: str, measured: Measured, images: Tensor, step: int, title: str) -> Pictures:
        shown = list(range(min(SHOWN, len(images))))
        case, truth = measured.case.select(shown), measured.truth
        rows = side_by_side(case.y, case.degradation, images[shown], None if truth is None else truth[shown])
        return comparison(name, list(rows), step=step, title=title, numbered=True, has_truth=truth is not None)


def _when(number: int) -> str:
    return f"restored in round {number}" if number else "as the start restores them"


def _refuse_unusable(images: Tensor) -> None:
    """Raise UserError if no image is finite, so that training on them would be lost time."""
    if count_unusable(images) == len(images):
        raise UserError(f"{unusable_text(images, 'restored images')}.", REMEDY)
