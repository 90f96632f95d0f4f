"""A DIP run from config to restored images: what the worker carries out, and a notebook can iterate over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from dipddpm.core.compute.distributed import ProcessGroup
from dipddpm.core.config import DipRun
from dipddpm.core.data.sources import load_images
from dipddpm.core.degrade.case import Case
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.dip.fit import DipFit
from dipddpm.core.errors import UserError
from dipddpm.core.events import BestModel, DataLoaded, Item, RunStarted, StateDict, Step, Tensors
from dipddpm.core.methods.dip import in_batches


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
        self.process_group = ProcessGroup.current()
        self._prepare(_groups(config, images, device, self.process_group))

    def _prepare(self, groups: Sequence[Sequence[int]]) -> None:
        """Degrade the images of this process and set up their fit, in these groups of images of one size."""
        config = self.config
        batches = []
        for indices in groups:
            truth = torch.stack([self.images[index] for index in indices])
            labels = [self.labels[index] for index in indices]
            case = Case.of(truth, config.task, labels, config.seed).to(self.device)
            batches.append(
                PriorBatch(
                    case.y, case.degradation, config.dip, case.shape[1:], seed=config.seed, truth=truth.to(self.device)
                )
            )
        self.fit = DipFit(
            batches,
            groups,
            iterations=config.dip.iterations,
            measure_every=config.dip.measure_every,
            picture_every=config.dip.picture_every,
            run_on=config.dip.run_on,
            process_group=self.process_group,
        )

    @classmethod
    def from_config(cls, config: DipRun, device: torch.device | str) -> Self:
        """Raises UserError for images that are missing or can't be read, and for a task that doesn't suit them."""
        images, labels, loaded = load_images(config.images, config.data)
        return cls(config, images, labels, loaded, torch.device(device))

    @property
    def network(self) -> nn.Module | None:
        """The network of all images, where one holds them all."""
        alone = self.process_group.world_size == len(self.fit.batches) == 1
        return self.fit.batches[0].network if alone else None

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
        if self.step == 0:
            yield self.loaded
            y = self.fit.gather(lambda batch: list(batch.y))
            measured = self.fit.gather(lambda batch: list(batch.degradation.operator.measured(batch.y)))
            yield Tensors(name="measurement", tensors={"y": y, "measured": measured})
        for item in self.fit:
            if isinstance(item, Step) and self.fit.finished:
                yield from self._closing_items()
            yield item

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid after a `Step`. Of several processes, the first one has it."""
        fit = self.fit.state_dict()
        parts = self.process_group.gather([[list(i) for i in self.fit.indices], fit["batches"]], to_all=False)
        groups, batches = ([item for part in parts for item in part[kind]] for kind in (0, 1))
        return {"fit": {**fit, "batches": batches}, "groups": groups}

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from where `state_dict` was called, in its groups: another day another number of images may fit.

        Raises UserError where there are more processes than groups.
        """
        groups, shard = state["groups"], self.process_group.shard(len(state["groups"]))
        if self.process_group.world_size > len(groups):
            processes = self.process_group.world_size
            problem = f"The checkpoint holds {len(groups)} network(s), and there are {processes} processes."
            raise UserError(problem, f"Go on with {len(groups)} or fewer, or start the run anew.")
        if groups[shard] != self.fit.indices:
            self._prepare(groups[shard])
        self.fit.load_state_dict({**state["fit"], "batches": state["fit"]["batches"][shard]})

    def _closing_items(self) -> list[Item]:
        """What there is to keep after the last iteration."""
        fit = self.fit
        scores = [status.best_score for status in fit.statuses]
        best = BestModel(
            network=None,
            step=max(status.best_iteration for status in fit.statuses),
            value=sum(scores) / len(scores),
            measure=fit.rule_name,
            tensors={"restored": fit.restored},
        )
        title = f"At the stop ({fit.rule_name})"
        return [best, *fit.pictures("restored", title, lambda batch: batch.stopping.restored)]


def _groups(
    config: DipRun, images: Sequence[Tensor], device: torch.device, process_group: ProcessGroup
) -> list[list[int]]:
    """Places of images of one size that one network takes, in the order of the images; those of this process.

    The images are dealt out size by size, so that each process has about as many of each.
    """
    sizes: dict[tuple[int, int, int], list[int]] = {}
    for index, image in enumerate(images):
        channels, height, width = image.shape
        sizes.setdefault((channels, height, width), []).append(index)
    assigned = [(size, index) for size, indices in sizes.items() for index in indices][
        process_group.rank :: process_group.world_size
    ]
    groups = []
    for size in sizes:
        places = [index for its_size, index in assigned if its_size == size]
        groups += in_batches(places, config.dip, size, device)
    return groups
