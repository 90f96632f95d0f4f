"""A DIP run from config to restored images, as an experiment that the worker or a notebook iterates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import msgspec
import torch
from torch import Tensor, nn

from dipddpm.core.compute.distributed import ProcessGroup
from dipddpm.core.config import DipRun
from dipddpm.core.data.given import GivenImages, load_given
from dipddpm.core.data.identity import task_files_loaded
from dipddpm.core.data.names import image_names
from dipddpm.core.data.sources import file_messages, load_images
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.measure import image_size
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.dip.fit import DipFit, finite_mean
from dipddpm.core.errors import UserError
from dipddpm.core.events import (
    BestModel,
    DataLoaded,
    Item,
    NoiseEstimated,
    QualityPredicted,
    RestoredImages,
    RunStarted,
    StateDict,
    Step,
    Tensors,
)
from dipddpm.core.experiments.given import qualities, restored_files, with_known_noise
from dipddpm.core.methods.dip import in_batches


class DipExperiment:
    """A run that degrades images, or takes damaged ones, and fits a Deep Image Prior to each of them.

    Yields the data used, the measurements y, the fit's events, and at the end each image at its truth-free stop. Images
    of one size are fitted together in groups that fit in memory; the truth is used for reporting only, if it is known.

    Several processes share the images, at least one group each, and all yield the same items. Seeds depend on the
    images, so the results don't depend on the number of processes: bit for bit with one image a group (dip.batch=1),
    else up to rounding. A checkpoint stores groups, not processes; fewer processes can resume from it, bit for bit.
    """

    epoch = 0

    def __init__(
        self,
        config: DipRun,
        images: Sequence[Tensor],
        labels: Sequence[str],
        loaded: DataLoaded,
        device: torch.device,
        *,
        given: GivenImages | None = None,
    ) -> None:
        """Set up the fits.

        `images` are true images (C, H, W) in [0, 1], whose labels seed their noise; or the `given` images, which are
        measurements, and whose labels are their names.
        """
        self.config = config
        self.inputs = (loaded, *task_files_loaded(config.task))
        """The events that identify the images and the mask file, if the task has one."""
        self.images = images
        self.labels = labels
        self.given = given
        self.truth = images if given is None else given.truth
        self.device = device
        self.process_group = ProcessGroup.current()
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        if given is not None:
            sizes = [image_size(config.task, size) for size in sizes]
        shapes = [(len(image), *size) for image, size in zip(images, sizes, strict=True)]
        self._prepare(_groups(config, shapes, device, self.process_group))

    def _prepare(self, groups: Sequence[Sequence[int]]) -> None:
        """Make the cases of this process's images and set up their fit; each group indexes images of one size."""
        config = self.config
        batches = []
        self.found: list[NoiseEstimated] = []
        """The noise that was found in given images, if the task doesn't tell it."""
        for indices in groups:
            case, truth = self._case(indices)
            case, found = with_known_noise(case, indices[0])
            self.found += found
            case, truth = case.to(self.device), None if truth is None else truth.to(self.device)
            batches.append(
                PriorBatch(case.y, case.degradation, config.dip, case.shape[1:], seed=config.seed, truth=truth)
            )
        self.fit = DipFit(
            batches,
            groups,
            iterations=config.dip.iterations,
            measure_every=config.dip.measure_every,
            picture_every=config.dip.picture_every,
            run_on=config.dip.run_on,
            measures_misfit=True,
            process_group=self.process_group,
        )

    def _case(self, indices: Sequence[int]) -> tuple[Case, Tensor | None]:
        """Return the case of images of one size and, where it is known, their truth."""
        config, truth = self.config, torch.stack([self.truth[index] for index in indices]) if self.truth else None
        if self.given is not None:
            return Case.given(torch.stack([self.images[index] for index in indices]), config.task, config.seed), truth
        assert truth is not None
        return Case.of(truth, config.task, [self.labels[index] for index in indices], config.seed), truth

    @classmethod
    def from_config(cls, config: DipRun, device: torch.device | str) -> Self:
        """Build the experiment.

        Raises UserError for images that are missing or can't be read, and for a task that doesn't suit them.
        """
        if config.images.given:
            given = load_given(config.images, config.task.enlargement)
            return cls(config, given.images, given.names, given.loaded, torch.device(device), given=given)
        images, labels, loaded = load_images(config.images, config.data)
        return cls(config, images, labels, loaded, torch.device(device))

    @property
    def network(self) -> nn.Module | None:
        """The network of all images; None if there are several groups or processes."""
        alone = self.process_group.world_size == len(self.fit.batches) == 1
        return self.fit.batches[0].network if alone else None

    @property
    def step(self) -> int:
        """Number of iterations done."""
        return self.fit.step

    def started(self) -> RunStarted:
        """Return totals and sizes; `parameters` counts the parameters of one image's network."""
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
            yield from self.inputs
            yield from file_messages(self.config.images) if self.given is None else self.given.messages
            for part in self.process_group.gather(msgspec.to_builtins(self.found), to_all=True):
                yield from msgspec.convert(part, list[NoiseEstimated])
            y = self.fit.gather(lambda batch: list(batch.y))
            measured = self.fit.gather(lambda batch: list(batch.degradation.operator.measured(batch.y)))
            yield Tensors(name="measurement", tensors={"y": y, "measured": measured})
        for item in self.fit:
            if isinstance(item, Step) and self.fit.finished:
                yield from self._closing_items()
            yield item

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs; valid after a `Step`. Only rank 0 has the states of all ranks."""
        fit = self.fit.state_dict()
        parts = self.process_group.gather([[list(i) for i in self.fit.indices], fit["batches"]], to_all=False)
        groups, batches = ([item for part in parts for item in part[kind]] for kind in (0, 1))
        return {"fit": {**fit, "batches": batches}, "groups": groups}

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state, in its groups of images: by now, groups of another size might fit in memory.

        Raises UserError if there are more processes than groups.
        """
        groups, shard = state["groups"], self.process_group.shard(len(state["groups"]))
        if self.process_group.world_size > len(groups):
            processes = self.process_group.world_size
            problem = f"The checkpoint holds {len(groups)} network(s), and there are {processes} processes."
            raise UserError(problem, f"Resume with at most {len(groups)} process(es), or start a new run.")
        if groups[shard] != self.fit.indices:
            self._prepare(groups[shard])
        self.fit.load_state_dict({**state["fit"], "batches": state["fit"]["batches"][shard]})

    def _closing_items(self) -> list[Item]:
        """Return the final restorations and their picture."""
        fit = self.fit
        best = BestModel(
            network=None,
            step=max(status.best_iteration for status in fit.statuses),
            value=finite_mean(status.best_score for status in fit.statuses),
            measure=fit.rule_name,
            tensors={"restored": fit.restored},
        )
        title = f"At the stop ({fit.rule_name})"
        pictures = fit.pictures("restored", title, lambda batch: batch.stopping.restored)
        if self.given is not None:
            files = restored_files(self.given, fit.restored, self.config, self.step)
            return [best, *pictures, *files, *(() if self.truth else self._qualities(self.given.names))]
        restored = RestoredImages(
            names=image_names(self.config.images),
            restored=best.tensors["restored"],
            degraded=fit.gather(lambda batch: list(batch.y)),
            step=self.step,
        )
        return [best, *pictures, restored]

    def _qualities(self, names: Sequence[str]) -> list[QualityPredicted]:
        """Return what is known about the restorations without a truth."""
        known = self.fit.gather(lambda batch: qualities(batch.y, batch.degradation, batch.stopping.restored))
        steps = (status.best_iteration for status in self.fit.statuses)
        return [
            QualityPredicted(image=image, name=name, method="dip", step=step, **values)
            for image, (name, step, values) in enumerate(zip(names, steps, known, strict=True))
        ]


def _groups(
    config: DipRun, shapes: Sequence[tuple[int, int, int]], device: torch.device, process_group: ProcessGroup
) -> list[list[int]]:
    """Return this process's groups: indices of images of one shape (C, H, W), in the order of the images.

    The images are distributed size by size, so that each process has about the same number of each size.
    """
    sizes: dict[tuple[int, int, int], list[int]] = {}
    for index, shape in enumerate(shapes):
        sizes.setdefault(shape, []).append(index)
    assigned = [(size, index) for size, indices in sizes.items() for index in indices][
        process_group.rank :: process_group.world_size
    ]
    groups = []
    for size in sizes:
        indices = [index for its_size, index in assigned if its_size == size]
        # Each given image has noise of its own.
        alone = config.task.noise == "unknown"
        groups += [[index] for index in indices] if alone else in_batches(indices, config.dip, size, device)
    return groups
