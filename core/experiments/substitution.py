"""The published hybrid: the network's input is a DIP hourglass's output in place of xt, and its target is still eps.

A good prior removes noise from xt, which is exactly what the network must predict. So the loss shows how much of eps
the hourglass lets through: if its output is independent of eps, the loss is 1, the variance of eps.

The published text doesn't say how the hourglass is made, so the possible readings are options. The default came closest
to the published loss of the first two epochs, 0.998 and 0.949, on FashionMNIST with batches of 128. Its shape was
chosen by that curve, so it is no evidence of what the publication did. In shorter trials, the losses were as follows;
a loss after a number of steps is the mean over the last 60 of them:

- frozen, without skips: two scales (the default) 0.990 and 0.980, or 0.995 over the first 480 steps with other random
  weights; three scales 1.000 after 240 steps; one scale 0.85 after 180 steps, far too fast;
- frozen, with skips and three scales: 0.82 after 120 steps, since the noise bypasses the hourglass;
- fresh, with skips, 64 channels: with k = 5, 10 and 20 steps, losses of 1.00, 0.998 and 0.994 around step 180, and
  with k = 10 still 0.996 in the second epoch;
- warm: 1.000 after 240 steps with k = 1, 5 and 10, since its optimiser's moments hold it at the mean image.

The default's loss starts to fall as late as the published one, but it lets too little of eps through to fall as far.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import Tensor

from dipddpm.core import data
from dipddpm.core.compute.rng import derive
from dipddpm.core.config import HybridRun, Substitution
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.dip.hourglass import FittedHourglass, FrozenHourglass
from dipddpm.core.errors import UserError
from dipddpm.core.events import EpochFinished, Item, Pictures, StateDict
from dipddpm.core.experiments.ddpm import DdpmExperiment
from dipddpm.core.images import clip_visibly, to_unit
from dipddpm.core.metrics.samples import SampleEvaluator

SHOWN = 8
"""Number of images in the picture of the network's input."""


class SubstitutionExperiment(DdpmExperiment):
    """A DDPM run whose network gets an hourglass's output as input in place of xt, in training and in sampling.

    The publication says only that the output takes the place of xt. The network is never trained on xt itself, so each
    xt passes through the hourglass in sampling, too. Adds pictures of xt next to the hourglass's output.
    """

    def __init__(
        self,
        config: HybridRun,
        train: data.ImageSet,
        device: torch.device | str,
        *,
        validation: None = None,
        evaluator: SampleEvaluator | None = None,
    ) -> None:
        """Set up the hourglass and the training; no images are held out, so `validation` is always None."""
        options = config.hybrid
        assert isinstance(options, Substitution)
        _, channels, height, width = train.images.shape
        shape, seed = (channels, height, width), derive(config.seed, "hourglass")
        self.hourglass: FrozenHourglass | FittedHourglass
        if options.reading == "frozen":
            self.hourglass = FrozenHourglass(options, shape, seed=seed, device=device)
        else:
            batch_size = min(config.ddpm.batch_size, len(train))
            self.hourglass = FittedHourglass(options, shape, batch_size=batch_size, seed=seed, device=device)
        self.picture_every = options.picture_every
        self._shown: dict[str, Tensor] = {}
        super().__init__(config, train, device, evaluator=evaluator, input_transform=self._transform_input)

    @classmethod
    def from_config(cls, config: HybridRun, device: torch.device | str) -> Self:  # type: ignore[override]
        """Build the experiment.

        Raises UserError for data that is missing, too small, or doesn't suit the networks or the evaluator, and if
        `ddpm.hold_out` is set.
        """
        if config.ddpm.hold_out:
            problem = "The substitution hybrid selects its best model by the training loss, as published."
            raise UserError(problem, "Leave out ddpm.hold_out, which would hold out images to select on.")
        return super().from_config(config, device)

    def __iter__(self) -> Iterator[Item]:
        """Train. Raises UserError for a loss or weights that are not finite."""
        try:
            yield from self._with_inputs()
        except UserError as error:
            if self._shown and not bool(self._shown["seen"].isfinite().all()):
                remedy = "The hourglass's output is not finite: lower hybrid.lr and run again."
                raise UserError(error.problem, remedy) from None
            raise

    def _with_inputs(self) -> Iterator[Item]:
        """Train, and yield pictures of the network's input."""
        for item in super().__iter__():
            yield item
            # xt of the last batch, next to the hourglass's output.
            if isinstance(item, EpochFinished) and (self.epoch - 1) % self.picture_every == 0:
                pairs = torch.stack([self._shown["xt"], self._shown["seen"]], 1).flatten(0, 1)
                yield Pictures(
                    name="seen",
                    images=clip_visibly(to_unit(pairs)),
                    step=self.step,
                    title=f"The network's input in place of xt, epoch {self.epoch}",
                    columns=2,
                    panels=("xt", "seen"),
                    numbered=True,
                )

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs; valid after a `Step`."""
        return {**super().state_dict(), "hourglass": self.hourglass.state_dict()}

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        super().load_state_dict(state)
        self.hourglass.load_state_dict(state["hourglass"])

    def _transform_input(self, xt: Tensor, t: Tensor) -> Tensor:
        """Return the hourglass's output for xt; the hourglass doesn't depend on the timestep."""
        output = self.hourglass(xt)
        self._shown = {"xt": xt[:SHOWN], "seen": output[:SHOWN]}
        return output

    def _preview(self) -> Sampling:
        """Draw a preview, then restore the state of the hourglass, which the preview's images have changed."""
        hourglass_state = copy.deepcopy(self.hourglass.state_dict())
        preview = super()._preview()
        self.hourglass.load_state_dict(hourglass_state)
        return preview
