"""The fit of any number of images, of any sizes, as something that one iterates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dipddpm.core.compute.distributed import ProcessGroup
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.errors import UserError
from dipddpm.core.events import (
    EarlyStopped,
    Event,
    Item,
    Message,
    Pictures,
    PsnrMeasured,
    StateDict,
    Step,
    StopsCompared,
)
from dipddpm.core.metrics.image import SSIM_WINDOW, psnr, ssim


class FitStatus(NamedTuple):
    """Where the fit of one image is: its loss, its last way back, at which iteration it stopped, and of which one."""

    loss: float
    backtracked: int
    stopped_at: int
    best_iteration: int


class DipFit:
    """Take batches of priors on side by side, so that one count of iterations holds for all images.

    `places` says where each batch's images stand in the order that events and results use. Where several processes
    share the images (`ranks`), each has batches of its own, and all yield what is told of all images.

    Yields a `Step` for every iteration (on an accelerator, for every look), `EarlyStopped`, a `Message` for each way
    back, `PsnrMeasured` (SSIM is that of the restoration), pictures of the restorations so far, and at the end
    `StopsCompared`. Ends after `iterations`, or when every image has stopped, unless `run_on`; until then, images that
    have stopped are left out as they come to be a good share, and what is told of them no longer changes.

    Raises UserError when the fit of an image is no longer finite.
    """

    def __init__(
        self,
        batches: Sequence[PriorBatch],
        indices: Sequence[Sequence[int]],
        *,
        iterations: int,
        measure_every: int = 10,
        picture_every: int = 0,
        run_on: bool = False,
        process_group: ProcessGroup | None = None,
    ) -> None:
        self.batches = batches
        self.indices = indices
        self.iterations = iterations
        self.measure_every = measure_every
        self.picture_every = picture_every
        self.run_on = run_on
        self.process_group = process_group or ProcessGroup()
        self.stride = 1 if batches[0].y.device.type == "cpu" else measure_every
        self.has_truth = all(batch.truth is not None for batch in batches)
        self.step = 0
        self._items_yielded = 0
        self._statuses: list[FitStatus] = []
        self.finished = False
        """Whether there is no iteration left to do, as of the last look."""

    def __iter__(self) -> Iterator[Item]:
        # What there is to tell depends on the state alone, so a resumed fit goes on in the middle of it.
        while True:
            self._sync_status()
            for item in self._items()[self._items_yielded :]:
                self._items_yielded += 1
                yield item
            if self.finished:
                return
            active = [batch for batch in self.batches if self.run_on or not batch.stopping.all_stopped]
            for _ in range(min(self.stride, self.iterations - self.step)):
                for batch in active:
                    batch.step_once()
                self.step += 1
            if not self.run_on:
                for batch in active:
                    batch.compact()
            self._items_yielded = 0

    @property
    def restored(self) -> list[Tensor]:
        """Each image (C, H, W) at its stop, or at the best score so far."""
        return self.gather(lambda batch: list(batch.stopping.restored))

    def gather(self, values: Callable[[PriorBatch], Sequence[Any] | Tensor]) -> list[Any]:
        """What each batch says of each of its images, in the order of the images; all ranks have to ask at once."""
        local_values: dict[int, Any] = {}
        for batch, batch_indices in zip(self.batches, self.indices, strict=True):
            batch_values = values(batch)
            local_values.update(
                zip(
                    batch_indices,
                    batch_values.tolist() if isinstance(batch_values, Tensor) else batch_values,
                    strict=True,
                )
            )
        by_index = {
            index: value for part in self.process_group.all_gather(local_values) for index, value in part.items()
        }
        return [by_index[index] for index in sorted(by_index)]

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid between two items, and to be stored before the next one."""
        return {
            "step": self.step,
            "told": self._items_yielded,
            "batches": [batch.state_dict() for batch in self.batches],
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from where `state_dict` was called, with the same batches."""
        self.step, self._items_yielded = state["step"], state["told"]
        for batch, its_state in zip(self.batches, state["batches"], strict=True):
            batch.load_state_dict(its_state)

    def _sync_status(self) -> None:
        """See where all images are: what the ranks go on by, and most of what they tell, in one exchange."""
        columns = self.gather(
            lambda batch: list(zip(*(values.tolist() for values in _status_columns(batch)), strict=True))
        )
        self._statuses = [FitStatus(*values) for values in columns]
        stopped = not self.run_on and all(status.stopped_at for status in self._statuses)
        self.finished = self.step >= self.iterations or stopped

    def _items(self) -> list[Item]:
        """All that there is to tell of the present iteration."""
        if self.step == 0:
            return []
        losses = [status.loss for status in self._statuses]
        measuring = self.step % self.measure_every == 0 or self.finished
        if measuring:
            self._refuse_infinite(losses)
        items: list[Item] = [
            Step(step=self.step, loss=sum(losses) / len(losses), lr=self.batches[0].options.lr),
            *self._rollback_messages(),
            *self._stop_events(),
        ]
        if measuring and self.has_truth:
            items.append(self._psnr_event(losses))
        if self.picture_every and self.step % self.picture_every == 0:
            items += self.pictures("fit", f"Iteration {self.step}", lambda batch: batch.restored, numbered=True)
        if self.finished and self.has_truth:
            items.append(self._stops_compared_event())
        return items

    def _refuse_infinite(self, losses: list[float]) -> None:
        for image, loss in enumerate(losses):
            if not math.isfinite(loss) and not self.batches[0].options.backtrack:
                raise UserError(
                    f"The fit of image {image} became {loss} at iteration {self.step}.",
                    "Lower dip.lr, or let it go back with dip.backtrack=5.",
                )

    def _since_last_report(self, step: int) -> bool:
        return (self.step - 1) // self.stride * self.stride < step <= self.step

    def _rollback_messages(self) -> list[Event]:
        fall = self.batches[0].options.backtrack
        return [
            Message(
                text=f"The fit of image {image} fell by {fall:g} dB; it went back at iteration {iteration}",
                level="warning",
            )
            for image, status in enumerate(self._statuses)
            if self._since_last_report(iteration := status.backtracked)
        ]

    def _stop_events(self) -> list[Event]:
        """The images that stopped since the last look; at the end, also those whose best score never got old."""
        rule = self.batches[0].stopping.rule.name
        stopped = [
            image
            for image, status in enumerate(self._statuses)
            if self._since_last_report(status.stopped_at)
            or (status.stopped_at == 0 and self.finished and rule != "never")
        ]
        if not stopped:
            return []
        values: list[Any] = self.gather(_psnr_at_stop) if self.has_truth else [None] * len(self._statuses)
        return [
            EarlyStopped(
                step=self.step, image=image, at=self._statuses[image].best_iteration, rule=rule, psnr=values[image]
            )
            for image in stopped
        ]

    def _psnr_event(self, losses: list[float]) -> PsnrMeasured:
        values = self.gather(lambda batch: psnr(batch.output, _truth(batch)))
        averaging = self.batches[0].options.average > 0
        return PsnrMeasured(
            step=self.step,
            psnr=values,
            mean=sum(values) / len(values),
            loss=losses,
            ssim=self._ssim(lambda batch: batch.restored),
            averaged=self.gather(_current_psnr) if averaging else [],
        )

    def _stops_compared_event(self) -> StopsCompared:
        return StopsCompared(
            step=self.step,
            rule=self.batches[0].stopping.rule.name,
            at=[status.best_iteration for status in self._statuses],
            psnr=self.gather(_psnr_at_stop),
            peak=self.gather(lambda batch: batch.peak),
            peak_at=self.gather(lambda batch: batch.peak_at),
            final=self.gather(_current_psnr),
            ssim=self._ssim(lambda batch: batch.stopping.restored),
        )

    def _ssim(self, images: Callable[[PriorBatch], Tensor]) -> list[float]:
        """Of each image; empty where one is too small for it."""

        def of(batch: PriorBatch) -> Tensor | list[None]:
            small = min(batch.restored.shape[-2:]) < SSIM_WINDOW
            return [None] * len(batch) if small else ssim(images(batch), _truth(batch))

        values = self.gather(of)
        return [] if None in values else values

    def pictures(
        self, name: str, title: str, images: Callable[[PriorBatch], Tensor], *, numbered: bool = False
    ) -> list[Item]:
        """Degraded, restored and (where known) true images side by side: a picture for each size that there is."""
        panels = ("degraded", "restored", "truth") if self.has_truth else ("degraded", "restored")
        shown = self.gather(lambda batch: list(torch.stack(_panels(batch, images(batch)), 1)))
        sizes: dict[torch.Size, list[Tensor]] = {}
        for row in shown:
            sizes.setdefault(row.shape, []).append(row)
        items: list[Item] = []
        for size, rows in sizes.items():
            items.append(
                Pictures(
                    name=name if len(sizes) == 1 else f"{name}-{size[-1]}x{size[-2]}",
                    images=torch.cat(rows).clamp(0, 1),
                    step=self.step,
                    title=title,
                    columns=len(panels) * max(1, round(math.sqrt(len(rows) / len(panels)))),
                    panels=panels,
                    numbered=numbered,
                )
            )
        return items


def _status_columns(batch: PriorBatch) -> tuple[Tensor, ...]:
    """The columns of `Now`."""
    return batch.loss, batch.backtracked, batch.stopping.stopped_at, batch.stopping.best_iteration


def _truth(batch: PriorBatch) -> Tensor:
    assert batch.truth is not None
    return batch.truth


def _current_psnr(batch: PriorBatch) -> Tensor:
    return psnr(batch.restored, _truth(batch))


def _psnr_at_stop(batch: PriorBatch) -> Tensor:
    return psnr(batch.stopping.restored, _truth(batch))


def _panels(batch: PriorBatch, images: Tensor) -> list[Tensor]:
    """What is shown of a batch: y, as large as the image, the image, and the truth where it is known."""
    y = batch.y if batch.y.shape == images.shape else batch.degradation.operator.pinv(batch.y)
    return [y, images] if batch.truth is None else [y, images, batch.truth]
