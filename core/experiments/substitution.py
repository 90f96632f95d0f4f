"""The published hybrid: the output of a DIP hourglass stands in for xt, and the network still regresses eps.

What a good prior removes from xt is the very noise that the network is asked for, so the loss tells how much of eps
the hourglass lets through: with an output that knows nothing of eps the loss is 1, its variance.

The published text doesn't say how the hourglass is made, so its readings are options. The default is the one that came
nearest to the published loss of the first two epochs, 0.998 and 0.949, on FashionMNIST with batches of 128. Its shape
was chosen by that curve, so it is no evidence of what the study did; figures at a step are means over the 60 before it,
from shorter trials:

- frozen, without skips: two scales (the default) 0.990 and 0.980, or 0.995 over the first 480 steps with other random
  weights; three scales 1.000 after 240 steps; one scale 0.85 after 180 steps, far too fast;
- frozen, with skips and three scales: 0.82 after 120 steps, for the noise bypasses the hourglass;
- fresh, with skips, 64 channels: with k = 5, 10 and 20 steps, losses of 1.00, 0.998 and 0.994 around step 180, and
  with k = 10 still 0.996 in the second epoch;
- warm: 1.000 after 240 steps with k = 1, 5 and 10, as its optimiser's memory holds it at the mean image.

The default has the published late start, but lets too little of eps through to fall as far as the published curve.
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
from dipddpm.core.images import to_unit
from dipddpm.core.metrics.samples import SampleEvaluator

SHOWN = 8
"""Images in the picture of what the network sees."""


class SubstitutionExperiment(DdpmExperiment):
    """A DDPM run whose network sees an hourglass's output in place of xt, in training and in sampling.

    The published text says no more than that. In sampling the network would meet in xt what it has never seen, so
    there too each xt passes the hourglass first. Adds pictures of xt beside what the network saw instead.
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
        """Nothing is held out, so there is no `validation`."""
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
        """Raises UserError for data that is missing, too small, or not what the networks or the judge take."""
        if config.ddpm.hold_out:
            problem = "The substitution hybrid selects by its training loss, as published, and holds nothing out."
            raise UserError(problem, "Leave ddpm.hold_out out.")
        return super().from_config(config, device)

    def __iter__(self) -> Iterator[Item]:
        for item in super().__iter__():
            yield item
            # xt of the last batch beside what the network saw in its place.
            if isinstance(item, EpochFinished) and (self.epoch - 1) % self.picture_every == 0:
                pairs = torch.stack([self._shown["xt"], self._shown["seen"]], 1).flatten(0, 1)
                yield Pictures(
                    name="seen",
                    images=to_unit(pairs).clamp(0, 1),
                    step=self.step,
                    title=f"What the network saw in place of xt, epoch {self.epoch}",
                    columns=2,
                    panels=("xt", "seen"),
                    numbered=True,
                )

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid after a `Step`."""
        return {**super().state_dict(), "hourglass": self.hourglass.state_dict()}

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from where `state_dict` was called."""
        super().load_state_dict(state)
        self.hourglass.load_state_dict(state["hourglass"])

    def _transform_input(self, xt: Tensor, t: Tensor) -> Tensor:
        """The view; an hourglass isn't told the timestep."""
        output = self.hourglass(xt)
        self._shown = {"xt": xt[:SHOWN], "seen": output[:SHOWN]}
        return output

    def _preview(self) -> Sampling:
        """The hourglass that the preview's images pass is put back as it was."""
        hourglass_state = copy.deepcopy(self.hourglass.state_dict())
        preview = super()._preview()
        self.hourglass.load_state_dict(hourglass_state)
        return preview
