"""The restoration of a group of pictures of one size: a trial of the methods on parts of it, then tile by tile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config import ImageRun
from dipddpm.core.degrade.case import Case
from dipddpm.core.events import Item, Message, MethodTried, StageStarted, StateDict, Step, TileRestored
from dipddpm.core.experiments.image.parts import cut, factor_of, pad_for_blur, stack
from dipddpm.core.experiments.image.plan import Plan
from dipddpm.core.experiments.image.tiles import Canvas, Window, blending_weights
from dipddpm.core.methods.base import Restorer
from dipddpm.core.methods.budget import clock_of
from dipddpm.core.methods.pictures import PictureMethods
from dipddpm.core.methods.trial import Prediction, Trial

PER_JOB = 100
"""Steps of the run for each method tried and for each job: a tile of some pictures."""


@dataclass(frozen=True)
class GroupResult:
    """The restorations of the pictures of a group, and what the trial says about them."""

    case: Case
    """The pictures as they were given, on the CPU, as are the results."""
    images: Tensor
    """The restorations, (N, C, H, W), in [0, 1] but not clipped."""
    spread: Tensor | None
    """The spread of the averaged restorations, (N, C, H, W); None if the method has none."""
    method: str
    trial: Trial | None
    """The trial of the methods on parts of the first picture; None if there was none."""
    samples: Tensor
    """The restorations of these parts, (parts, C, h, w)."""

    def predict(self, row: int) -> Prediction | None:
        """Predict the PSNR of the restoration of a picture; None for all but the first, on which the trial was made."""
        if self.trial is None or row > 0:
            return None
        degradation = self.case.degradation.select([0])
        case = replace(self.case, y=self.case.y[:1], degradation=degradation, shape=(1, *self.case.shape[1:]))
        device = self.trial.case.y.device
        return self.trial.predict(case.to(device), self.images[:1].to(device), self.samples.to(device))


class GroupRestoration:
    """A phase: the trial, then the tiles of one group; `result` is there when the iteration has ended.

    `load` returns the case of the whole pictures, so that only one group is in memory. `noise_error` is the relative
    standard error of the noise level.
    """

    def __init__(
        self,
        plan: Plan,
        load: Callable[[], Case],
        methods: PictureMethods,
        config: ImageRun,
        device: torch.device,
        *,
        noise_error: float,
    ) -> None:
        self.plan, self.load, self.methods, self.config, self.device = plan, load, methods, config, device
        self.noise_error = noise_error
        self.step = 0
        self.trial_state: dict[str, Any] | None = None
        """The state of the trial; None before its first step."""
        self.method = ""
        """The method that restores; empty until the trial has chosen it."""
        self.job = 0
        """The number of jobs done."""
        self.work: Restorer | None = None
        """The restorer of the current job."""
        self.seconds = 0.0
        """Seconds that the jobs took so far."""
        self.result: GroupResult | None = None
        self.canvas: Canvas | None = None
        self.spread_canvas: Canvas | None = None
        self.trial: Trial | None = None

    def __len__(self) -> int:
        return PER_JOB * (len(self.plan.candidates) + self.plan.jobs)

    def __iter__(self) -> Iterator[Item]:
        case, pad = pad_for_blur(self.load())
        if self.plan.candidates:
            yield from self._try_methods(case)
        self.method = self.method or self.plan.method
        if self.job == 0 and self.work is None:
            yield StageStarted(step=self.step, title=f"Restoring with {self.method}", stage=2, stages=2)
        yield from self._restore_tiles(case)
        self.result = self._finish(case, pad)
        self.canvas = self.spread_canvas = self.work = None

    def _try_methods(self, case: Case) -> Iterator[Item]:
        """Restore parts of the first picture with each candidate, and choose the best one."""
        self._make_trial(case)
        assert self.trial is not None
        if self.step == 0:
            yield StageStarted(step=0, title="Trying methods on parts of the picture", stage=1, stages=2)
        total = PER_JOB * len(self.plan.candidates)
        for item in self.trial:
            if isinstance(item, Step):
                self.step = max(1, self.step, total * item.step // max(1, len(self.trial)))  # 0 is before all steps
                yield Step(step=self.step, loss=item.loss)
            elif isinstance(item, MethodTried):
                yield msgspec.structs.replace(item, step=self.step)
            elif isinstance(item, Message):
                yield item
        if not self.method:
            self.method, self.step = self.trial.best, total
            yield Step(step=self.step)

    def _make_trial(self, case: Case) -> None:
        if self.trial is None:
            parts = [cut(case, window, slice(0, 1), derive(self.config.seed, "trial")) for window in self.plan.samples]
            makers = {name: self.methods.maker(name, with_spread=False) for name in self.plan.candidates}
            self.trial = Trial(stack(parts), makers, clock_of(self.device), noise_error=self.noise_error)
            if self.trial_state is not None:
                self.trial.load_state_dict(self.trial_state)

    def _restore_tiles(self, case: Case) -> Iterator[Item]:
        shape, factor = case.shape, factor_of(case)
        canvas, spread_canvas = self.canvas, self.spread_canvas
        if canvas is None or spread_canvas is None:
            canvas, spread_canvas = self.canvas, self.spread_canvas = Canvas(shape), Canvas(shape)
        make = self.methods.maker(self.method)
        before = PER_JOB * len(self.plan.candidates)
        while self.job < self.plan.jobs:
            window, rows = self.plan.job(self.job)
            began = time.monotonic()
            if self.work is None:
                seed = derive(self.config.seed, f"{self.plan.label}, job {self.job}")
                self.work = make(cut(case, window, rows, seed))
            work = self.work
            for item in work:
                if isinstance(item, Step):
                    done = PER_JOB * item.step // len(work)
                    self.step = max(
                        1, self.step, min(before + PER_JOB * self.job + done, before + PER_JOB * (self.job + 1) - 1)
                    )
                    yield Step(step=self.step, loss=item.loss, lr=item.lr)
                elif isinstance(item, Message):
                    yield item
            self._paint(work, window, rows, factor)
            self.job, self.work = self.job + 1, None
            self.step = before + PER_JOB * self.job
            seconds = time.monotonic() - began
            self.seconds += seconds
            left = self.seconds / self.job * (self.plan.jobs - self.job)
            yield TileRestored(step=self.step, tile=self.job, tiles=self.plan.jobs, seconds=seconds, seconds_left=left)
            if self.job < self.plan.jobs:  # the last Step follows the results
                yield Step(step=self.step)

    def _paint(self, work: Restorer, window: Window, rows: slice, factor: int) -> None:
        assert self.canvas is not None and self.spread_canvas is not None
        overlap, margin = (pixels * factor for pixels in (self.plan.overlap, self.plan.margin))
        height, width = self.canvas.weight.shape
        weights = blending_weights(window.scaled(factor), (height, width), overlap, margin)
        self.canvas.add(window.scaled(factor), work.images, weights, rows)
        if (spread := work.spread) is not None:
            self.spread_canvas.add(window.scaled(factor), spread, weights, rows)

    def _finish(self, case: Case, pad: int) -> GroupResult:
        assert self.canvas is not None and self.spread_canvas is not None
        images = self.canvas.images
        samples = torch.cat([window.scaled(self.plan.factor).of(images[:1]) for window in self.plan.samples])
        spread = self.spread_canvas.images if bool(self.spread_canvas.weight.any()) else None
        if pad:
            inner = Window(pad, pad, images.shape[-2] - 2 * pad, images.shape[-1] - 2 * pad)
            images, spread = inner.of(images), None if spread is None else inner.of(spread)
        return GroupResult(self.load().to("cpu"), images, spread, self.method, self.trial, samples)

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs, except the trained network; valid after a `Step`."""
        return {
            "step": self.step,
            "trial": self.trial.state_dict() if self.trial else self.trial_state,
            "method": self.method,
            "job": self.job,
            "seconds": self.seconds,
            "work": self.work.state_dict() if self.work else None,
            "canvas": self.canvas.state_dict() if self.canvas else None,
            "spread": self.spread_canvas.state_dict() if self.spread_canvas else None,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        self.step, self.method, self.job, self.seconds = (state[key] for key in ("step", "method", "job", "seconds"))
        self.trial_state = state["trial"]
        case, _ = pad_for_blur(self.load())
        if state["canvas"] is not None:
            self.canvas, self.spread_canvas = Canvas(case.shape), Canvas(case.shape)
            self.canvas.load_state_dict(state["canvas"])
            self.spread_canvas.load_state_dict(state["spread"])
        if state["work"] is not None:
            window, rows = self.plan.job(self.job)
            seed = derive(self.config.seed, f"{self.plan.label}, job {self.job}")
            self.work = self.methods.maker(self.method)(cut(case, window, rows, seed))
            self.work.load_state_dict(state["work"])
