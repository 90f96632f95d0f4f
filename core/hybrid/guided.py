"""DIP guided by a diffusion prior: the fit is drawn to what the trained network makes of its own output, noised."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import Tensor

from core.config.dip import DipConfig
from core.config.hybrid import Guided
from core.ddpm.denoiser import Denoiser
from core.ddpm.solvers import noise
from core.ddpm.trained import TrainedModel
from core.degrade import Degradation, SaltAndPepper
from core.degrade.estimate import with_noise_level
from core.events import Item, State
from core.hybrid.parents import dip_fit
from core.hybrid.restorer import Case
from core.images import to_model
from core.seeds import derive


class Guide:
    """The penalty w |f - sg(x0hat(xt))|^2, xt being the output f of a fit, noised to a level that falls.

    RED-diff (Mardani et al., ICLR 2024) with the output of an untrained network in place of a free image. Both this and
    the data error are means over values in model space, as the fit's own are in [0, 1]; `weight` is one for all images,
    or (B,). The level falls geometrically, and never below that of the measurement: nearer to 0, x0hat would be f and
    the pull would vanish. x0hat is evaluated anew every few iterations, and stays in between.
    """

    def __init__(
        self, denoiser: Denoiser, options: Guided, degradation: Degradation, y: Tensor, *, weight: Tensor, seed: int
    ) -> None:
        self.denoiser = denoiser
        self.options = options
        self.weight = weight
        self.generator = torch.Generator(y.device).manual_seed(seed)
        variance = degradation.expected_residual(y)
        least = 0.0 if variance is None else 255 * variance.clamp(min=0).sqrt().mean().item()
        self.floor = max(options.floor, least)
        # In model space a mean square is 4 times that in [0, 1], and a mean absolute value twice: what is fitted is in
        # [0, 1], and only the share of the two counts.
        self.unit = 2.0 if isinstance(degradation.noise, SaltAndPepper) else 4.0
        self.target: Tensor | None = None
        """x0hat in model space, for those images that were last looked at."""
        self.step = 0

    def __call__(self, outputs: Tensor, places: Tensor) -> Tensor:
        """What is added to the loss of each image, (n,)."""
        f = to_model(outputs)
        if self.target is None or self.step % self.options.every == 0:
            self.target = f.new_zeros(len(self.weight), *f.shape[1:]) if self.target is None else self.target
            self.target = self.target.index_copy(0, places, self._evaluate(f.detach()))
        self.step += 1
        return self.weight[places] / self.unit * (f - self.target[places]).square().flatten(1).mean(1)

    @torch.no_grad()
    def _evaluate(self, f: Tensor) -> Tensor:
        start, share = max(self.options.start, self.floor), min(1.0, self.step / self.options.fall)
        t = self.denoiser.schedule.timestep(start ** (1 - share) * self.floor**share / 255)
        xt = self.denoiser.schedule.add_noise(f, noise(f, self.generator), t)
        return self.denoiser(xt, t)[0]

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid between two iterations."""
        return {
            "generator": self.generator.get_state(),
            "target": self.target,
            "step": self.step,
            "nfe": self.denoiser.nfe,
        }

    def load_state_dict(self, state: State) -> None:
        """The inverse of `state_dict`."""
        self.generator.set_state(state["generator"].cpu())
        self.target, self.step = state["target"], state["step"]
        self.denoiser.nfe = state["nfe"]


class GuidedRestorer:
    """A guided DIP fit of each image, stopped as plain DIP is."""

    def __init__(
        self, case: Case, prior: TrainedModel, options: Guided, dip: DipConfig, *, weights: Tensor | None = None
    ) -> None:
        """`weights` (N,) are those of the images, in place of the one of the options.

        Raises UserError for a stopping rule that can't work with this noise.
        """
        self.case, self.prior, self.options, self.dip = case, prior, options, dip
        self.weights = case.y.new_full((len(case.y),), options.weight) if weights is None else weights
        self._prepare()

    def _prepare(self, groups: list[list[int]] | None = None) -> None:
        case = self.case
        # Without a pull this is to the last bit the first fit of the parent.
        self.fit = dip_fit(case, self.dip, derive(case.seed, "restart 0"), groups)
        self.guides = []
        pairs = zip(self.fit.batches, self.fit.places, strict=True)
        for batch, places in pairs if bool(self.weights.any()) else ():
            weight = self.weights[list(places)]
            told = with_noise_level(batch.y, batch.degradation)
            seed = derive(case.seed, "guide")
            guide = Guide(self.prior.denoiser(), self.options, told, batch.y, weight=weight, seed=seed)
            batch.penalty = guide
            self.guides.append(guide)

    @classmethod
    def for_case(cls, case: Case, prior: TrainedModel | None, options: Guided, dip: DipConfig) -> Self:
        """As every method is made."""
        assert prior is not None
        return cls(case, prior, options, dip)

    def __len__(self) -> int:
        return self.dip.iterations

    def __iter__(self) -> Iterator[Item]:
        return iter(self.fit)

    @property
    def images(self) -> Tensor:
        """(N, C, H, W), in [0, 1]."""
        return torch.stack(self.fit.restored)

    @property
    def nfe(self) -> int:
        """Of the image that was guided for longest."""
        return max((guide.denoiser.nfe for guide in self.guides), default=0)

    @property
    def iterations(self) -> int:
        """Of the one fit."""
        return self.fit.step

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs but the trained network; valid between two items."""
        return {
            "groups": [list(places) for places in self.fit.places],
            "fit": self.fit.state_dict(),
            "guides": [guide.state_dict() for guide in self.guides],
        }

    def load_state_dict(self, state: State) -> None:
        """Go on from where `state_dict` was called, in its groups."""
        self._prepare(state["groups"])
        self.fit.load_state_dict(state["fit"])
        for guide, its_state in zip(self.guides, state["guides"], strict=True):
            guide.load_state_dict(its_state)
