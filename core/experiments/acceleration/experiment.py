"""The comparison of starts as an experiment that the worker or a notebook iterates, cell by cell."""

from __future__ import annotations

from dipddpm.core.config import AccelerationRun
from dipddpm.core.data import ImageSet
from dipddpm.core.data.sources import load_split
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.acceleration import LLE, RUNGS, AccelerationBoard, Variant
from dipddpm.core.evaluation.scoreboard import Scoreboard
from dipddpm.core.events import Pictures
from dipddpm.core.experiments.acceleration.methods import AccelerationMethods, variants
from dipddpm.core.experiments.restore.experiment import RestoreExperiment
from dipddpm.core.experiments.restore.methods import Methods
from dipddpm.core.methods.budget import Clock
from dipddpm.core.report import restore

MOST_SHOWN = 14
"""Largest number of restorations of an image in a cell's picture."""


class AccelerationExperiment(RestoreExperiment):
    """A run that restores the same images from every start, by every sampler, in few and in many steps.

    A row's seconds are those of its start and of its samples. Starts are computed once for all rows of a cell. The
    coefficients of `lle` are learned on the last training images of `data.dataset`, which a prior with held-out images
    hasn't seen; the time of learning doesn't count, like that of training the prior.
    """

    def _make_methods(self, prior: TrainedModel, clock: Clock) -> Methods:
        config = self.config
        assert isinstance(config, AccelerationRun)
        self.training: ImageSet | None = None
        if LLE in config.acceleration.starts:
            train, count = load_split(config.data, "train"), config.acceleration.lle_images
            if count > len(train):
                problem = f"{train.name} has only {len(train)} training images, fewer than the {count} of lle."
                raise UserError(problem, f"Lower acceleration.lle_images to {len(train)} or less.")
            self.training = train.take(range(len(train) - count, len(train)))
        return AccelerationMethods(config, prior, self.training, self.conditioned, clock)

    def _image_sets(self) -> list[ImageSet]:
        return [*super()._image_sets(), *([self.training] if self.training else [])]

    def _board(self) -> Scoreboard:
        return AccelerationBoard(self._results_so_far())

    def _drawings(self, board: Scoreboard) -> list[Pictures]:
        assert isinstance(board, AccelerationBoard)
        return [restore.starts_picture(board, self.step)]

    def _shown(self, task: str) -> list[str]:
        """Return the starts, the full chain, each start with few evaluations, and the wrong uses of DIP's result."""
        assert isinstance(self.config, AccelerationRun)
        options, sampler = self.config.acceleration, self.config.acceleration.samplers[-1]
        steps, samples = options.steps(), options.counts()[-1]
        few = min(steps, key=lambda nfe: abs(nfe - 5))
        names = self.methods.for_task(task)
        alone = [name for name in options.starts if name in names]
        wrong = {v.sampler: v.label for v in variants(self.config) if v.sampler in RUNGS}  # with the most evaluations
        chains = [Variant(start, sampler, few, samples).label for start in options.starts]
        full = Variant("noise", sampler, steps[-1], samples).label
        return [*alone, full, *chains, *reversed(wrong.values())][:MOST_SHOWN]
