"""DIP and the diffusion model each by itself: what a hybrid has to beat, on the same ground and in the same time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config.dip import DipConfig
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.posterior import Restoration
from dipddpm.core.degrade import CircularBlur, Degradation, Identity, SaltAndPepper
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.estimate import with_noise_level
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.dip.fit import DipFit
from dipddpm.core.dip.memory import images_that_fit
from dipddpm.core.events import EarlyStopped, Item, StateDict, Step


class DipRestorer:
    """The mean of `restarts` DIP fits, each of other random weights and each stopped without the truth.

    The errors of fits differ, so their mean is better than any of them (Ulyanov et al. 2018, section 4). While a fit is
    at work, `images` are the mean of those before it; of the first, what it has come to.
    """

    def __init__(self, case: Case, dip: DipConfig, *, restarts: int = 1) -> None:
        """Raises UserError for a stopping rule that can't work with this noise."""
        self.case = case
        self.dip = dip
        self.restarts = restarts
        self.sum = torch.zeros(case.shape, device=case.y.device)
        self.fits_done = 0
        """Fits that have come to their end."""
        self.iterations_before = 0
        """Iterations of all of these."""
        self.fit = self._begin()

    def __len__(self) -> int:
        return self.restarts * self.dip.iterations

    def __iter__(self) -> Iterator[Item]:
        while self.fits_done < self.restarts:
            for item in self.fit:
                yield shift_step(item, self.iterations_before)
            self.sum += torch.stack(self.fit.restored)
            self.iterations_before += self.fit.step
            self.fits_done += 1
            if self.fits_done < self.restarts:
                self.fit = self._begin()

    @property
    def images(self) -> Tensor:
        """(N, C, H, W), in [0, 1]."""
        return self.sum / self.fits_done if self.fits_done else torch.stack(self.fit.restored)

    @property
    def nfe(self) -> int:
        """None: there is no trained network."""
        return 0

    @property
    def iterations(self) -> int:
        """Of all fits together."""
        return self.iterations_before + (self.fit.step if self.fits_done < self.restarts else 0)

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; valid between two items."""
        groups = [list(indices) for indices in self.fit.indices]
        own = {"sum": self.sum, "done": self.fits_done, "before": self.iterations_before}
        return {**own, "groups": groups, "fit": self.fit.state_dict()}

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from where `state_dict` was called, in its groups: another day another number of images may fit."""
        self.sum, self.fits_done, self.iterations_before = state["sum"].clone(), state["done"], state["before"]
        self.fit = self._begin(state["groups"])
        self.fit.load_state_dict(state["fit"])

    def _begin(self, groups: list[list[int]] | None = None) -> DipFit:
        # The fit that has ended last is kept, so that a resume finds it.
        seed = derive(self.case.seed, f"restart {min(self.fits_done, self.restarts - 1)}")
        return dip_fit(self.case, self.dip, seed, groups)


def dip_fit(case: Case, dip: DipConfig, seed: int, groups: list[list[int]] | None = None) -> DipFit:
    """A fit of a case's images, in these groups; without any, in as many as fit in memory."""
    shape = case.shape[1:]
    if groups is None:
        batch_size = dip.batch or images_that_fit(dip, shape, case.y.device)
        groups = [list(range(i, min(i + batch_size, case.shape[0]))) for i in range(0, case.shape[0], batch_size)]
    batches = [
        PriorBatch(case.y[indices], case.degradation.select(indices), dip, shape, seed=seed) for indices in groups
    ]
    return DipFit(batches, groups, iterations=dip.iterations, measure_every=dip.measure_every)


def shift_step(item: Item, steps: int) -> Item:
    """The same item, so many steps later."""
    return msgspec.structs.replace(item, step=steps + item.step) if isinstance(item, Step | EarlyStopped) else item


@dataclass(frozen=True)
class DiffusionChoice:
    """A way of restoring with a trained network: a method of `dipddpm.core.ddpm.posterior.METHODS` and its steps."""

    method: str
    steps: int


def diffusion_for(degradation: Degradation) -> DiffusionChoice:
    """What serves a task best: chosen by the PSNR of the mean of eight samples of training images of FashionMNIST.

    Noise alone, but for impulses, needs a single step. Of DDNM+ and DiffPIR in 20, 50 and 100 steps, the 100 steps of
    DDNM+ were best at deblurring by 2.8 dB, those of DiffPIR at super-resolution and impulses by 0.2 and 0.1 dB; at
    inpainting the two were even.
    """
    if isinstance(degradation.operator, Identity) and not isinstance(degradation.noise, SaltAndPepper):
        return DiffusionChoice("posterior-mean", 1)
    return DiffusionChoice("ddnm" if isinstance(degradation.operator, CircularBlur) else "diffpir", 100)


class DdpmRestorer:
    """The mean of `samples` restorations by a trained network, by the method that serves the task unless one is given.

    Where the noise level isn't told, it is estimated from the measurements.
    """

    def __init__(
        self,
        case: Case,
        prior: TrainedModel,
        *,
        method: str = "",
        steps: int = 0,
        samples: int = 1,
    ) -> None:
        """`method` "" and `steps` 0 leave the choice to `diffusion_for`.

        Raises UserError for a method that doesn't serve the task, and for more steps than there are timesteps.
        """
        degradation = with_noise_level(case.y, case.degradation)
        best = diffusion_for(degradation)
        steps = min(steps or best.steps, len(prior.schedule))
        self.restoration = Restoration(
            method or best.method,
            prior.denoiser(),
            case.y,
            degradation,
            case.shape,
            steps=steps,
            samples=samples,
            seed=derive(case.seed, "diffusion"),
        )

    def __len__(self) -> int:
        return len(self.restoration)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.restoration)

    @property
    def images(self) -> Tensor:
        """(N, C, H, W), in [0, 1] but not clipped."""
        return self.restoration.images

    @property
    def nfe(self) -> int:
        """All samples together."""
        return self.restoration.nfe

    @property
    def iterations(self) -> int:
        """None: there is no untrained network."""
        return 0

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs but the trained network; valid between two items."""
        return self.restoration.state_dict()

    def load_state_dict(self, state: StateDict) -> None:
        """The inverse of `state_dict`."""
        self.restoration.load_state_dict(state)
