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
from collections.abc import Iterable, Iterator
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from dipddpm.core import data
from dipddpm.core.compute.rng import derive
from dipddpm.core.config import HybridRun, Substitution
from dipddpm.core.data.sources import load_training
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.dip.networks.layers import max_scales
from dipddpm.core.dip.networks.skip import SkipNetwork
from dipddpm.core.errors import UserError
from dipddpm.core.events import Item, Pictures, StateDict
from dipddpm.core.experiments.ddpm import DdpmExperiment
from dipddpm.core.images import to_model, to_unit
from dipddpm.core.metrics.samples import SampleEvaluator

INPUT_CHANNELS = 32
"""Channels of the random input z."""
SHOWN = 8
"""Images in the picture of what the network sees."""

Shape = tuple[int, int, int]


class FrozenHourglass:
    """Random weights that never change, applied to xt."""

    def __init__(self, options: Substitution, shape: Shape, *, seed: int, device: torch.device | str) -> None:
        self.network = _hourglass(options, shape[0], shape, seed).to(device)

    @torch.no_grad()
    def __call__(self, xt: Tensor) -> Tensor:
        """From xt (N, C, H, W) to what stands in for it, in model space."""
        return to_model(self.network(xt))

    def state_dict(self) -> dict[str, Any]:
        """Empty: the weights follow from the seed."""
        return {}

    def load_state_dict(self, state: StateDict) -> None:
        """Nothing to restore."""


class FittedHourglass:
    """Fitted for k Adam steps to reproduce each batch of xt from a fixed random z, as a Deep Image Prior is.

    One network gives the whole batch, image beside image in its output channels: `batch_size` networks of their own
    would take far longer than the published time for a batch. Each batch starts from new random weights (`fresh`) or
    from the weights and the optimiser that the batch before has left (`warm`). The fit's gradients are its own.
    """

    def __init__(
        self, options: Substitution, shape: Shape, *, batch_size: int, seed: int, device: torch.device | str
    ) -> None:
        channels, height, width = shape
        self.options = options
        self.shape = (channels * batch_size, height, width)
        self.batch_size = batch_size
        self.seed = seed
        self.device = device
        self.fits = 0
        """Batches fitted. With the seed, it settles the weights that the next fit starts from, unless warm."""
        self._renew()
        generator = torch.Generator().manual_seed(derive(seed, "z"))
        # The classic input: uniform, and small (Ulyanov et al. 2018, supplement).
        self.z = (0.1 * torch.rand(1, INPUT_CHANNELS, height, width, generator=generator)).to(device)

    def __call__(self, xt: Tensor) -> Tensor:
        """From xt (N, C, H, W) to what stands in for it, in model space; larger batches are taken in parts."""
        return torch.cat([self._fit(part) for part in torch.split(xt, self.batch_size)])

    def state_dict(self) -> dict[str, Any]:
        """All that the next fit starts from."""
        if self.options.reading == "fresh":
            return {"fits": self.fits}
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "fits": self.fits}

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from where `state_dict` was called."""
        self.fits = state["fits"]
        if self.options.reading == "warm":
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])

    def _renew(self) -> None:
        """Random weights, and an optimiser that knows nothing yet."""
        seed = derive(self.seed, f"fit {self.fits}")
        self.network = _hourglass(self.options, INPUT_CHANNELS, self.shape, seed).to(self.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.options.lr)

    def fit_outputs(self, xt: Tensor, counts: Iterable[int]) -> Iterator[Tensor]:
        """What stands in for xt after each of these numbers of steps of one fit; they ascend, and 0 is its beginning.

        At most `batch_size` images, which count as fitted once all is taken.
        """
        if self.options.reading == "fresh":
            self._renew()
        steps_done = 0
        for count in counts:
            for _ in range(count - steps_done):
                with torch.enable_grad():
                    loss = F.mse_loss(self._output(xt), xt)
                self.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                self.optimizer.step()
            steps_done = count
            with torch.no_grad():
                yield self._output(xt)
        self.fits += 1

    def _fit(self, xt: Tensor) -> Tensor:
        *_, output = self.fit_outputs(xt, [self.options.steps])
        return output

    def _output(self, like: Tensor) -> Tensor:
        images = self.network(self.z).reshape(self.batch_size, *like.shape[1:])
        return to_model(images[: len(like)])


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
        evaluator: SampleEvaluator | None = None,
    ) -> None:
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
        self._pictured = 0
        self._shown: dict[str, Tensor] = {}
        super().__init__(config, train, device, evaluator=evaluator, input_transform=self._transform_input)

    @classmethod
    def from_config(cls, config: HybridRun, device: torch.device | str) -> Self:  # type: ignore[override]
        """Raises UserError for data that is missing, too small, or not what the networks or the judge take."""
        if config.ddpm.hold_out:
            problem = "The substitution hybrid selects by its training loss, as published, and holds nothing out."
            raise UserError(problem, "Leave ddpm.hold_out out.")
        train, _ = load_training(config.data, held_out=False)
        evaluator = SampleEvaluator.of(config.data, train) if config.ddpm.evaluate else None
        return cls(config, train, device, evaluator=evaluator)

    def __iter__(self) -> Iterator[Item]:
        yield from self._picture_if_due()
        for item in super().__iter__():
            yield item
            yield from self._picture_if_due()

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid between two items."""
        own = {"hourglass": self.hourglass.state_dict(), "shown": self._shown, "pictured": self._pictured}
        return {**super().state_dict(), "substitution": own}

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from where `state_dict` was called."""
        super().load_state_dict(state)
        own = state["substitution"]
        self.hourglass.load_state_dict(own["hourglass"])
        self._shown, self._pictured = own["shown"], own["pictured"]

    def _transform_input(self, xt: Tensor, t: Tensor) -> Tensor:
        """The view; an hourglass isn't told the timestep."""
        output = self.hourglass(xt)
        self._shown = {"xt": xt[:SHOWN], "seen": output[:SHOWN]}
        return output

    def _preview(self) -> Sampling:
        """The hourglass that the preview's images pass is put back as it was, and so is what is shown of it."""
        hourglass_state, shown = copy.deepcopy(self.hourglass.state_dict()), self._shown
        preview = super()._preview()
        self.hourglass.load_state_dict(hourglass_state)
        self._shown = shown
        return preview

    def _picture_if_due(self) -> Iterator[Pictures]:
        """After the first epoch and every few: xt of the last batch beside what the network saw in its place."""
        if self.epoch <= self._pictured or (self.epoch - 1) % self.picture_every:
            return
        self._pictured = self.epoch
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


def _hourglass(options: Substitution, inputs: int, shape: Shape, seed: int) -> SkipNetwork:
    """An untrained network of its own random weights; torch's global generator is put back as it was."""
    channels, height, width = shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SkipNetwork(
            inputs,
            channels,
            min(options.scales, max_scales(height, width)),
            channels=options.channels,
            skip_channels=options.skip_channels,
        )
