"""A bank of what Deep Image Priors make of degraded images: fitted once, then kept in the cache folder."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from dipddpm.core.compute import checkpoint
from dipddpm.core.compute.rng import derive
from dipddpm.core.config import DipConfig
from dipddpm.core.config.tasks import TaskOptions, format_task
from dipddpm.core.data import ImageSet, cache_folder
from dipddpm.core.degrade.case import Case
from dipddpm.core.dip.fit import DipFit
from dipddpm.core.errors import UserError
from dipddpm.core.events import Message, StateDict, Step
from dipddpm.core.images import to_unit
from dipddpm.core.methods.dip import dip_fit

CHUNK = 50
"""Images that are fitted together, and kept in one file; the last of a bank may be fewer."""
FORMAT = 1
"""To be raised whenever the same options come to give other results."""
_IRRELEVANT_OPTIONS = {"measure_every", "picture_every", "batch", "run_on"}
"""Options of DIP that change nothing of its results."""


class DipResultBank:
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
        self.chunks_done = 0
        """Chunks that have their results."""
        self.step = 0
        self._fit: DipFit | None = None

    def __len__(self) -> int:
        return -(-len(self.images) // CHUNK) * self.dip.iterations

    def __iter__(self) -> Iterator[Step | Message]:
        while self.chunks_done * CHUNK < len(self.images):
            indices = self._chunk_indices()
            cached = None if self._fit else self._load_cached(indices)
            if cached is None:
                yield from self._fit_chunk(indices)
            else:
                self.results[indices] = cached
            self.chunks_done += 1
            self.step = self.chunks_done * self.dip.iterations
            suffix = "" if cached is None else ", the last of them from the cache"
            yield Message(text=f"Bank: {indices[-1] + 1} of {len(self.images)} DIP results{suffix}")

    def measurements(self) -> Case:
        """The measurements of all images, and how they were made."""
        return self._case(range(len(self.images)))

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid after a `Step`."""
        return {
            "results": self.results,
            "done": self.chunks_done,
            "step": self.step,
            "fit": self._fit.state_dict() if self._fit else None,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from where `state_dict` was called, with the same images and options."""
        self.results, self.chunks_done, self.step = state["results"].clone(), state["done"], state["step"]
        if state["fit"] is not None:
            self._fit = self._start_fit(self._chunk_indices())
            self._fit.load_state_dict(state["fit"])

    def _chunk_indices(self) -> list[int]:
        """Of the images of the chunk that is next."""
        return list(range(self.chunks_done * CHUNK, min((self.chunks_done + 1) * CHUNK, len(self.images))))

    def _fit_chunk(self, indices: list[int]) -> Iterator[Step]:
        self._fit = fit = self._fit or self._start_fit(indices)
        for item in fit:
            if isinstance(item, Step):
                self.step = self.chunks_done * self.dip.iterations + item.step
                yield Step(step=self.step, loss=item.loss)
        results = torch.stack(fit.restored).cpu()
        self.results[indices] = results
        self._fit = None
        path, key = self._cache_entry(indices)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            checkpoint.save(path, {"key": key, "results": results})

    def _start_fit(self, indices: list[int]) -> DipFit:
        # In one network, whatever the memory: groups would change the last bits of what is kept.
        return dip_fit(
            self._case(indices), self.dip, derive(self.seed, f"bank {self.chunks_done}"), [list(range(len(indices)))]
        )

    def _case(self, indices: Sequence[int]) -> Case:
        labels = [f"{self.images.split} {index}" for index in indices]
        truth = to_unit(self.images.take(indices).images)
        return Case.of(truth, self.task, labels, self.seed, purpose="bank measurement").to(self.device)

    def _cache_entry(self, indices: list[int]) -> tuple[Path, str]:
        """Where the results of these images are kept, and the digest of all that they follow from."""
        options = {k: v for k, v in msgspec.to_builtins(self.dip).items() if k not in _IRRELEVANT_OPTIONS}
        task, split = format_task(self.task), self.images.split
        key_parts = [FORMAT, task, options, self.seed, self.chunks_done, split, len(indices)]
        digest = hashlib.sha256(msgspec.json.encode(key_parts, order="deterministic"))
        digest.update(self.images.images[indices].contiguous().numpy().data)
        key = digest.hexdigest()
        return cache_folder() / "dip-bank" / f"{key[:32]}.safetensors", key

    def _load_cached(self, indices: list[int]) -> Tensor | None:
        path, key = self._cache_entry(indices)
        try:
            state = checkpoint.load_state(path)
        except UserError:
            return None
        results = state.get("results")
        if state.get("key") != key or not isinstance(results, Tensor) or len(results) != len(indices):
            return None
        return results
