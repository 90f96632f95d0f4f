"""A DIP run from config to restored images: what the worker carries out, and a notebook can iterate over."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from core import data
from core.config import DataConfig, DipRun, ImagesConfig
from core.degrade import degrade
from core.dip.batch import PriorBatch
from core.dip.fit import DipFit
from core.dip.memory import images_that_fit
from core.errors import UserError
from core.events import BestModel, DataLoaded, Item, RunStarted, State, Tensors
from core.images import load_image, to_unit
from core.parallel import Ranks
from core.seeds import derive


class DipExperiment:
    """Degrade images, and fit a Deep Image Prior to each of them.

    Yields which images it uses, the measurements y, what the fit yields, and at the end each image at its truth-free
    stop. Images of one size are fitted together, as many as fit in memory; the truth is used for reporting only.

    Several processes share the images, a network or more each, and all yield the same. Seeds are of the images, so each
    image is fitted as by one process: to the same bits where it is alone in its network (dip.batch=1), else up to
    rounding. A checkpoint tells of networks, not of processes; fewer of these can go on with it, to the same bits.
    """

    epoch = 0

    def __init__(
        self, config: DipRun, images: Sequence[Tensor], labels: Sequence[str], loaded: DataLoaded, device: torch.device
    ) -> None:
        """`images` are true images (C, H, W) in [0, 1]; the noise of each is drawn by its label."""
        self.config = config
        self.loaded = loaded
        self.images = images
        self.labels = labels
        self.device = device
        self.ranks = Ranks.here()
        self._prepare(_groups(config, images, device, self.ranks))
        self._opened = 0
        self._closed = 0

    def _prepare(self, groups: Sequence[Sequence[int]]) -> None:
        """Degrade the images of this process and set up their fit, in these groups of images of one size."""
        config = self.config
        batches = []
        for places in groups:
            truth = torch.stack([self.images[place] for place in places]).to(self.device)
            seeds = [derive(config.seed, f"measurement of {self.labels[place]}") for place in places]
            y, degradation = degrade(config.task, truth, seeds)
            _, channels, height, width = truth.shape
            batches.append(
                PriorBatch(y, degradation, config.dip, (channels, height, width), seed=config.seed, truth=truth)
            )
        self.fit = DipFit(
            batches,
            groups,
            iterations=config.dip.iterations,
            measure_every=config.dip.measure_every,
            picture_every=config.dip.picture_every,
            run_on=config.dip.run_on,
            ranks=self.ranks,
        )

    @classmethod
    def from_config(cls, config: DipRun, device: torch.device | str) -> Self:
        """Raises UserError for images that are missing or can't be read, and for a task that doesn't suit them."""
        images, labels, loaded = true_images(config.images, config.data)
        return cls(config, images, labels, loaded, torch.device(device))

    @property
    def network(self) -> nn.Module | None:
        """The network of all images, where one holds them all."""
        alone = self.ranks.count == len(self.fit.batches) == 1
        return self.fit.batches[0].network if alone else None

    @property
    def measurements(self) -> list[Tensor]:
        """The y of each image."""
        return self.fit.gather(lambda batch: list(batch.y))

    @property
    def step(self) -> int:
        """Iterations done."""
        return self.fit.step

    def started(self) -> RunStarted:
        """Totals and sizes; `parameters` counts those of one image's prior."""
        first = self.fit.batches[0]
        return RunStarted(
            kind=self.config.kind,
            method=self.config.method,
            device=str(first.y.device),
            steps=self.fit.iterations,
            images=len(self.images),
            parameters=sum(p.numel() for p in first.network.parameters()) // len(first),
        )

    def __iter__(self) -> Iterator[Item]:
        for item in self._opening()[self._opened :]:
            self._opened += 1
            yield item
        for item in self.fit:
            self._closed = 0
            yield item
        for item in self._closing()[self._closed :]:
            self._closed += 1
            yield item

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid between two items. Of several processes, the first one has it."""
        fit = self.fit.state_dict()
        parts = self.ranks.collected([[list(places) for places in self.fit.places], fit["batches"]])
        groups, batches = ([one for part in parts for one in part[kind]] for kind in (0, 1))
        return {"fit": {**fit, "batches": batches}, "groups": groups, "opened": self._opened, "closed": self._closed}

    def load_state_dict(self, state: State) -> None:
        """Go on from where `state_dict` was called, in its groups: another day another number of images may fit.

        Raises UserError where there are more processes than groups.
        """
        groups, mine = state["groups"], self.ranks.part(len(state["groups"]))
        if self.ranks.count > len(groups):
            problem = f"The checkpoint holds {len(groups)} network(s), and there are {self.ranks.count} processes."
            raise UserError(problem, f"Go on with {len(groups)} or fewer, or start the run anew.")
        if groups[mine] != self.fit.places:
            self._prepare(groups[mine])
        self.fit.load_state_dict({**state["fit"], "batches": state["fit"]["batches"][mine]})
        self._opened, self._closed = state["opened"], state["closed"]

    def _opening(self) -> list[Item]:
        """What there is to see before the first iteration."""
        masks = self.fit.gather(lambda batch: list(batch.degradation.operator.measured(batch.y)))
        tensors = {"y": self.measurements, "measured": masks}
        return [self.loaded, Tensors(name="measurement", tensors=tensors)]

    def _closing(self) -> list[Item]:
        """What there is to keep after the last one."""
        fit = self.fit
        restored = fit.restored
        scores = fit.gather(lambda batch: batch.stopping.best)
        rule = fit.batches[0].stopping.rule.name
        best = BestModel(
            network=None,
            step=max(fit.gather(lambda batch: batch.stopping.at)),
            value=sum(scores) / len(scores),
            measure=rule,
            tensors={"restored": restored},
        )
        title = f"At the stop ({rule})"
        return [best, *fit.pictures("restored", title, lambda batch: batch.stopping.restored)]


def true_images(images: ImagesConfig, source: DataConfig) -> tuple[list[Tensor], list[str], DataLoaded]:
    """The images (C, H, W) in [0, 1] that a run restores, a label for each, and the event that says which they are.

    A label is the image's place in its split, or among the files. Raises UserError for what isn't there.
    """
    if images.files:
        found = [load_image(Path(name).expanduser())[0] for name in images.files]
        digest = hashlib.sha256()
        for image in found:
            digest.update(str(tuple(image.shape)).encode() + image.numpy().tobytes())
        names = ", ".join(Path(name).name for name in images.files)
        loaded = DataLoaded(dataset="files", split="", images=len(found), sha256=digest.hexdigest(), source=names)
        return found, [f"file {i}" for i in range(len(found))], loaded
    root = Path(source.directory).expanduser() if source.directory else None
    places = images.places()
    chosen = data.load(source.dataset, images.split, root=root).take(places)
    loaded = DataLoaded(
        dataset=chosen.name, split=chosen.split, images=len(chosen), sha256=chosen.sha256, source=chosen.source
    )
    return list(to_unit(chosen.images)), [f"{chosen.split} {place}" for place in places], loaded


def _groups(config: DipRun, images: Sequence[Tensor], device: torch.device, ranks: Ranks) -> list[list[int]]:
    """Places of images of one size that one network takes, in the order of the images; those of this process.

    The images are dealt out size by size, so that each process has about as many of each.
    """
    sizes: dict[tuple[int, int, int], list[int]] = {}
    for place, image in enumerate(images):
        channels, height, width = image.shape
        sizes.setdefault((channels, height, width), []).append(place)
    dealt = [(size, place) for size, places in sizes.items() for place in places][ranks.rank :: ranks.count]
    groups = []
    for size in sizes:
        places = [place for its_size, place in dealt if its_size == size]
        most = config.dip.batch or images_that_fit(config.dip, size, device)
        groups += [places[i : i + most] for i in range(0, len(places), most)]
    return groups
