"""A bank of DIP results for degraded images, which are fitted once and then stored in the cache folder."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
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
"""Number of images that are fitted together and stored in one file; a bank's last chunk may be smaller."""
FORMAT = 2
"""Version of the results; raise it whenever the same options give other results."""
_IRRELEVANT_OPTIONS = {"measure_every", "picture_every", "batch", "run_on"}
"""DIP options that don't change its results."""


def measure(images: ImageSet, task: TaskOptions, seed: int, device: torch.device | str = "cpu") -> Case:
    """Degrade training images; the measurement of an image depends on the seed, its index and its split alone."""
    labels = [f"{images.split} {index}" for index in range(len(images))]
    return Case.of(to_unit(images.images), task, labels, seed, purpose="bank measurement").to(device)


class DipResultBank:
    """The result, at its stop, of a DIP that is fitted to each image's measurement alone.

    The images are measured by `task`. A cached result is used only for the same measurements, task, options and seed;
    if the cache can't be written, nothing is cached. Each chunk has its own random weights and input z, so that a
    network can't memorise them. Yields a `Step` for every iteration, counted as if no fit stopped early, and a
    `Message` for every chunk. Resumes exactly, even in the middle of a fit.
    """

    def __init__(self, case: Case, task: TaskOptions, dip: DipConfig, *, seed: int) -> None:
        self.case, self.task, self.dip, self.seed = case, task, dip, seed
        self.results = torch.zeros(case.shape)
        """The results, float32 (N, C, H, W) in [0, 1], on the CPU; zero for chunks that are not done."""
        self.chunks_done = 0
        """Number of chunks whose results are complete."""
        self.step = 0
        self._fit: DipFit | None = None

    def __len__(self) -> int:
        return -(-len(self.case.y) // CHUNK) * self.dip.iterations

    def __iter__(self) -> Iterator[Step | Message]:
        while self.chunks_done * CHUNK < len(self.case.y):
            indices = self._chunk_indices()
            cached = None if self._fit else self._load_cached(indices)
            if cached is None:
                yield from self._fit_chunk(indices)
            else:
                self.results[indices] = cached
            self.chunks_done += 1
            self.step = self.chunks_done * self.dip.iterations
            suffix = "" if cached is None else f", the last {len(indices)} from the cache"
            yield Message(text=f"Bank: {indices[-1] + 1} of {len(self.case.y)} DIP results{suffix}")

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs; valid after a `Step`."""
        return {
            "results": self.results[: self.chunks_done * CHUNK],
            "done": self.chunks_done,
            "step": self.step,
            "fit": self._fit.state_dict() if self._fit else None,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state of the same images and options."""
        self.results[: len(state["results"])] = state["results"]
        self.chunks_done, self.step = state["done"], state["step"]
        if state["fit"] is not None:
            self._fit = self._start_fit(self._chunk_indices())
            self._fit.load_state_dict(state["fit"])

    def _chunk_indices(self) -> list[int]:
        """Return the indices of the images of the next chunk."""
        return list(range(self.chunks_done * CHUNK, min((self.chunks_done + 1) * CHUNK, len(self.case.y))))

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
        # One group, regardless of memory: the size of the groups changes the last bits of the cached results.
        return dip_fit(
            self.case.select(indices),
            self.dip,
            derive(self.seed, f"bank {self.chunks_done}"),
            [list(range(len(indices)))],
        )

    def _cache_entry(self, indices: list[int]) -> tuple[Path, str]:
        """Return the cache file of these images' results, and the digest of everything that determines the results."""
        options = {k: v for k, v in msgspec.to_builtins(self.dip).items() if k not in _IRRELEVANT_OPTIONS}
        key_parts = [FORMAT, format_task(self.task), options, self.seed, self.chunks_done, len(indices)]
        digest = hashlib.sha256(msgspec.json.encode(key_parts, order="deterministic"))
        digest.update(self.case.y[indices].cpu().contiguous().numpy().data)
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
