"""A bank of what Deep Image Priors make of degraded images: fitted once, then kept in the cache folder."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from core import checkpoint
from core.config import DipConfig
from core.config.tasks import TaskOptions, format_task
from core.data import ImageSet, cache_folder
from core.degrade import Degradation, degrade
from core.dip.fit import DipFit
from core.errors import UserError
from core.events import Message, State, Step
from core.hybrid.parents import dip_fit
from core.hybrid.restorer import Case
from core.images import to_unit
from core.seeds import derive

CHUNK = 50
"""Images that are fitted together, and kept in one file; the last of a bank may be fewer."""
FORMAT = 1
"""To be raised whenever the same options come to give other results."""
_IDLE = {"measure_every", "picture_every", "batch", "run_on"}
"""Options of DIP that change nothing of its results."""


class Bank:
    """The measurement of each image, and what a DIP that was fitted to it, never to the image, has at its stop.

    What is in the cache counts only for the very same images, task, options and seed; where the cache can't be
    written, nothing is kept. Each chunk has random weights and an input z of its own, lest one of them be learned by
    heart. Yields a `Step` for every iteration, counted as if each fit went on to its last one, and a `Message` for
    every chunk. Resumes exactly, in the middle of a fit, too.
    """

    def __init__(
        self, images: ImageSet, task: TaskOptions, dip: DipConfig, *, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        self.images, self.task, self.dip, self.seed, self.device = images, task, dip, seed, torch.device(device)
        self.results = torch.zeros(images.images.shape)
        """float32 (N, C, H, W) in [0, 1], on the CPU; zero where there is nothing yet."""
        self.done = 0
        """Chunks that have their results."""
        self.step = 0
        self._fit: DipFit | None = None

    def __len__(self) -> int:
        return -(-len(self.images) // CHUNK) * self.dip.iterations

    def __iter__(self) -> Iterator[Step | Message]:
        while self.done * CHUNK < len(self.images):
            places = self._places()
            kept = None if self._fit else self._kept(places)
            if kept is None:
                yield from self._fitted(places)
            else:
                self.results[places] = kept
            self.done += 1
            self.step = self.done * self.dip.iterations
            found = "" if kept is None else ", the last of them from the cache"
            yield Message(text=f"Bank: {places[-1] + 1} of {len(self.images)} DIP results{found}")

    def measured(self) -> tuple[Tensor, Degradation]:
        """The measurements of all images, and how they were made."""
        return self._degraded(list(range(len(self.images))))

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid between two items."""
        return {
            "results": self.results,
            "done": self.done,
            "step": self.step,
            "fit": self._fit.state_dict() if self._fit else None,
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from where `state_dict` was called, with the same images and options."""
        self.results, self.done, self.step = state["results"].clone(), state["done"], state["step"]
        if state["fit"] is not None:
            self._fit = self._begin(self._places())
            self._fit.load_state_dict(state["fit"])

    def _places(self) -> list[int]:
        """Of the images of the chunk that is next."""
        return list(range(self.done * CHUNK, min((self.done + 1) * CHUNK, len(self.images))))

    def _fitted(self, places: list[int]) -> Iterator[Step]:
        self._fit = fit = self._fit or self._begin(places)
        for item in fit:
            if isinstance(item, Step):
                self.step = self.done * self.dip.iterations + item.step
                yield Step(step=self.step, loss=item.loss)
        results = torch.stack(fit.restored).cpu()
        self.results[places] = results
        self._fit = None
        path, key = self._file(places)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            checkpoint.save(path, {"key": key, "results": results})

    def _begin(self, places: list[int]) -> DipFit:
        y, degradation = self._degraded(places)
        _, channels, height, width = self.images.images.shape
        case = Case(y, degradation, (len(places), channels, height, width))
        # In one network, whatever the memory: groups would change the last bits of what is kept.
        return dip_fit(case, self.dip, derive(self.seed, f"bank {self.done}"), [list(range(len(places)))])

    def _degraded(self, places: list[int]) -> tuple[Tensor, Degradation]:
        split = self.images.split
        seeds = [derive(self.seed, f"bank measurement of {split} {place}") for place in places]
        return degrade(self.task, to_unit(self.images.images[places]).to(self.device), seeds)

    def _file(self, places: list[int]) -> tuple[Path, str]:
        """Where the results of these images are kept, and the digest of all that they follow from."""
        options = {k: v for k, v in msgspec.to_builtins(self.dip).items() if k not in _IDLE}
        about = [FORMAT, format_task(self.task), options, self.seed, self.done, self.images.split, len(places)]
        digest = hashlib.sha256(msgspec.json.encode(about, order="deterministic"))
        digest.update(self.images.images[places].contiguous().numpy().data)
        key = digest.hexdigest()
        return cache_folder() / "dip-bank" / f"{key[:32]}.safetensors", key

    def _kept(self, places: list[int]) -> Tensor | None:
        path, key = self._file(places)
        try:
            state = checkpoint.load_state(path)
        except UserError:
            return None
        results = state.get("results")
        if state.get("key") != key or not isinstance(results, Tensor) or len(results) != len(places):
            return None
        return results
