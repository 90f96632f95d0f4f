"""A DIP fit of any number of images of any sizes, which yields events as it is iterated."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dipddpm.core.compute.distributed import ProcessGroup
from dipddpm.core.degrade.panels import comparison, side_by_side
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.errors import UserError
from dipddpm.core.events import (
    EarlyStopped,
    FitMeasured,
    Item,
    Message,
    PsnrMeasured,
    StateDict,
    Step,
    StopsCompared,
)
from dipddpm.core.means import mean, psnr_mean
from dipddpm.core.metrics.image import has_ssim, psnr, ssim

LOWER_LR = "Lower dip.lr, which is {:g}."
"""The remedy for a fit that diverged."""


class FitStatus(NamedTuple):
    """The state of the fit of one image."""

    loss: float
    backtracked: int
    """The iteration at which the image was last rolled back; 0: never."""
    stopped_at: int
    """The iteration at which the image stopped; 0: not yet."""
    best_iteration: int
    best_score: float
    peak_at: int
    """The iteration of the best PSNR; 0 without the truth."""
    failures: int
    """The number of checks in a row, up to now, at which the loss wasn't finite."""
    diverged_at: int
    """The iteration at which the fit was given up; 0: it was not."""

    @property
    def has_score(self) -> bool:
        """True if the stopping rule has scored the image."""
        return math.isfinite(self.best_score)


class FitQuality(NamedTuple):
    """The quality of the fit of one image against its truth: PSNR in dB, and SSIM where the image is large enough."""

    output: float
    restored: float
    at_stop: float
    peak: float
    ssim: float | None = None
    ssim_at_stop: float | None = None


@dataclass(eq=False)
class DipFit:
    """A fit of several batches of priors, which all do the same number of iterations.

    `indices` gives the index of each batch's images in the order that events and results use. Where several processes
    share the images (`process_group`), each process has its own batches, and all yield the events of all images.

    Yields a `Step` for every iteration (on an accelerator, for every report). Before the `Step` come the iteration's
    other items: `EarlyStopped`, a `Message` for each rollback, `PsnrMeasured` (with the SSIM of the restoration),
    pictures of the restorations so far, and at the end `StopsCompared`. Without the truth, `FitMeasured` takes the
    place of `PsnrMeasured`, if the fit `measures_misfit`, and there is no `StopsCompared`.

    The fit ends after `iterations`, or, unless `run_on`, when every image has stopped. Without `run_on`, stopped images
    are dropped from their network once they are a good share of it; their results no longer change.

    The fit of an image whose loss isn't finite is given up, with a warning. Raises UserError if that happens to all.
    """

    batches: Sequence[PriorBatch]
    indices: Sequence[Sequence[int]]
    _: KW_ONLY
    iterations: int
    measure_every: int = 10
    picture_every: int = 0
    run_on: bool = False
    measures_misfit: bool = False
    process_group: ProcessGroup = field(default_factory=ProcessGroup)

    def __post_init__(self) -> None:
        self.stride = 1 if self.batches[0].y.device.type == "cpu" else self.measure_every
        self.rule_name = self.batches[0].rule_name
        self.has_truth = all(batch.truth is not None for batch in self.batches)
        self.step = 0
        for batch in self.batches:
            batch.last_step = self.iterations
        self.statuses: list[FitStatus] = []
        """The status of each image at the last report."""
        self.finished = False
        """True if no iteration was left to do at the last report."""

    def __iter__(self) -> Iterator[Item]:
        self._sync_statuses()
        while not self.finished:
            active = [batch for batch in self.batches if self.run_on or not batch.stopping.all_stopped]
            for _ in range(min(self.stride, self.iterations - self.step)):
                for batch in active:
                    batch.step_once()
                self.step += 1
            if not self.run_on:
                for batch in active:
                    batch.compact_if_worthwhile()
            self._sync_statuses()
            yield from self._items()

    @property
    def restored(self) -> list[Tensor]:
        """The restoration (C, H, W) of each image, from its stop or from the best score so far."""
        return self.gather(lambda batch: list(batch.stopping.restored))

    def gather(self, values: Callable[[PriorBatch], Sequence[Any]]) -> list[Any]:
        """Gather a value of each image, in the order of the images; every rank must call this at the same time."""
        local: dict[int, Any] = {}
        for batch, indices in zip(self.batches, self.indices, strict=True):
            local.update(zip(indices, values(batch), strict=True))
        by_index = {
            index: value for part in self.process_group.gather(local, to_all=True) for index, value in part.items()
        }
        return [by_index[index] for index in sorted(by_index)]

    def state_dict(self) -> dict[str, Any]:
        """Return the state that an exact resume needs; valid after a `Step`, and only until the next item."""
        return {"step": self.step, "batches": [batch.state_dict() for batch in self.batches]}

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state of `state_dict`, with the same batches."""
        self.step = state["step"]
        for batch, batch_state in zip(self.batches, state["batches"], strict=True):
            batch.load_state_dict(batch_state)

    def _sync_statuses(self) -> None:
        """Gather the status of all images in one exchange, so that all ranks decide and yield the same."""
        self.statuses = [FitStatus(*values) for values in self.gather(_statuses)]
        stopped = not self.run_on and all(status.stopped_at for status in self.statuses)
        self.finished = self.step >= self.iterations or stopped

    def _items(self) -> Iterator[Item]:
        """Yield all items of the current iteration, its `Step` last."""
        losses = [status.loss for status in self.statuses]
        options, has_truth = self.batches[0].options, self.has_truth
        measuring = self.step % self.measure_every == 0 or self.finished
        yield from self._warnings()
        stopped = self._just_stopped()
        needs_quality = has_truth and (measuring or stopped)
        qualities = [FitQuality(*values) for values in self.gather(_qualities)] if needs_quality else []
        for image in stopped:
            at, psnr_at_stop = self.statuses[image].best_iteration, qualities[image].at_stop if has_truth else None
            yield EarlyStopped(step=self.step, image=image, at=at, rule=self.rule_name, psnr=psnr_at_stop)
        if measuring and has_truth:
            yield self._psnr_event(losses, qualities)
        elif measuring and self.measures_misfit:
            yield self._misfit_event(losses)
        if self.picture_every and self.step % self.picture_every == 0:
            yield from self.pictures("fit", f"Iteration {self.step}", lambda batch: batch.restored, numbered=True)
        if self.finished and has_truth:
            yield self._stops_compared_event(qualities)
        yield Step(step=self.step, loss=finite_mean(losses), lr=options.lr)

    def _warnings(self) -> Iterator[Message]:
        """Yield a warning for each rollback and each fit that was given up; raise UserError if every fit was."""
        options = self.batches[0].options
        if all(status.diverged_at for status in self.statuses):
            whose = "its loss is" if len(self.statuses) == 1 else "the loss of every image is"
            problem = f"The fit diverged: {whose} {self.statuses[0].loss} at iteration {self.step}."
            raise UserError(problem, LOWER_LR.format(options.lr))
        for image, status in enumerate(self.statuses):
            if self._since_last_report(status.diverged_at):
                kept = f"the result is that of iteration {status.best_iteration}. {LOWER_LR.format(options.lr)}"
                text = f"The fit of image {image} diverged: its loss is {status.loss} at iteration {status.diverged_at}"
                yield Message(text=f"{text}; {kept}", level="warning")
            elif self._since_last_report(status.backtracked):
                rise = f"rose by {options.backtrack:g} dB" if not status.failures else f"became {status.loss}"
                text = f"The loss of image {image} {rise}; its fit was rolled back at iteration {status.backtracked}"
                yield Message(text=text, level="warning")
        unscored = [image for image, status in enumerate(self.statuses) if not (status.has_score or status.diverged_at)]
        if self.finished and unscored:
            why = f"The rule {self.rule_name} gave no score to {_images(unscored)} in {self.step} iterations"
            if self.rule_name == "variance":
                why += f", since it needs dip.window={options.window} outputs"
            remedy = (
                "Lower dip.window, or raise the iterations" if self.rule_name == "variance" else "Choose a dip.stop"
            )
            yield Message(text=f"{why}. The last iteration is the result. {remedy}.", level="warning")

    def _since_last_report(self, step: int) -> bool:
        return (self.step - 1) // self.stride * self.stride < step <= self.step

    def _just_stopped(self) -> list[int]:
        """Find the images that stopped since the last report; at the end, also those that never ran out of patience."""
        at_end = self.finished and self.rule_name != "never"
        return [
            image
            for image, status in enumerate(self.statuses)
            if not status.diverged_at
            and (self._since_last_report(status.stopped_at) or (status.stopped_at == 0 and at_end))
        ]

    def _psnr_event(self, losses: list[float], qualities: list[FitQuality]) -> PsnrMeasured:
        values = [quality.output for quality in qualities]
        averaging = self.batches[0].options.average > 0
        return PsnrMeasured(
            step=self.step,
            psnr=values,
            mean=psnr_mean(values).value,
            loss=losses,
            ssim=_all_known(quality.ssim for quality in qualities),
            averaged=[quality.restored for quality in qualities] if averaging else [],
        )

    def _misfit_event(self, losses: list[float]) -> FitMeasured:
        residual, noise, held_out = zip(*self.gather(_misfits), strict=True)
        return FitMeasured(
            step=self.step, residual=list(residual), noise=list(noise), held_out=_all_known(held_out), loss=losses
        )

    def _stops_compared_event(self, qualities: list[FitQuality]) -> StopsCompared:
        return StopsCompared(
            step=self.step,
            rule=self.rule_name,
            at=[status.best_iteration for status in self.statuses],
            psnr=[quality.at_stop for quality in qualities],
            peak=[quality.peak for quality in qualities],
            peak_at=[status.peak_at for status in self.statuses],
            final=[quality.restored for quality in qualities],
            ssim=_all_known(quality.ssim_at_stop for quality in qualities),
        )

    def pictures(
        self, name: str, title: str, images: Callable[[PriorBatch], Tensor], *, numbered: bool = False
    ) -> list[Item]:
        """Return the images `side_by_side`, as one picture for each image size."""
        shown = self.gather(lambda batch: list(side_by_side(batch.y, batch.degradation, images(batch), batch.truth)))
        sizes: dict[torch.Size, list[Tensor]] = {}
        for row in shown:
            sizes.setdefault(row.shape[-2:], []).append(row)  # grey and colour share a picture, named by the size
        return [
            comparison(
                name if len(sizes) == 1 else f"{name}-{size[-1]}x{size[-2]}",
                rows,
                step=self.step,
                title=title,
                numbered=numbered,
                has_truth=self.has_truth,
            )
            for size, rows in sizes.items()
        ]


def _statuses(batch: PriorBatch) -> list[tuple[Any, ...]]:
    """Return the values of each image's `FitStatus`."""
    stop = batch.stopping
    columns = (
        *(batch.loss, batch.backtracked, stop.stopped_at, stop.best_iteration, stop.best, batch.peak_at),
        *(batch.failures, batch.diverged_at),
    )
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _qualities(batch: PriorBatch) -> list[list[float]]:
    """Return the values of each image's `FitQuality`."""
    truth, at_stop = batch.truth, batch.stopping.restored
    assert truth is not None
    columns = [psnr(images, truth) for images in (batch.output, batch.restored, at_stop)] + [batch.peak]
    if has_ssim(truth):
        columns += [ssim(batch.restored, truth), ssim(at_stop, truth)]
    values: list[list[float]] = torch.stack(columns, 1).tolist()
    return values


def _misfits(batch: PriorBatch) -> list[tuple[float | None, ...]]:
    """Return the residual, the noise level and the held-out error of each image, in grey levels; None: not known."""
    unknown: list[float | None] = [None] * len(batch)

    def error(images: Tensor, where: Tensor) -> list[float | None]:
        return (255 * batch.degradation.misfit(images, batch.y, where)).tolist()

    expected = batch.expected_residual
    noise = unknown if expected is None else (255 * expected.clamp(min=0).sqrt()).tolist()
    holds_out = bool(batch.held_out_mask.any())
    held_out = error(batch.restored, batch.held_out_mask) if holds_out else unknown
    return list(zip(error(batch.output, batch.fit_mask), noise, held_out, strict=True))


def finite_mean(values: Iterable[float]) -> float | None:
    """Return the mean of the finite values, or None if there are none."""
    finite = [value for value in values if math.isfinite(value)]
    return mean(finite) if finite else None


def _images(indices: Sequence[int]) -> str:
    return f"image {indices[0]}" if len(indices) == 1 else f"{len(indices)} images"


def _all_known(values: Iterable[float | None]) -> list[float]:
    """Return the values, or an empty list if one of them is None."""
    known = list(values)
    return [] if None in known else known  # type: ignore[return-value]
